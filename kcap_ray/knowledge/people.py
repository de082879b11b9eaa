"""The table of people: who there is, and which value each of their attributes has.

Shape letters: P people, C columns of the table.
"""

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from kcap_ray.config.bios import attributes_of
from kcap_ray.config.data import KnowledgeConfig
from kcap_ray.config.errors import UserError
from kcap_ray.knowledge.pools import load_name_pools, load_value_pools
from kcap_ray.knowledge.randomness import Purpose, below, distinct_below, hash64, stream_key
from kcap_ray.knowledge.strings import random_strings
from kcap_ray.knowledge.tuples import load_tuples

NAME_COLUMNS = ("first_name", "middle_name", "last_name")
BIOS_COLUMNS = (
    *NAME_COLUMNS,
    "birth_month",
    "birth_day",
    "birth_year",
    "birth_city",
    "university",
    "major",
    "employer",
    "pronoun",
)
_BLOCK = 1 << 20
"""People drawn at a time, so that a table of 20 million needs little more than itself."""


def check_name_space(n_people: int, n_names: int) -> None:
    """UserError if there are more people than names."""
    if n_people > n_names:
        raise UserError(
            f"data.n_people: {n_people} people, but the pools make only {n_names} different names; "
            f"write at most {n_names}, or use larger name pools"
        )


def column_sizes(data: KnowledgeConfig) -> tuple[int, ...]:
    """Number of possible values of each column of the table of people."""
    names = load_name_pools(data.pools, data.max_names).sizes
    if data.kind == "bioD":
        assert data.K and data.C and data.D, "DataConfig checks that bioD has all its numbers"
        return (*names, *[data.D] * (data.K * data.C))
    pools = load_value_pools(data.pools, data.max_values)
    counted = attributes_of(data.sentences)
    sizes_of = {
        "birth_date": (len(pools.months), len(pools.days), len(pools.years)),
        "birth_city": (len(pools.cities),),
        "university": (len(pools.universities),),
        "major": (len(pools.majors),),
        "employer": (len(pools.employers),),
        "pronoun": (2,),
    }
    # What is not said has one value for all.
    return (
        *names,
        *(size if a in counted else 1 for a, sizes in sizes_of.items() for size in sizes),
    )


def draw_people(data: KnowledgeConfig) -> NDArray[np.unsignedinteger]:
    """Value numbers of all people [P, C]; a pure function of `data`; see `people_rows`, and
    `FactTable` for the user's own facts.
    """
    if data.kind == "tuples":
        return load_tuples(data).values_PC
    if data.kind == "random":
        return random_strings(data, np.arange(data.n_people))
    sizes = column_sizes(data)
    check_name_space(data.n_people, prod(sizes[:3]))
    table_PC = np.empty((data.n_people, len(sizes)), _dtype(sizes))
    for start in range(0, data.n_people, _BLOCK):
        stop = min(start + _BLOCK, data.n_people)
        table_PC[start:stop] = people_rows(data, np.arange(start, stop))
    return table_PC


def people_rows(
    data: KnowledgeConfig, people_P: NDArray[np.integer]
) -> NDArray[np.unsignedinteger]:
    """Value numbers of the people with these numbers [P, C], each a pure function of its number.

    The first three columns are the name: names are drawn without replacement from first x middle x
    last. All other columns are uniform and independent (arXiv 2404.05405, definition 2.2 and
    footnote 9): for bioS the columns `BIOS_COLUMNS`, for bioD chunk c of attribute k in column 3 +
    k * C + c. The table goes on behind its last person, with new names, for people who are never
    all drawn.
    """
    if data.kind == "random":
        return random_strings(data, people_P)
    sizes = column_sizes(data)
    table_PC = np.empty((len(people_P), len(sizes)), _dtype(sizes))
    number_P = np.asarray(people_P, dtype=np.uint64)
    names_P = distinct_below(stream_key(data.seed, Purpose.NAMES), number_P, prod(sizes[:3]))
    for column in (2, 1, 0):
        names_P, table_PC[:, column] = np.divmod(names_P, np.uint64(sizes[column]))
    for column in range(3, len(sizes)):
        key = stream_key(data.seed, Purpose.VALUES, column)
        table_PC[:, column] = below(hash64(key, number_P), sizes[column])
    return table_PC


def _dtype(sizes: Sequence[int]) -> type[np.unsignedinteger]:
    return np.uint16 if max(sizes) <= 1 << 16 else np.uint32

"""Where in a written text a value ends though a longer one would go on there, as `endings.py` has
it for texts that are put together.

Shape letters: P texts, L tokens of all texts together, V values.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kcap_ray.config.contents import FileState
from kcap_ray.knowledge.people import BIOS_COLUMNS
from kcap_ray.knowledge.pools import load_name_pools, load_value_pools, pools_state
from kcap_ray.text.kinds.endings import longer_values
from kcap_ray.text.kinds.renderer import FIRST_ATTRIBUTE_CODE, NAME_CODE
from kcap_ray.text.tokenizer import bpe


class ValueEnds(NamedTuple):
    """Values of one column that begin others."""

    code: int
    """Code of the attribute, or of the name."""
    column: int
    """Column of the table of people."""
    number_V: NDArray[np.int16]
    """1 + the number in the continuations; 0 where no value goes on."""
    n_bytes_V: NDArray[np.int64]
    """Of the value; of a last name, which ends a longer span, 0."""


class PoolEnds(NamedTuple):
    """Those of all columns."""

    values: tuple[ValueEnds, ...]
    continuations: tuple[NDArray[np.int64], ...]
    """GPT-2's tokens that go on with a longer value."""


def pool_ends(pools: str, attributes: tuple[str, ...]) -> PoolEnds:
    """Of the pools of bioS: last names, birth cities, universities, majors and employers. A date
    ends with a year of four digits, which begins no other.
    """
    return _pool_ends(pools, attributes, pools_state(pools))


@cache
def _pool_ends(pools: str, attributes: tuple[str, ...], _state: FileState) -> PoolEnds:
    names, lists = load_name_pools(pools), load_value_pools(pools)
    by_column = {
        "last_name": names.last,
        "birth_city": lists.cities,
        "university": lists.universities,
        "major": lists.majors,
        "employer": lists.employers,
    }
    continuations: dict[frozenset[int], int] = {}
    values = []
    for column, pool in by_column.items():
        tokens = [tuple(bpe.encode(f" {value}")) for value in pool]
        following = longer_values(list(tokens))
        number_V = np.zeros(len(pool), np.int16)
        for value, ids in enumerate(tokens):
            if ids in following:
                known = frozenset(following[ids])
                number_V[value] = continuations.setdefault(known, 1 + len(continuations))
        if number_V.any():
            is_name = column == "last_name"
            code = NAME_CODE if is_name else FIRST_ATTRIBUTE_CODE + attributes.index(column)
            n_bytes_V = np.array([0 if is_name else len(value.encode()) for value in pool])
            values.append(ValueEnds(code, BIOS_COLUMNS.index(column), number_V, n_bytes_V))
    ids = tuple(np.array(sorted(known), np.int64) for known in continuations)
    return PoolEnds(tuple(values), ids)


def ends_in_texts(
    ends: PoolEnds,
    values_PC: NDArray[np.unsignedinteger],
    byte_PA2: NDArray[np.integer],
    bytes_L: NDArray[np.int64],
    length_P: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int16], NDArray[np.int8]]:
    """Tokens behind such values, the number of each in `ends.continuations`, counted from 1, and
    what it counts for.

    `byte_PA2`: bytes of each text at which name and values begin and end, names first; `bytes_L`:
    bytes of each token. A value that is spelled otherwise than in its pool, or whose last token
    holds more than it, is left out: what goes on behind it is not known.
    """
    start_L = np.cumsum(bytes_L) - bytes_L
    first_P = np.cumsum(length_P) - length_P
    places, numbers, codes = [], [], []
    for one in ends.values:
        value_P = values_PC[:, one.column].astype(np.int64)
        begin_P, behind_P = byte_PA2[:, one.code - NAME_CODE].astype(np.int64).T
        n_bytes_P = one.n_bytes_V[value_P]
        is_plain_P = (n_bytes_P == 0) | (behind_P - begin_P == n_bytes_P)
        is_in_P = (one.number_V[value_P] > 0) & (behind_P > 0) & is_plain_P
        wanted_N = start_L[first_P[is_in_P]] + behind_P[is_in_P]
        # The first token that begins there: the end of text has no bytes.
        place_N = np.searchsorted(start_L, wanted_N, "left")
        begins_N = place_N < len(start_L)
        begins_N &= start_L[np.minimum(place_N, len(start_L) - 1)] == wanted_N
        places.append(place_N[begins_N])
        numbers.append(one.number_V[value_P[is_in_P]][begins_N])
        codes.append(np.full(int(begins_N.sum()), one.code, np.int8))
    return np.concatenate(places), np.concatenate(numbers), np.concatenate(codes)

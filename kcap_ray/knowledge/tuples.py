"""The user's own facts: who is in the file, what is known of each, and how much that is in bits.

Shape letters: P people, A attributes, C columns of the table of people, R rows of the file, F facts
(a name and an attribute).
"""

from dataclasses import dataclass
from functools import lru_cache
from math import log2
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kcap_ray.config.data import KnowledgeConfig
from kcap_ray.config.errors import UserError
from kcap_ray.config.yaml import read_yaml
from kcap_ray.knowledge.fact_file import MISSING, FactRows, read_fact_rows

_MAX_ATTRIBUTES = 100  # codes of attributes are int8
_OWN_WORDS = ("name", "pronoun")
"""Labels that a biography uses itself."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FactTable:
    """The first people of a file, what is known of them, and the pools that this is from: names
    and values of the whole file, since the demand counts these.
    """

    path: Path
    names: tuple[str, ...]
    """All names of the file, in order of appearance; the first are those of the people."""
    attributes: tuple[str, ...]
    """Attributes that any of the people has, in order of appearance."""
    values: tuple[tuple[str, ...], ...]
    """For each of them the different values that anybody in the file has, in order of appearance.
    """
    values_PC: NDArray[np.unsignedinteger]
    """Column 0: the person's number. Column 1 + a: 0 where the person lacks attribute a, v where it
    is value v - 1 of `values[a]`.
    """
    frequency_P: NDArray[np.float64] | None
    """Frequencies of the people, in the unit of the file."""
    n_names_in_file: int
    n_values_in_file: dict[str, int]
    """For each attribute of the file the different values that anybody in it has."""


class FactBits(NamedTuple):
    """Entropy of the facts, in bits."""

    log2_name_space: float | None
    """Bits; None where no number of possible names is given: then names count nothing."""
    bits_P: NDArray[np.float64]
    """Bits of the values of each person."""
    n_attributes_P: NDArray[np.integer]
    """Attributes of each person."""
    is_estimate: bool
    """Whether the size of a pool is the number of different values found."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _File:
    """All that a file holds, checked."""

    names: list[str]
    """In order of appearance; those without any fact are left out."""
    attributes: list[str]
    value_texts: list[str]
    name_F: NDArray[np.int64]
    attribute_F: NDArray[np.int64]
    value_F: NDArray[np.int64]
    """Number in `value_texts`. Facts have no order of their own."""
    frequency_P: NDArray[np.float64] | None


def load_tuples(data: KnowledgeConfig) -> FactTable:
    """The first `data.n_people` people of `data.file`, in order of appearance.

    A row without a value says nothing. A fact that is given twice counts once. What was read is
    kept until the file changes. Raises `UserError` where the file has fewer people, cannot be read,
    or gives one person two values of an attribute or two frequencies.
    """
    assert data.file is not None, "KnowledgeConfig checks that there is a file"
    path = Path(data.file).expanduser()
    column = None if data.frequency is None else data.frequency.column
    return _first_people(_read_cached(path, column, _state(path)), path, data.n_people)


def fact_bits(data: KnowledgeConfig) -> FactBits:
    """Bits of the names and values: log2 of the sizes of their pools.

    A person has sum over the own attributes a of log2(S_a), S_a being the size that
    `data.pool_sizes` gives or else, as an estimate, the number of different values in the whole
    file. Values count as uniform over their pools and independent, as in arXiv 2404.05405, lemma
    F.1. Where they are not (a country follows from its capital, and most people have the same
    value), their entropy is lower than this, and a model may predict a value of a biography
    from the others without having stored it: then bits are overstated.

    Raises `UserError` where a pool or the space of names is smaller than what was found.
    """
    table = load_tuples(data)
    sizes = _pool_sizes(data.pool_sizes, table)
    bits_A = np.array([log2(sizes.get(a, table.n_values_in_file[a])) for a in table.attributes])
    if data.name_space is not None and data.name_space < table.n_names_in_file:
        raise UserError(
            f"data.name_space: {data.name_space} names, but {table.path} has "
            f"{table.n_names_in_file}; write at least that many"
        )
    has_value_PA = table.values_PC[:, 1:] > 0
    return FactBits(
        log2_name_space=None if data.name_space is None else log2(data.name_space),
        bits_P=has_value_PA.astype(np.float64) @ bits_A,
        n_attributes_P=has_value_PA.sum(axis=1),
        is_estimate=any(attribute not in sizes for attribute in table.attributes),
    )


def _pool_sizes(file: str | None, table: FactTable) -> dict[str, int]:
    """Stated sizes of pools, by attribute."""
    if file is None:
        return {}
    path = Path(file).expanduser()
    _, given = read_yaml(path)
    if not isinstance(given, dict):
        raise UserError(f"data.pool_sizes: {path} must hold lines such as `employer: 263`")
    sizes = {str(attribute): size for attribute, size in given.items()}
    for attribute, size in sizes.items():
        n_found = table.n_values_in_file.get(attribute)
        if n_found is None:
            known = ", ".join(table.n_values_in_file)
            raise UserError(
                f"data.pool_sizes: {path}: no fact is about {attribute!r}; allowed are {known}"
            )
        if type(size) is not int or size < n_found:
            raise UserError(
                f"data.pool_sizes: {path}: {attribute}: got {size!r}; {table.path} has {n_found} "
                "different values; write a whole number of at least that"
            )
    return sizes


def _state(path: Path) -> tuple[int, int] | None:
    """What changes with the contents of a file."""
    if not path.is_file():
        return None
    status = path.stat()
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=2)
def _read_cached(path: Path, frequency_column: str | None, state: tuple[int, int] | None) -> _File:
    """The file as it is in this state."""
    rows = read_fact_rows(path, frequency_column)
    has_value_R = rows.value.code_R != MISSING
    if not has_value_R.any():
        raise UserError(f"data.file: {path} has no facts; write rows of name, attribute and value")
    # Names are numbered by appearance, and keep this order when some are left out.
    kept_names, name_F = np.unique(rows.name.code_R[has_value_R], return_inverse=True)
    kept_attributes, attribute_F = np.unique(
        rows.attribute.code_R[has_value_R], return_inverse=True
    )
    names = [rows.name.texts[i] for i in kept_names]
    attributes = [rows.attribute.texts[i] for i in kept_attributes]
    _check_attributes(path, attributes)
    value_F = rows.value.code_R[has_value_R]
    first_F, again_F = _first_of_each(name_F * len(attributes) + attribute_F)
    differing = np.flatnonzero(value_F != value_F[again_F])
    if len(differing):
        fact = differing[0]
        one, other = (rows.value.texts[value_F[i]] for i in (again_F[fact], fact))
        raise UserError(
            f"data.file: {path}: {names[name_F[fact]]!r} has two values of "
            f"{attributes[attribute_F[fact]]!r}: {one!r} and {other!r}; "
            "write one of them, or number the attribute (child 1, child 2)"
        )
    return _File(
        names=names,
        attributes=attributes,
        value_texts=rows.value.texts,
        name_F=name_F[first_F],
        attribute_F=attribute_F[first_F],
        value_F=value_F[first_F],
        frequency_P=_frequencies(path, rows, kept_names, frequency_column),
    )


def _first_of_each(key_R: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows that a key appears in first, in their order; and for each row the first of its key."""
    _, first_K, key_number_R = np.unique(key_R, return_index=True, return_inverse=True)
    return np.sort(first_K), first_K[key_number_R]


def _check_attributes(path: Path, attributes: list[str]) -> None:
    if len(attributes) > _MAX_ATTRIBUTES:
        raise UserError(
            f"data.file: {path} has {len(attributes)} attributes; at most {_MAX_ATTRIBUTES} are "
            "supported; split the file, and name the other one in data.parts"
        )
    for word in _OWN_WORDS:
        if word in attributes:
            raise UserError(
                f"data.file: {path}: an attribute cannot be called {word!r}; "
                f"write for instance 'full {word}'"
            )


def _frequencies(
    path: Path, rows: FactRows, kept_names: NDArray[np.int64], column: str | None
) -> NDArray[np.float64] | None:
    """Frequency of each name that has facts."""
    if rows.frequency_R is None:
        return None
    given_R = np.flatnonzero(~np.isnan(rows.frequency_R))
    name_R, number_R = rows.name.code_R[given_R], rows.frequency_R[given_R]
    first_R, again_R = _first_of_each(name_R)
    differing = np.flatnonzero(number_R != number_R[again_R])
    if len(differing):
        row = differing[0]
        raise UserError(
            f"data.file: {path}: {rows.name.texts[name_R[row]]!r} has two values of {column}: "
            f"{number_R[again_R[row]]:g} and {number_R[row]:g}; write one"
        )
    frequency_N = np.full(len(rows.name.texts), np.nan)
    frequency_N[name_R[first_R]] = number_R[first_R]
    lacking = kept_names[np.isnan(frequency_N[kept_names])]
    if len(lacking):
        raise UserError(
            f"data.file: {path}: {rows.name.texts[lacking[0]]!r} has no {column}; "
            "write a number in one of the rows of each name"
        )
    return frequency_N[kept_names]


@lru_cache(maxsize=4)
def _first_people(file: _File, path: Path, n_people: int) -> FactTable:
    if n_people > len(file.names):
        raise UserError(
            f"data.n_people: {n_people} people, but {path} has {len(file.names)} different names "
            f"with facts; write at most {len(file.names)}"
        )
    is_used_F = file.name_F < n_people
    used_attributes = np.unique(file.attribute_F[is_used_F])
    columns, values = [np.arange(n_people)], []
    for attribute in used_attributes:
        facts = np.flatnonzero(file.attribute_F == attribute)
        texts, number_F = np.unique(file.value_F[facts], return_inverse=True)
        is_own_F = is_used_F[facts]
        column_P = np.zeros(n_people, np.int64)
        column_P[file.name_F[facts][is_own_F]] = 1 + number_F[is_own_F]
        columns.append(column_P)
        values.append(tuple(file.value_texts[i] for i in texts))
    values_PC = np.stack(columns, axis=1)
    dtype = np.uint16 if values_PC.max() < 1 << 16 else np.uint32
    return FactTable(
        path=path,
        names=tuple(file.names),
        attributes=tuple(file.attributes[a] for a in used_attributes),
        values=tuple(values),
        values_PC=values_PC.astype(dtype),
        frequency_P=None if file.frequency_P is None else file.frequency_P[:n_people],
        n_names_in_file=len(file.names),
        n_values_in_file={
            attribute: len(np.unique(file.value_F[file.attribute_F == a]))
            for a, attribute in enumerate(file.attributes)
        },
    )

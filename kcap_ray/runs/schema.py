"""What a column of a record is: declared once, beside its field, and read from there by whoever
writes, checks, prints or documents it.

A record is a frozen dataclass whose fields are annotated `Annotated[type, Column(...)]`. Nothing
heavy is imported here: the analysis reads labels and units from this module.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, Self, get_args, get_origin, get_type_hints

SCHEMA_VERSION = 2
"""Counted up when a column gets another meaning; `kcap_ray.runs.versions` converts from older
ones.
"""


class RecordError(ValueError):
    """Values that make no record; one line that names the column."""


@dataclass(frozen=True)
class Column:
    """What there is to say about a column."""

    label: str
    """Heading in reports."""
    meaning: str
    """What it holds, with the formula where it is computed."""
    unit: str = ""
    """Empty for counts, ratios without unit, and text."""
    form: str = ""
    """How a terminal shows the number: a format specification."""
    short: str = ""
    """Heading in the terminal; empty: the label in lower case."""
    since: int = 1
    """Schema version that has it first."""

    @property
    def heading(self) -> str:
        """Heading in the terminal."""
        return self.short or (self.label if self.label.isupper() else self.label.lower())


@dataclass(frozen=True, kw_only=True)
class Field:
    """A column as one record has it."""

    name: str
    kind: type
    """str, bool, int or float; where it holds several values, of each."""
    is_optional: bool
    """Whether it may hold nothing."""
    choices: tuple[str, ...]
    """Texts that it may hold; empty: any."""
    column: Column
    holder: type[tuple] | type[dict] | None = None
    """What it holds several values in, in JSON a list or an object; None: it holds one value."""

    def check(self, value: object) -> None:
        """Raise `RecordError` unless the value is one that the column can hold."""
        if value is None and self.is_optional:
            return
        if type(value) is self.kind and self.holder is None and not self.choices:
            return  # nearly every value: a sweep's ledger holds a hundred thousand
        for item in self._items(value):
            self._check_one(item)

    def read(self, value: Any) -> Any:
        """A value as JSON has it, as the record has it."""
        return tuple(value) if self.holder is tuple and isinstance(value, list) else value

    @property
    def kind_text(self) -> str:
        """Its type in words, such as `float or nothing`."""
        kind = self.kind.__name__
        held = {None: kind, tuple: f"list of {kind}", dict: f"object of {kind}"}[self.holder]
        return held + (" or nothing" if self.is_optional else "")

    def _items(self, value: Any) -> Iterable[object]:
        if self.holder is None:
            return (value,)
        if not isinstance(value, self.holder):
            kind = {tuple: "a list", dict: "an object"}[self.holder]
            raise RecordError(f"column {self.name}: got {value!r}, which is not {kind}")
        return value.values() if isinstance(value, dict) else value

    def _check_one(self, value: object) -> None:
        allowed = (int, float) if self.kind is float else (self.kind,)
        is_right = isinstance(value, allowed) and (self.kind is bool or type(value) is not bool)
        if not is_right:
            kind = {str: "a text", bool: "true or false", int: "an integer", float: "a number"}
            raise RecordError(f"column {self.name}: got {value!r}, which is not {kind[self.kind]}")
        if self.choices and value not in self.choices:
            raise RecordError(
                f"column {self.name}: got {value!r}; allowed are {', '.join(self.choices)}"
            )


@cache
def fields_of(record: type) -> tuple[Field, ...]:
    """The columns of a record or of a section of one, in order."""
    hints = get_type_hints(record, include_extras=True)
    return tuple(_field(field.name, hints[field.name]) for field in dataclasses.fields(record))


def _field(name: str, hint: Any) -> Field:
    assert get_origin(hint) is Annotated, f"{name}: a column is annotated with a Column"
    bare, column = get_args(hint)
    # Of `tuple[float, ...]` and `dict[str, float]` the type of the values.
    origin = get_origin(bare)
    holder = origin if origin in (tuple, dict) else None
    bare = bare if holder is None else get_args(bare)[0 if holder is tuple else 1]
    parts = get_args(bare) if get_origin(bare) is not Literal else (bare,)
    parts = parts or (bare,)
    (kind,) = (part for part in parts if part is not NoneType)
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    return Field(
        name=name,
        kind=str if choices else kind,
        is_optional=NoneType in parts,
        choices=choices,
        column=column,
        holder=holder,
    )


def names_of(record: type) -> tuple[str, ...]:
    """The names of its columns, in order."""
    return tuple(field.name for field in fields_of(record))


def section(record: Any, kind: type) -> dict[str, Any]:
    """What a record says in the columns of one of its sections."""
    return {name: getattr(record, name) for name in names_of(kind)}


def shown(record: Any, name: str) -> str:
    """A column of a record as a terminal shows it; `-` for nothing."""
    (field,) = (field for field in fields_of(type(record)) if field.name == name)
    value = getattr(record, name)
    return "-" if value is None else format(value, field.column.form)


@dataclass(frozen=True, kw_only=True)
class Record:
    """Base of all records: the values are checked whenever one is made."""

    def __post_init__(self) -> None:
        for field in fields_of(type(self)):
            field.check(getattr(self, field.name))

    def to_dict(self) -> dict[str, Any]:
        """The columns, as JSON and Parquet hold them."""
        return section(self, type(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`. Columns that may hold nothing may be absent, and others than
        those of the record are ignored.

        Raises `RecordError` for what is not a record.
        """
        if not isinstance(values, Mapping):
            raise RecordError(f"got {type(values).__name__}, and no columns")
        known = [field for field in fields_of(cls) if field.name in values]
        given = {field.name: field.read(values[field.name]) for field in known}
        try:
            return cls(**given)
        except TypeError as error:  # says which columns are missing
            raise RecordError(str(error).partition(") ")[2] or str(error)) from None


def arrow_schema(record: type) -> Any:
    """The Parquet schema of a record."""
    import pyarrow as pa

    assert all(field.holder is None for field in fields_of(record)), "several values are JSON"
    kinds = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
    return pa.schema([pa.field(field.name, kinds[field.kind]) for field in fields_of(record)])

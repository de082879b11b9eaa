"""Reading facts from a file: rows of (name, attribute, value) in Parquet, CSV or JSON lines.

Shape letters: R rows of the file.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kcap_ray.config.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

MISSING = -1
"""Code of an empty field."""
_COLUMNS = ("name", "attribute", "value")


class Coded(NamedTuple):
    """A column of texts as numbers."""

    code_R: NDArray[np.int64]
    """Number of the text of each row, or MISSING."""
    texts: list[str]
    """Different texts, in order of appearance, with single spaces between words."""


class FactRows(NamedTuple):
    """The rows of a file; only `value` may be MISSING."""

    name: Coded
    attribute: Coded
    value: Coded
    frequency_R: NDArray[np.float64] | None
    """NaN where the row has none."""


def read_fact_rows(path: Path, frequency_column: str | None = None) -> FactRows:
    """The rows of the file; white space in its texts becomes single spaces.

    Raises `UserError` where the file cannot be read, a column is not there, a name or attribute is
    empty, or a frequency is not a number above 0.
    """
    import pyarrow as pa

    readers: dict[str, Callable[[Path, Sequence[str]], pa.Table]] = {
        ".parquet": _read_parquet,
        ".csv": _read_csv,
        ".jsonl": _read_json_lines,
    }
    if path.suffix not in readers:
        raise UserError(
            f"data.file: {path} is none of {', '.join(readers)}; write its facts into one of these"
        )
    extra = () if frequency_column is None else (frequency_column,)
    try:
        table = readers[path.suffix](path, (*_COLUMNS, *extra))
        name, attribute, value = (_coded(table.column(key)) for key in _COLUMNS)
        frequency_R = None if frequency_column is None else _numbers(table.column(frequency_column))
    except FileNotFoundError:
        raise UserError(f"data.file: {path}: there is no such file") from None
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"data.file: {path}: cannot be read: {reason}") from None
    for key, coded in (("name", name), ("attribute", attribute)):
        _check_filled(path, key, coded)
    if frequency_R is not None and frequency_column is not None:
        _check_frequencies(path, frequency_column, frequency_R)
    return FactRows(name, attribute, value, frequency_R)


def _check_columns(path: Path, found: Sequence[str], columns: Sequence[str]) -> None:
    """UserError unless the file has every one of the columns once."""
    wrong = [key for key in columns if list(found).count(key) != 1]
    if wrong:
        raise UserError(
            f"data.file: {path} needs the column {wrong[0]} once; it has {', '.join(found)}; "
            f"write the columns {', '.join(columns)}"
        )


def _read_parquet(path: Path, columns: Sequence[str]) -> "pa.Table":
    import pyarrow.parquet as pq

    _check_columns(path, pq.read_schema(path).names, columns)
    return pq.read_table(path, columns=list(columns))


def _read_csv(path: Path, columns: Sequence[str]) -> "pa.Table":
    """Texts stay as they are written: `007` is no number, and `NA` is a value."""
    import pyarrow as pa
    from pyarrow import csv

    types = {key: pa.string() if key in _COLUMNS else pa.float64() for key in columns}
    table = csv.read_csv(
        path,
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(column_types=types),
    )
    _check_columns(path, table.column_names, columns)
    return table


def _read_json_lines(path: Path, columns: Sequence[str]) -> "pa.Table":
    import pyarrow as pa

    lists: dict[str, list[str | None]] = {key: [] for key in columns}
    found: dict[str, None] = {}
    for number, row in _json_rows(path):
        found |= dict.fromkeys(row)
        for key, column in lists.items():
            field = row.get(key)
            if isinstance(field, dict | list):
                raise UserError(
                    f"data.file: {path}, line {number}: {key} is a list or an object; "
                    "write a text, and one line for each fact"
                )
            column.append(str(field).lower() if isinstance(field, bool) else field)
            if isinstance(field, str) and not _is_unicode(field):
                raise UserError(
                    f"data.file: {path}, line {number}: {key} {field!a} has half of a "
                    "surrogate pair, which is no character; write both halves, or the character"
                )
    _check_columns(path, tuple(found), columns)
    return pa.table({key: pa.array(column, pa.string()) for key, column in lists.items()})


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of each line; numbers are texts, as they are written. A mark of the
    byte order before the first line is skipped.
    """
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(
                    line, parse_int=str, parse_float=str, parse_constant=_refuse_constant
                )
            except json.JSONDecodeError:
                row = None
            except _NoValueError as error:
                raise UserError(
                    f"data.file: {path}, line {number}: {error} is no value; write null or leave "
                    "the line out where nothing is known, or put the word in quotes"
                ) from None
            if not isinstance(row, dict):
                raise UserError(
                    f"data.file: {path}, line {number}: not a JSON object; write for instance "
                    '{"name": "Ann Ray", "attribute": "employer", "value": "Acme"}'
                )
            yield number, row


class _NoValueError(ValueError):
    """NaN, Infinity or -Infinity without quotes."""


def _refuse_constant(text: str) -> str:
    raise _NoValueError(text)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _coded(column: "pa.ChunkedArray") -> Coded:
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = pc.utf8_trim_whitespace(column.cast(pa.string()))  # pyright: ignore
    words = pc.utf8_split_whitespace(texts).combine_chunks()  # pyright: ignore
    encoded = pc.binary_join(words, " ").dictionary_encode()  # pyright: ignore
    code_R = encoded.indices.fill_null(MISSING).to_numpy(zero_copy_only=False).astype(np.int64)
    distinct: list[str] = encoded.dictionary.to_pylist()
    if "" in distinct:
        # The empty text keeps its number, so that the others keep theirs.
        code_R[code_R == distinct.index("")] = MISSING
    return Coded(code_R, distinct)


def _numbers(column: "pa.ChunkedArray") -> NDArray[np.float64]:
    import pyarrow as pa

    return column.cast(pa.float64()).to_numpy().astype(np.float64)


def _check_filled(path: Path, key: str, coded: Coded) -> None:
    """UserError if a row has an empty field."""
    empty = np.flatnonzero(coded.code_R == MISSING)
    if len(empty):
        raise UserError(
            f"data.file: {path}, row {empty[0] + 1} has no {key}; write one, or delete the row"
        )


def _check_frequencies(path: Path, column: str, frequency_R: NDArray[np.float64]) -> None:
    wrong = np.flatnonzero((frequency_R <= 0) | np.isinf(frequency_R))
    if len(wrong):
        raise UserError(
            f"data.file: {path}, row {wrong[0] + 1}: {column} is {frequency_R[wrong[0]]:g}; "
            "write a number above 0, or leave the name out of the file"
        )

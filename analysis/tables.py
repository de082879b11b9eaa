"""The comparisons as tables, by name: flat records for CSV and JSON."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from analysis.architectures import compare_architectures
from analysis.bands import find_bands
from analysis.junk import compare_junk
from analysis.ladder import find_ladders
from analysis.load import ResultsError
from analysis.pooling import NOTHING, pool, pooled_records
from analysis.quantized import compare_quantized
from kcap_ray.runs.files import write_atomically
from kcap_ray.runs.text_table import aligned

Record = dict[str, object]


def _bands(rows: pd.DataFrame) -> list[Record]:
    table, _ = find_bands(rows)
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _junk(rows: pd.DataFrame) -> list[Record]:
    points = compare_junk(rows)
    beside = pool([point.comparison for point in points])
    pairs = zip(points, beside, strict=True)
    return [{**point.to_record(), **pooled.to_record()} for point, pooled in pairs]


def _ladder(rows: pd.DataFrame) -> list[Record]:
    steps = [step for steps in find_ladders(rows) for step in steps]
    beside = iter(pool([step.change for step in steps if step.change]))
    return [
        {**step.to_record(), **(next(beside) if step.change else NOTHING).to_record()}
        for step in steps
    ]


TABLES: dict[str, Callable[[pd.DataFrame], list[Record]]] = {
    "architectures": lambda rows: pooled_records(compare_architectures(rows)),
    "ladder": _ladder,
    "junk": _junk,
    "quantized": lambda rows: pooled_records(compare_quantized(rows)),
    "bands": _bands,
}


def make_table(name: str, used_rows: pd.DataFrame) -> list[Record]:
    """The records of one table; rows are those of `Results.used`.

    Raises ResultsError where there is no such table, or the rows have nothing for it.
    """
    if name not in TABLES:
        raise ResultsError(f"no table {name!r}; there are: {', '.join(TABLES)}")
    records = TABLES[name](used_rows)
    if not records:
        raise ResultsError(f"{name}: these results hold nothing that belongs into this table")
    return records


def check_ending(path: Path) -> None:
    """Raises ResultsError unless the file's ending is a format that `save_table` writes."""
    if path.suffix.lower() not in (".csv", ".json"):
        raise ResultsError(f"{path}: tables must end in .csv or .json")


def save_table(records: Sequence[Record], path: Path) -> Path:
    """Write the records as CSV or JSON, as the ending says; makes the folder."""
    if path.suffix.lower() == ".csv":
        text = pd.DataFrame(records).to_csv(index=False)
    else:
        text = json.dumps(records, indent=2, allow_nan=False) + "\n"
    write_atomically(path, text)
    return path


def show_table(records: Sequence[Record]) -> str:
    """The records as aligned text: the columns that differ, numbers to four digits."""
    table = pd.DataFrame(records)
    differs = [name for name in table if len(table) == 1 or table[name].astype(str).nunique() > 1]
    return aligned(
        {
            str(name): "right" if pd.api.types.is_numeric_dtype(table[name]) else "left"
            for name in differs
        },
        [[_shown(value) for value in row] for row in table[differs].itertuples(index=False)],
    )


def _shown(value: object) -> str:
    if value is None or value is pd.NA or value != value:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)

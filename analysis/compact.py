"""The compact form of a run directory: what is committed of a run, in five files.

    sweep.yaml            the sweep file
    environment.json      command, commit, versions and machine; digests of the files that were read
    results.parquet       one row per cell and quantization, each with its whole configuration
    trials.parquet        one row per trial, in the columns of `TrialRow`: `cell_id` and those of
                          its record; those after the search, with fresh seeds or beyond an edge,
                          have a `part`
    curves.parquet        one row per logged step of each cell's best trial: `cell_id`, `step`, ...

Every record of `cells/*/` is a row of one of the tables, with equal values. Checkpoints, logs and
what can be drawn again (report, figures) are left out.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.cell_tables import (
    CURVE,
    CURVES_TABLE,
    PART,
    PARTS,
    TRIALS,
    TRIALS_TABLE,
    read_json_lines,
)
from analysis.files import ResultsError
from analysis.load import read_environment
from kcap_ray.runs.record import TrialRecord, TrialRow
from kcap_ray.runs.schema import arrow_schema, names_of

RESULTS_TABLE = "results.parquet"
FILES = frozenset(
    {"sweep.yaml", "environment.json", RESULTS_TABLE, TRIALS_TABLE, CURVES_TABLE}
    | {"report.html", "figures"}
)


def belongs(name: str) -> bool:
    """Whether a compact run may hold a file of this name: its own, and what the analysis found out
    about it, as JSON.
    """
    return name in FILES or (name.endswith(".json") and name != "cells.json")


def write_compact(directory: Path, out: Path) -> Path:
    """Write the run at `directory` to `out` in compact form; returns `out`.

    Raises ResultsError if the run has no results, if one of its files cannot be read, or if `out`
    holds anything but a compact run.
    """
    names = [path.name for path in out.iterdir()] if out.is_dir() else []
    foreign = [name for name in names if not belongs(name)]
    if foreign:
        raise ResultsError(f"{out}: holds {min(foreign)}, so it is not a compact run; name another")
    path = directory / RESULTS_TABLE
    if not path.is_file():
        raise ResultsError(f"{directory} has no {RESULTS_TABLE}: no cell has finished there")
    results = _read_table(path)
    cell_ids = _cell_ids(directory, results)
    tables = {
        TRIALS_TABLE: _trials(directory, cell_ids),
        CURVES_TABLE: _curves(directory, cell_ids),
    }
    environment = read_environment(directory) | _files_read(directory)
    out.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        if table is not None:
            pq.write_table(table, out / name, compression="zstd")
    text = json.dumps(environment, indent=1)
    (out / "environment.json").write_text(text + "\n", encoding="utf-8")
    for name in (RESULTS_TABLE, "sweep.yaml"):
        if (directory / name).is_file():
            shutil.copyfile(directory / name, out / name)
    return out


def _cell_ids(directory: Path, results: pa.Table) -> list[str]:
    """Cells in the order of their rows, then those that have no row because they did not finish."""
    listed = list(dict.fromkeys(results["cell_id"].to_pylist()))
    others = sorted({path.name for path in (directory / "cells").glob("*/")} - set(listed))
    finished = [name for name in others if (directory / "cells" / name / "result.json").is_file()]
    if finished:
        raise ResultsError(
            f"{directory}: {finished[0]} has finished but has no row in {RESULTS_TABLE}; "
            "run its sweep again with this --out, so that the table is complete"
        )
    return listed + others


def _trials(directory: Path, cell_ids: list[str]) -> pa.Table | None:
    """All records of all cells, in their order; a field that a record lacks is null."""
    tables = [
        _rows_of(path, cell_id)
        for name in (TRIALS, f"{PARTS}/*/{TRIALS}")
        for cell_id, path in _cell_files(directory, cell_ids, name)
    ]
    return pa.concat_tables(tables) if any(table.num_rows for table in tables) else None


def _rows_of(path: Path, cell_id: str) -> pa.Table:
    """The records of one file, in the columns of `TrialRow`; ResultsError for what they cannot
    hold.
    """
    records, n_broken = read_json_lines(path)
    if n_broken:
        raise ResultsError(f"{path}: {n_broken} unreadable line(s); run the sweep again first")
    known = {*names_of(TrialRecord)}
    others = [name for record in records for name in record if name not in known]
    if others:
        raise ResultsError(f"{path}: {others[0]} is no column of a trial; update kcap")
    rows = [record | {"cell_id": cell_id} | _part(path) for record in records]
    try:
        return pa.Table.from_pylist(rows, schema=arrow_schema(TrialRow))
    except (ValueError, TypeError, OverflowError) as error:  # pyarrow's derive from the first two
        raise ResultsError(f"{path}: {error}".splitlines()[0]) from error


def _curves(directory: Path, cell_ids: list[str]) -> pa.Table | None:
    """All points of all curves; a column that a curve lacks is null."""
    tables = []
    for cell_id, path in _cell_files(directory, cell_ids, CURVE):
        table = _read_table(path).replace_schema_metadata(None)
        name = pa.array([cell_id] * table.num_rows, pa.string())
        tables.append(table.add_column(0, "cell_id", name))
    return pa.concat_tables(tables, promote_options="permissive") if tables else None


def _cell_files(directory: Path, cell_ids: list[str], name: str) -> Iterator[tuple[str, Path]]:
    """Those of this name, a pattern, in the order of the cells."""
    for cell_id in cell_ids:
        for path in sorted((directory / "cells" / cell_id).glob(name)):
            if path.is_file():
                yield cell_id, path


def _part(path: Path) -> dict[str, str]:
    """What names the part of a cell that a file belongs to; nothing for the search itself."""
    return {PART: path.parent.name} if path.parent.parent.name == PARTS else {}


def _read_table(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, ValueError) as error:  # pyarrow's errors derive from these two
        raise ResultsError(f"{path} cannot be read as parquet: {error}".splitlines()[0]) from error


def _files_read(directory: Path) -> dict[str, Any]:
    """`files`: SHA-256 of each file of facts that the cells read; nothing if they read none."""
    try:
        files = json.loads((directory / "cells.json").read_text(encoding="utf-8")).get("files")
    except (OSError, ValueError, AttributeError):
        files = None
    return {"files": files} if files else {}

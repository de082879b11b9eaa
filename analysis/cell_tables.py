"""Trials and training curves of cells, from either form of a run directory.

A live run has one file per cell: `cells/<cell_id>/trials.jsonl` and `history.parquet`. A compact
run has one table for all cells: `trials.parquet` and `curves.parquet`, with a column `cell_id`.
Where a directory has both, a cell's own file is read.
"""

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.files import ResultsError, read_parquet

TRIALS, TRIALS_TABLE = "trials.jsonl", "trials.parquet"
CURVE, CURVES_TABLE = "history.parquet", "curves.parquet"
PARTS, PART = "parts", "part"
"""Folder of a cell's trials after its search, and the column that names theirs in a table."""


class CellTables:
    """Trials and curves of the cells of one run directory.

    A file that cannot be read leaves a sentence in `notes`, and its cells have no rows.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.notes: list[str] = []

    def trials(self, cell_id: str) -> pd.DataFrame | None:
        """One row per tuning trial of the cell, in their order; None if there is none."""
        path = self._directory / "cells" / cell_id / TRIALS
        if not path.is_file():
            return _copy_of(self._all_trials.get(cell_id))
        records, n_broken = read_json_lines(path)
        if n_broken:
            self.notes.append(f"{cell_id}: {n_broken} unreadable line(s) in {TRIALS}")
        return pd.DataFrame(records) if records else None

    def trained(self, cell_id: str) -> pd.DataFrame | None:
        """One row per run of training of the cell; column `part` names what came after its search,
        and is empty for the search itself.
        """
        folder = self._directory / "cells" / cell_id
        files = [file for file in (folder / TRIALS,) if file.is_file()]
        files += sorted(folder.glob(f"{PARTS}/*/{TRIALS}"))
        records = [
            {PART: None if file.parent == folder else file.parent.name, **one}
            for file in files
            for one in read_json_lines(file)[0]
        ]
        table = pd.DataFrame(records) if records else _by_cell(self._trials_table).get(cell_id)
        if table is None or PART in table:
            return table
        return table.assign(**{PART: None})

    def curve(self, cell_id: str) -> pd.DataFrame | None:
        """One row per logged step of the cell's best trial; None if there is none."""
        path = self._directory / "cells" / cell_id / CURVE
        if not path.is_file():
            return _copy_of(self._all_curves.get(cell_id))
        return self._read(path)

    @cached_property
    def _all_trials(self) -> dict[str, pd.DataFrame]:
        return _by_cell(_of_searches(self._trials_table))

    @cached_property
    def _trials_table(self) -> pd.DataFrame | None:
        return self._read(self._directory / TRIALS_TABLE)

    @cached_property
    def _all_curves(self) -> dict[str, pd.DataFrame]:
        return _by_cell(self._read(self._directory / CURVES_TABLE))

    def _read(self, path: Path) -> pd.DataFrame | None:
        if not path.is_file():
            return None
        try:
            return read_parquet(path)
        except ResultsError as error:
            self.notes.append(str(error))
            return None


def collect_tables(
    rows: pd.DataFrame, read: Callable[[CellTables, str], pd.DataFrame | None]
) -> tuple[list[tuple[dict[Any, Any], pd.DataFrame]], list[str]]:
    """What `read` finds for the cell of each row (columns `run_dir` and `cell_id`) beside that
    row, where it finds something; and notes on what could not be read.
    """
    directories: dict[str, CellTables] = {}
    found = []
    for row in rows.to_dict("records"):
        run_dir = row["run_dir"]
        tables = directories.setdefault(run_dir, CellTables(Path(run_dir)))
        table = read(tables, row["cell_id"])
        if table is not None:
            found.append((row, table))
    return found, [note for tables in directories.values() for note in tables.notes]


def read_json_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Objects of a JSON-lines file, and how many lines are none (a killed writer leaves half)."""
    records, n_broken = [], 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            record = None
        if isinstance(record, dict):
            record.pop("checksum", None)
            records.append(record)
        else:
            n_broken += 1
    return records, n_broken


def _of_searches(table: pd.DataFrame | None) -> pd.DataFrame | None:
    """The trials without those that came after the search."""
    if table is None or PART not in table:
        return table
    return table[table[PART].isna()].drop(columns=PART)


def _by_cell(table: pd.DataFrame | None) -> dict[str, pd.DataFrame]:
    """The rows of each cell."""
    if table is None or "cell_id" not in table:
        return {}
    return {str(name): rows for name, rows in table.groupby("cell_id", sort=False)}


def _copy_of(rows: pd.DataFrame | None) -> pd.DataFrame | None:
    """The cell's rows without its id, and without columns that only other cells have."""
    if rows is None:
        return None
    own = rows.drop(columns="cell_id").reset_index(drop=True)
    return own.dropna(axis="columns", how="all")

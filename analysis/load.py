"""Read what a run left on disk: result rows, tuning trials, training curves.

A row that cannot be used stays in the table; `excluded_because` says why, and is empty for the
others.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.cell_tables import CellTables, collect_tables
from analysis.columns import with_optional_columns
from analysis.files import ResultsError, read_parquet
from kcap_ray.runs.versions import upgraded

REQUIRED_TEXT = ("cell_id", "status", "dataset", "arch", "model", "quantization")
REQUIRED_NUMBERS = (
    "n_people",
    "exposures",
    "n_params",
    "demand_bits",
    "stored_bits",
    "capacity_ratio",
    "max_capacity_ratio",
)
CELL_COLUMNS = ("cell_id", "dataset", "n_people", "exposures", "model", "n_params", "demand_bits")


@dataclass(frozen=True, kw_only=True)
class Results:
    """The rows of one or several runs, as read from disk."""

    directories: tuple[Path, ...]
    """Run directories, in the order given."""
    rows: pd.DataFrame
    """One row per cell and quantization: results.parquet, `run_dir` and `excluded_because`."""

    @property
    def used(self) -> pd.DataFrame:
        """Rows that are fitted and drawn."""
        return self.rows[self.rows["excluded_because"] == ""]

    @property
    def excluded(self) -> pd.DataFrame:
        """Rows that are only listed, each with its reason in `excluded_because`."""
        return self.rows[self.rows["excluded_because"] != ""]

    @property
    def name(self) -> str:
        """The sweep's name, or the directories' where rows do not carry one."""
        names = self.rows["sweep"].dropna().unique() if "sweep" in self.rows else []
        return ", ".join(map(str, names)) or ", ".join(d.name for d in self.directories)


def load_results(directories: Iterable[Path | str]) -> Results:
    """The rows of every run directory, in one table.

    Raises ResultsError if a directory or its results.parquet is missing, cannot be read, lacks a
    column, or holds no row.
    """
    paths = tuple(dict.fromkeys(Path(directory) for directory in directories))
    if not paths:
        raise ResultsError("no run directory given; write for instance: runs/quickstart")
    rows = pd.concat([_read_rows(path) for path in paths], ignore_index=True)
    rows["excluded_because"] = _exclusion_reasons(rows)
    return Results(directories=paths, rows=rows)


def _read_rows(directory: Path) -> pd.DataFrame:
    path = directory / "results.parquet"
    if not directory.is_dir():
        raise ResultsError(f"{directory}: no such run directory")
    if not path.is_file():
        raise ResultsError(
            f"{directory} has no results.parquet.\n"
            "Give the directory that `kcap sweep ... --out DIR` wrote, once a cell is done."
        )
    rows = read_parquet(path)
    missing = [c for c in (*REQUIRED_TEXT, *REQUIRED_NUMBERS) if c not in rows]
    if missing:
        raise ResultsError(f"{path} lacks the columns: {', '.join(missing)}")
    if rows.empty:
        raise ResultsError(f"{path} holds no rows: no cell has finished yet")
    for column in REQUIRED_NUMBERS:
        rows[column] = _as_numbers(rows[column], f"{path}: column {column}")
    for column in (*REQUIRED_TEXT, "reason"):
        values = rows[column] if column in rows else pd.Series("", index=rows.index)
        rows[column] = values.astype(object).where(values.notna(), "").astype(str)
    rows = _in_current_version(rows, str(path))
    rows["quantization"] = rows["quantization"].replace("", "none")
    rows["run_dir"] = str(directory)
    return with_optional_columns(rows)


def _in_current_version(rows: pd.DataFrame, where: str) -> pd.DataFrame:
    """The rows of any schema version, with today's meaning of every column."""
    before: list[dict[str, Any]] = [
        {str(name): value for name, value in row.items()} for row in rows.to_dict("records")
    ]
    try:
        converted = [upgraded(row, row["dataset"]) for row in before]
    except (ValueError, LookupError, TypeError) as error:
        raise ResultsError(f"{where}: {error}") from error
    pairs = list(zip(converted, before, strict=True))
    changed = {
        name: [row.get(name) for row in converted]
        for name in dict.fromkeys(name for row in converted for name in row)
        if any(row.get(name) is not old.get(name) for row, old in pairs)
    }
    return rows.assign(**{name: pd.Series(new, rows.index) for name, new in changed.items()})


def _as_numbers(values: pd.Series, where: str) -> pd.Series:
    try:
        return pd.to_numeric(values).astype(float)
    except (TypeError, ValueError) as error:
        raise ResultsError(f"{where} must hold numbers: {error}") from error


def _exclusion_reasons(rows: pd.DataFrame) -> pd.Series:
    """Why each row is neither fitted nor drawn; empty where it is used."""
    reasons = pd.Series("", index=rows.index)
    superseded = rows.duplicated(["run_dir", "cell_id", "quantization"], keep="last")
    # A cell is a pure function of its id, so equal bits are one measurement, wherever it lies.
    one = ["cell_id", "quantization", "stored_bits"]
    copied = rows[~superseded].duplicated(one).reindex(rows.index, fill_value=False)
    first = rows[~superseded].groupby(one, dropna=False)["run_dir"].transform("first")
    reasons[copied] = "a copy of the cell in " + first[copied[copied].index]
    reasons[superseded] = "replaced by a later row of the same cell"
    sizes = rows[["n_people", "exposures", "n_params", "demand_bits", "max_capacity_ratio"]]
    known = ((sizes > 0) & (sizes < math.inf)).all(axis=1)
    reasons[~known] = "a size is missing or not positive"
    measured = rows[["stored_bits", "capacity_ratio"]]
    finite = (measured.abs() < math.inf).all(axis=1)
    reasons[~finite] = "stored bits are missing or not finite"
    not_ok = rows["status"] != "ok"
    detail = rows["reason"].where(rows["reason"] == "", ": " + rows["reason"])
    return reasons.where(~not_ok, rows["status"] + detail)


def load_trials(results: Results) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Tuning trials of all cells, and notes on what could not be read.

    One row per trial: the file's own fields and the cell's `CELL_COLUMNS`; `ratio` is the trial's
    bits per parameter, NaN where a trial has none.
    """
    found, notes = collect_tables(_cells(results), CellTables.trials)
    together = [_of_cells(pairs) for pairs in _by_columns(found)]
    tables = [table.assign(ratio=_trial_ratio(table)) for table in together]
    return _in_order(tables), tuple(notes)


def load_histories(results: Results) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Training curves of all cells, and notes on what could not be read.

    One row per logged step: `step, tokens, exposures_seen, loss, lr, seconds` and the cell's
    `CELL_COLUMNS` (there `exposures` is the cell's total).
    """
    tables = []
    found, notes = collect_tables(_cells(results), CellTables.curve)
    for pairs in _by_columns(found):
        if not {"exposures", "loss"} <= set(pairs[0][2].columns):
            notes += [
                f"the curve of {row['cell_id']} lacks the columns exposures and loss"
                for _, row, _ in pairs
            ]
            continue
        renamed = [
            (i, row, table.rename(columns={"exposures": "exposures_seen"}))
            for i, row, table in pairs
        ]
        tables.append(_with_current_losses(_of_cells(renamed)))
    return _in_order(tables), tuple(notes)


def _with_current_losses(curves: pd.DataFrame) -> pd.DataFrame:
    """The curves with today's meaning of the losses on values, where they have any."""
    losses = [c for c in curves if c in ("loss_value_nats", "loss_value1_nats")]
    measured = curves[losses].notna().any(axis=1)
    if not measured.any():
        return curves
    converted = _in_current_version(curves[measured], "training curves")
    new = [c for c in converted if c not in curves]
    curves = curves.reindex(columns=[*curves.columns, *new])
    curves.loc[measured, [*losses, *new]] = converted[[*losses, *new]]
    return curves


_Found = list[tuple[int, dict[Any, Any], pd.DataFrame]]
"""Place of a cell among all, its row, and the table of its own."""


def _by_columns(found: Sequence[tuple[dict[Any, Any], pd.DataFrame]]) -> list[_Found]:
    """Tables of the same columns together: they are handled at once, of which there are few."""
    same: dict[tuple[str, ...], _Found] = {}
    for i, (row, table) in enumerate(found):
        same.setdefault(tuple(map(str, table.columns)), []).append((i, row, table))
    return list(same.values())


def _of_cells(found: _Found) -> pd.DataFrame:
    """The tables below each other, with the `CELL_COLUMNS` of each, and `place` of its cell."""
    tables = [table for _, _, table in found]
    lengths = [len(table) for table in tables]
    cells = pd.DataFrame([{c: row[c] for c in CELL_COLUMNS} for _, row, _ in found])
    repeated = cells.loc[cells.index.repeat(lengths)].reset_index(drop=True)
    repeated["place"] = np.repeat([i for i, _, _ in found], lengths)
    own = pd.concat(tables, ignore_index=True).drop(columns=list(CELL_COLUMNS), errors="ignore")
    return pd.concat([own, repeated], axis=1)


def _in_order(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """All rows in the order of their cells."""
    if not tables:
        return pd.DataFrame()
    rows = pd.concat(tables, ignore_index=True).sort_values("place", kind="stable")
    return rows.drop(columns="place").reset_index(drop=True)


def _cells(results: Results) -> pd.DataFrame:
    """One row per cell that has a row as trained."""
    cells = results.rows[results.rows["quantization"] == "none"]
    return cells.drop_duplicates(["run_dir", "cell_id"])


def _trial_ratio(trials: pd.DataFrame) -> pd.Series:
    """Bits per parameter of each trial, from whichever field says it; NaN if not finished."""
    finished = trials["status"] == "ok" if "status" in trials else pd.Series(True, trials.index)
    n_params = trials["n_params"].astype(float)
    for column, divisor in (("capacity_ratio", 1.0), ("stored_bits", n_params), ("bits", n_params)):
        if column in trials:
            values = pd.to_numeric(trials[column], errors="coerce") / divisor
            return values.where(finished & np.isfinite(values))
    return pd.Series(math.nan, index=trials.index)


def read_environment(directory: Path) -> dict[str, object]:
    """DIR/environment.json, or an empty dict where there is none or it is not a JSON object."""
    try:
        found = json.loads((directory / "environment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def read_sweep_text(directory: Path) -> str:
    """DIR/sweep.yaml as text, or an empty string where there is none."""
    path = directory / "sweep.yaml"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

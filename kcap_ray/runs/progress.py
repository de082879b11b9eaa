"""How the cells of a run stand: read from its files, so it is what is on disk and no more."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kcap_ray.config.cell import Cell
from kcap_ray.runs.done import is_done
from kcap_ray.runs.earlier import rows_of_table
from kcap_ray.runs.files import is_locked
from kcap_ray.runs.learnt import ADVICE, what_is_missing
from kcap_ray.runs.lease import is_held
from kcap_ray.runs.lease_object import lease_object
from kcap_ray.runs.record import ResultRow, TrainingProgress, TrialRecord
from kcap_ray.runs.results import AHEAD, CellDirectory, RunDirectory
from kcap_ray.runs.schema import shown
from kcap_ray.runs.working_copy import copy_of

LOCK = ".lock"
"""File of a run directory that the process at work in it has locked."""

STALE_AFTER_S = 120.0
"""Age of a note of progress after which its program is taken for dead."""

State = Literal["running", "waiting", "ok", "diverged", "failed", "stopped"]


@dataclass(frozen=True, kw_only=True)
class CellState:
    """How a cell stands."""

    cell: Cell
    state: State
    """`stopped`: begun, and nobody is at work on it."""
    detail: str
    """What there is to say: progress, result or reason."""
    n_runs_done: int = 0
    """Trials, and runs with fresh seeds, that are done."""
    programs: tuple[TrainingProgress, ...] = ()
    """Those that train now."""
    trained_s: float = 0.0
    """Time of all its programs so far, one after another; those that ran side by side add up."""
    device_s: float = 0.0
    """The same times the devices of each program, as far as they are known: those of data-parallel
    programs that are done count as the workers that were asked for by number.
    """
    device: str = ""
    """What it trains on; empty where nothing tells."""

    @property
    def n_runs(self) -> int:
        """Training runs that it takes, if none goes beyond the edges of a range."""
        return self.cell.tune.trials + self.cell.tune.confirm_seeds

    @property
    def done_frac(self) -> float:
        """Share of its training that is done; 1 for a cell that has ended."""
        if self.state not in ("running", "waiting", "stopped"):
            return 1.0
        now = sum(len(one.losses) * one.done_frac for one in self.programs)
        return min(1.0, (self.n_runs_done + now) / self.n_runs)

    @property
    def left_s(self) -> float | None:
        """Seconds until a running cell has ended, at the pace of the programs that train now; None
        where nothing tells.
        """
        if not self.programs:
            return None
        paces = [
            len(one.losses) * one.done_frac / one.seconds
            for one in self.programs
            if one.seconds > 0 and one.step > 0
        ]
        if not paces:
            return None
        left = (1 - self.done_frac) * self.n_runs
        # Those that have no pace yet train as fast as the others.
        return left / (sum(paces) / len(paces) * len(self.programs))


def cell_states(cells: Sequence[Cell], directory: RunDirectory) -> list[CellState]:
    """How each cell stands, from the ledger alone, or from its table where a run is kept so."""
    return LedgerReader(cells, directory).states()


def is_worked_in(path: Path) -> bool:
    """Whether a process is at work in the run directory, as far as its lock or lease tells."""
    if (found := copy_of(path)) is not None:
        with contextlib.suppress(OSError):
            return is_held(lease_object(found[0].store))
        return False
    try:
        return is_locked(path / LOCK)
    except OSError:
        # No lock, or a place that has none: then the age of the notes tells.
        return (path / LOCK).exists()


def _finished(cell: Cell, row: ResultRow, records: Iterable[TrialRecord] = ()) -> CellState:
    trained_s = _seconds(records)
    return CellState(
        cell=cell,
        state=row.status,
        detail=_result(row),
        n_runs_done=row.n_trials + row.n_widened + row.n_confirm_seeds,
        trained_s=trained_s,
        device_s=trained_s * cell.train.min_workers,
        device=row.device,
    )


def _seconds(records: Iterable[TrialRecord]) -> float:
    """Time of the programs that trained them: each trial has its share of its program's."""
    return sum((one.train_time_s or 0.0) / (one.n_trials_fused or 1) for one in records)


def _state(cell: Cell, directory: CellDirectory, *, is_alive: bool = True) -> CellState:
    row = directory.result()
    parts = directory.parts()
    if row is not None and is_done(cell, row):
        records = [one for place in (directory, *parts) for one in place.trials()]
        return _finished(cell, row, records)
    records = directory.trials()
    notes = [note for place in (directory, *parts) if (note := _progress(place)) is not None]
    note = min(notes, key=lambda note: note.age_s, default=None)
    n_in = {True: len(records), False: 0}
    for part in parts:
        found = part.trials()
        n_in[part.path.name.startswith(AHEAD)] += len(found)
        records += found
    programs = [one.progress for one in notes if is_alive and not one.is_stale]
    done_s = _seconds(records)
    state = CellState(
        cell=cell,
        state="running" if programs else "waiting" if note is None else "stopped",
        detail=note.text if programs and note is not None else _begun(cell, n_in, note),
        n_runs_done=len(records),
        programs=tuple(programs),
        trained_s=done_s + sum(one.seconds for one in programs),
        device_s=done_s * cell.train.min_workers
        + sum(one.seconds * one.n_devices for one in programs),
        device=next((one.device for one in (*programs, *records) if one.device), ""),
    )
    return state


def _begun(cell: Cell, n_in: Mapping[bool, int], note: "_Note | None") -> str:
    """What is done of a cell that nobody works on; `n_in`: trials of the search, and others."""
    n_trials, n_after = n_in[True], n_in[False]
    said = [f"{n_trials} of {cell.tune.trials} trials done"] if n_trials else []
    said += [f"{n_after} after them"] if n_after else []
    if note is not None:
        said.append(f"at {note.text.strip()}")
    return ", ".join(said)


def _result(row: ResultRow) -> str:
    if row.status != "ok":
        return row.reason
    ratio, most, lr, decay, time_s = (
        shown(row, name)
        for name in ("capacity_ratio", "max_capacity_ratio", "lr", "weight_decay", "train_time_s")
    )
    spread = "" if row.capacity_ratio_sd is None else f" sd {shown(row, 'capacity_ratio_sd')}"
    seeds = f" over {row.n_confirm_seeds_ok} fresh seeds" if row.n_confirm_seeds_ok else ""
    missing = what_is_missing(row)
    warning = f"  {missing}: {ADVICE}" if missing else ""
    warning += f"  at the edge of its range: {row.edge}" if row.edge else ""
    ratio += spread + seeds
    return f"R {ratio} of at most {most} bit/param  lr {lr}  wd {decay}  {time_s} s{warning}"


@dataclass(frozen=True, kw_only=True)
class _Note:
    """What a program last wrote of how far it has come."""

    progress: TrainingProgress
    age_s: float
    is_stale: bool
    """Whether a program that is alive would have written another one since."""

    @property
    def text(self) -> str:
        return str(self.progress)


def _progress(directory: CellDirectory) -> _Note | None:
    file = directory.progress_file
    try:
        age_s = time.time() - file.stat().st_mtime
        progress = TrainingProgress.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    return _Note(progress=progress, age_s=age_s, is_stale=age_s > STALE_AFTER_S)


_Stamp = tuple[int, ...]
"""When the directories of a cell changed last, in ns, and whether that is too long ago for a
program to be alive.
"""


def _changes(folder: Path) -> dict[str, int]:
    """When each directory in it changed last, in ns: every file is written under another name and
    renamed, which changes its directory.
    """
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.stat().st_mtime_ns for entry in entries}
    except OSError:
        return {}


def _stamp(place: CellDirectory, changed_at: Mapping[str, int]) -> _Stamp:
    own = changed_at.get(place.path.name)
    if own is None:
        return ()
    times = (own, *sorted(_changes(place.path / "parts").values()))
    return (*times, int(time.time() - max(times) / 1e9 > STALE_AFTER_S))


class LedgerReader:
    """Reads how cells stand, again and again. What has ended, or has not changed, is not read
    again: a sweep may have thousands of cells, and its directory may be far away.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        directory: RunDirectory,
        *,
        is_alive: Callable[[], bool] | None = None,
    ) -> None:
        """`is_alive`: whether programs are at work in the directory; None: as its lock tells."""
        self._cells, self._directory = cells, directory
        self._is_alive = is_alive or (lambda: is_worked_in(directory.path))
        self._places = {cell.cell_id: directory.cell(cell.cell_id) for cell in cells}
        self._seen: dict[str, tuple[tuple[_Stamp, bool], CellState]] = {}
        """What was read of each cell, and when its directory had changed last."""
        rows = rows_of_table(directory.path)
        self.ended = {
            cell.cell_id: _finished(cell, ResultRow.from_dict(rows[cell.cell_id]))
            for cell in cells
            if cell.cell_id in rows
        }
        """Cells that have ended."""

    def states(self) -> list[CellState]:
        """How each cell stands now."""
        changed_at, is_alive = _changes(self._directory.path / "cells"), self._is_alive()
        states = [
            self.ended.get(cell.cell_id) or self._read(cell, changed_at, is_alive)
            for cell in self._cells
        ]
        self.ended = {
            state.cell.cell_id: state
            for state in states
            if state.state not in ("running", "waiting", "stopped")
        }
        return states

    def _read(self, cell: Cell, changed_at: Mapping[str, int], is_alive: bool) -> CellState:
        place = self._places[cell.cell_id]
        stamp = _stamp(place, changed_at), is_alive
        seen = self._seen.get(cell.cell_id)
        if seen is None or seen[0] != stamp:
            # The stamp is older than what is read, so nothing is missed.
            seen = stamp, _state(cell, place, is_alive=is_alive)
            self._seen[cell.cell_id] = seen
        return seen[1]

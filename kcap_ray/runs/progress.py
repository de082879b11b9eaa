"""The table of a running sweep: read from the ledger, so it shows what is on disk and no more."""

import json
import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kcap_ray.config.cell import Cell
from kcap_ray.runs.done import is_done
from kcap_ray.runs.earlier import rows_of_table
from kcap_ray.runs.files import is_locked
from kcap_ray.runs.record import ResultRow, TrainingProgress
from kcap_ray.runs.results import AHEAD, CellDirectory, RunDirectory
from kcap_ray.runs.schema import shown
from kcap_ray.runs.text_table import text_table

if TYPE_CHECKING:
    from rich.table import Table

_logger = logging.getLogger(__name__)

LOCK = ".lock"
"""File of a run directory that the process at work in it has locked."""

STALE_AFTER_S = 120.0
"""Age of a note of progress after which its program is taken for dead."""

REFRESH_EVERY_S = 1.0
MAX_LINES = 24
"""Lines of the live table; the cells that run now come first."""

State = Literal["running", "waiting", "ok", "diverged", "failed", "stopped"]


@dataclass(frozen=True, kw_only=True)
class CellState:
    """How a cell stands."""

    cell: Cell
    state: State
    """`stopped`: begun, and nobody is at work on it."""
    detail: str
    """What there is to say: progress, result or reason."""


def cell_states(cells: Sequence[Cell], directory: RunDirectory) -> list[CellState]:
    """How each cell stands, from the ledger alone, or from its table where a run is kept so."""
    rows = rows_of_table(directory.path)
    is_alive = _is_worked_in(directory.path)
    return [
        _finished(cell, ResultRow.from_dict(rows[cell.cell_id]))
        if cell.cell_id in rows
        else _state(cell, directory.cell(cell.cell_id), is_alive=is_alive)
        for cell in cells
    ]


def _is_worked_in(path: Path) -> bool:
    """Whether a process is at work in the run directory, as far as its lock tells."""
    try:
        return is_locked(path / LOCK)
    except OSError:
        # No lock, or a place that has none: then the age of the notes tells.
        return (path / LOCK).exists()


def _finished(cell: Cell, row: ResultRow) -> CellState:
    return CellState(cell=cell, state=row.status, detail=_result(row))


def _state(cell: Cell, directory: CellDirectory, *, is_alive: bool = True) -> CellState:
    row = directory.result()
    if row is not None and is_done(cell, row):
        return _finished(cell, row)
    parts = directory.parts()
    notes = [note for place in (directory, *parts) if (note := _progress(place)) is not None]
    note = min(notes, key=lambda note: note.age_s, default=None)
    if note is not None and (is_alive and not note.is_stale):
        return CellState(cell=cell, state="running", detail=note.text)
    n_in = {True: len(directory.trials()), False: 0}
    for part in parts:
        n_in[part.path.name.startswith(AHEAD)] += len(part.trials())
    n_trials, n_after = n_in[True], n_in[False]
    said = [f"{n_trials} of {cell.tune.trials} trials done"] if n_trials else []
    said += [f"{n_after} after them"] if n_after else []
    if note is not None:
        said.append(f"at {note.text.strip()}")
    state = "waiting" if note is None else "stopped"
    return CellState(cell=cell, state=state, detail=", ".join(said))


def _result(row: ResultRow) -> str:
    if row.status != "ok":
        return row.reason
    ratio, most, lr, decay, time_s = (
        shown(row, name)
        for name in ("capacity_ratio", "max_capacity_ratio", "lr", "weight_decay", "train_time_s")
    )
    spread = "" if row.capacity_ratio_sd is None else f" sd {shown(row, 'capacity_ratio_sd')}"
    seeds = f" over {row.n_confirm_seeds_ok} fresh seeds" if row.n_confirm_seeds_ok else ""
    warning = f"  at the edge of its range: {row.edge}" if row.edge else ""
    ratio += spread + seeds
    return f"R {ratio} of at most {most} bit/param  lr {lr}  wd {decay}  {time_s} s{warning}"


@dataclass(frozen=True, kw_only=True)
class _Note:
    """What a program last wrote of how far it has come."""

    text: str
    age_s: float
    is_stale: bool
    """Whether a program that is alive would have written another one since."""


def _progress(directory: CellDirectory) -> _Note | None:
    file = directory.progress_file
    try:
        age_s = time.time() - file.stat().st_mtime
        progress = TrainingProgress.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    return _Note(text=str(progress), age_s=age_s, is_stale=age_s > STALE_AFTER_S)


def states_table(states: Sequence[CellState], *, max_lines: int | None = None) -> "Table":
    """The states as a table, running cells first where there are more than `max_lines`."""
    order = {"running": 0, "failed": 1, "diverged": 1, "stopped": 1, "ok": 2, "waiting": 3}
    shown = list(states)
    if max_lines is not None and len(shown) > max_lines:
        shown = sorted(shown, key=lambda state: order[state.state])[:max_lines]
    counts = Counter(state.state for state in states)
    done = sum(counts[name] for name in ("ok", "diverged", "failed"))
    parts = [f"{done} of {len(states)} cells done", f"{counts['running']} running"]
    parts += [
        f"{counts[name]} {name}" for name in ("stopped", "failed", "diverged") if counts[name]
    ]
    return text_table(
        {"cell": "left", "state": "left", "": "left"},
        [(state.cell.cell_id, state.state, state.detail) for state in shown],
        caption=", ".join(parts),
        wrapped="",
    )


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


class Watch:
    """Logs every cell that ends, below a live table where standard output is a terminal."""

    def __init__(self, cells: Sequence[Cell], directory: RunDirectory) -> None:
        self._cells, self._directory = cells, directory
        self._ended: dict[str, CellState] = {}
        self._places = {cell.cell_id: directory.cell(cell.cell_id) for cell in cells}
        self._seen: dict[str, tuple[_Stamp, CellState]] = {}
        """What was read of each cell, and when its directory had changed last."""
        self._stop = threading.Event()
        is_terminal = sys.stdout.isatty()
        self._thread = threading.Thread(
            target=self._show_live if is_terminal else self._log_ends, daemon=True
        )

    def __enter__(self) -> "Watch":
        self._states()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _states(self) -> list[CellState]:
        """How each cell stands now. What has ended, or has not changed, is not read again: a sweep
        may have thousands of cells, and its directory may be far away.
        """
        changed_at = _changes(self._directory.path / "cells")
        states = [
            self._ended.get(cell.cell_id) or self._read(cell, changed_at) for cell in self._cells
        ]
        self._ended = {
            state.cell.cell_id: state
            for state in states
            if state.state not in ("running", "waiting", "stopped")
        }
        return states

    def _read(self, cell: Cell, changed_at: Mapping[str, int]) -> CellState:
        place = self._places[cell.cell_id]
        stamp = _stamp(place, changed_at)
        seen = self._seen.get(cell.cell_id)
        if seen is None or seen[0] != stamp:
            # The stamp is older than what is read, so nothing is missed.
            seen = stamp, _state(cell, place)
            self._seen[cell.cell_id] = seen
        return seen[1]

    def _show_live(self) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(markup=False, emoji=False)  # names and reasons as they are
        with Live(console=console, refresh_per_second=2, transient=True) as live:
            self._log_ends(lambda states: live.update(states_table(states, max_lines=MAX_LINES)))

    def _log_ends(self, show: Callable[[list[CellState]], None] = lambda _: None) -> None:
        logged = set(self._ended)
        last = False
        while not last:
            last = self._stop.wait(REFRESH_EVERY_S)
            show(self._states())
            for cell_id, state in self._ended.items():
                if cell_id in logged:
                    continue
                logged.add(cell_id)
                count = f"[{len(logged)}/{len(self._cells)}]"
                level = logging.INFO if state.state == "ok" else logging.WARNING
                _logger.log(level, "%s %s  %s  %s", count, cell_id, state.state, state.detail)

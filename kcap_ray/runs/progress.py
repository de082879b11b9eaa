"""The table of a running sweep: read from the ledger, so it shows what is on disk and no more."""

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console
from rich.live import Live
from rich.table import Table

from kcap_ray.config.cell import Cell
from kcap_ray.runs.record import ResultRow
from kcap_ray.runs.results import CellDirectory, RunDirectory
from kcap_ray.runs.schema import shown

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
    detail: str
    """What there is to say: progress, result or reason."""


def cell_states(cells: Sequence[Cell], directory: RunDirectory) -> list[CellState]:
    """How each cell stands, from the ledger alone."""
    return [_state(cell, directory.cell(cell.cell_id)) for cell in cells]


def _state(cell: Cell, directory: CellDirectory) -> CellState:
    row = directory.result()
    if row is not None:
        return CellState(cell=cell, state=row.status, detail=_result(row))
    note = _progress(directory)
    if note is None:
        n_trials = len(directory.trials())
        detail = f"{n_trials} of {cell.tune.trials} trials done" if n_trials else ""
        return CellState(cell=cell, state="waiting", detail=detail)
    losses = ", ".join(f"{loss:.3f}" for loss in note["losses"])
    share = 100 * note["step"] / note["n_steps"]
    detail = f"{share:3.0f}%  step {note['step']} of {note['n_steps']}  loss {losses} nats"
    return CellState(cell=cell, state="running", detail=detail)


def _result(row: ResultRow) -> str:
    if row.status != "ok":
        return row.reason
    ratio, most, lr, decay, time_s = (
        shown(row, name)
        for name in ("capacity_ratio", "max_capacity_ratio", "lr", "weight_decay", "train_time_s")
    )
    return f"R {ratio} of at most {most} bit/param  lr {lr}  wd {decay}  {time_s} s"


def _progress(directory: CellDirectory) -> dict[str, Any] | None:
    file = directory.progress_file
    try:
        if time.time() - file.stat().st_mtime > STALE_AFTER_S:
            return None
        return json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def states_table(states: Sequence[CellState], *, max_lines: int | None = None) -> Table:
    """The states as a table, running cells first where there are more than `max_lines`."""
    table = Table(box=None, pad_edge=False)
    for heading in ("cell", "state", ""):
        table.add_column(heading, no_wrap=heading != "")
    order = {"running": 0, "failed": 1, "diverged": 1, "stopped": 1, "ok": 2, "waiting": 3}
    shown = list(states)
    if max_lines is not None and len(shown) > max_lines:
        shown = sorted(shown, key=lambda state: order[state.state])[:max_lines]
    for state in shown:
        table.add_row(state.cell.cell_id, state.state, state.detail)
    counts = Counter(state.state for state in states)
    done = sum(counts[name] for name in ("ok", "diverged", "failed", "stopped"))
    parts = [f"{done} of {len(states)} cells done", f"{counts['running']} running"]
    parts += [f"{counts[name]} {name}" for name in ("failed", "diverged") if counts[name]]
    table.caption = ", ".join(parts)
    table.caption_justify = "left"
    return table


class Watch:
    """Shows a running sweep: a live table on a terminal, one line per finished cell elsewhere."""

    def __init__(self, cells: Sequence[Cell], directory: RunDirectory) -> None:
        self._cells, self._directory = cells, directory
        self._ended: dict[str, CellState] = {}
        self._stop = threading.Event()
        is_terminal = sys.stdout.isatty()
        self._thread = threading.Thread(
            target=self._show_live if is_terminal else self._print_lines, daemon=True
        )

    def __enter__(self) -> "Watch":
        self._states()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _states(self) -> list[CellState]:
        """How each cell stands now. What has ended is not read again: a sweep may have a thousand
        cells, and its directory may be far away.
        """
        states = [self._ended.get(cell.cell_id) or self._read(cell) for cell in self._cells]
        self._ended = {
            state.cell.cell_id: state
            for state in states
            if state.state not in ("running", "waiting")
        }
        return states

    def _read(self, cell: Cell) -> CellState:
        return _state(cell, self._directory.cell(cell.cell_id))

    def _show_live(self) -> None:
        with Live(console=Console(), refresh_per_second=2, transient=True) as live:
            while not self._stop.wait(REFRESH_EVERY_S):
                live.update(states_table(self._states(), max_lines=MAX_LINES))

    def _print_lines(self) -> None:
        printed = set(self._ended)
        last = False
        while not last:
            last = self._stop.wait(REFRESH_EVERY_S)
            self._states()
            for cell_id, state in self._ended.items():
                if cell_id in printed:
                    continue
                printed.add(cell_id)
                count = f"[{len(printed)}/{len(self._cells)}]"
                print(f"{count} {cell_id}  {state.state}  {state.detail}", flush=True)

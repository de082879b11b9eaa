"""The table of a running sweep, and the lines of the cells that end meanwhile."""

import logging
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from kcap_ray.config.cell import Cell
from kcap_ray.runs.progress import CellState, LedgerReader
from kcap_ray.runs.results import RunDirectory
from kcap_ray.runs.text_table import Justify, aligned, text_table

if TYPE_CHECKING:
    from rich.console import RenderableType

_logger = logging.getLogger(__name__)

REFRESH_EVERY_S = 1.0
MAX_LINES = 24
"""Lines of the live table."""

_LEAST_CELL = 16  # characters of a cell's id that are shown in any case


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a sweep will still take, and has cost."""

    left_s: float | None = None
    """Seconds until its end, if as many programs go on training as now; None where nothing tells.
    """
    cost: float | None = None
    """Dollars of its training so far; None where no price is known."""


class LookAhead(Protocol):
    """Tells the outlook of a sweep from how its cells stand."""

    def __call__(self, states: Sequence[CellState], /) -> Outlook: ...


def no_outlook(states: Sequence[CellState], /) -> Outlook:
    """Of a sweep that nothing more is known of."""
    del states
    return Outlook()


def duration(seconds: float | None) -> str:
    """`1:05` (minutes), `2:01:05`, `3d 04h`; empty for None."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours:02}h"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def summary(states: Sequence[CellState], outlook: Outlook) -> str:
    """One line on the whole sweep."""
    counts = Counter(state.state for state in states)
    done = sum(counts[name] for name in ("ok", "diverged", "failed"))
    parts = [f"{done} of {len(states)} cells done", f"{counts['running']} running"]
    parts += [
        f"{counts[name]} {name}" for name in ("stopped", "failed", "diverged") if counts[name]
    ]
    if trained_s := sum(state.trained_s for state in states):
        parts.append(f"trained {duration(trained_s)}")
    if outlook.left_s is not None:
        parts.append(f"{duration(outlook.left_s)} left")
    if outlook.cost is not None:
        parts.append(f"${outlook.cost:,.2f}")
    return ", ".join(parts)


def live_table(states: Sequence[CellState], outlook: Outlook, *, width: int) -> "RenderableType":
    """One line for each running cell, in so many characters, and one for the sweep."""
    running = [state for state in states if state.state == "running"]
    rows = [(*_times(state), _runs(state)) for state in running[:MAX_LINES]]
    headings = ("done", "time", "left", "runs, loss")
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    n_chars = max(_LEAST_CELL, width - sum(widths) - 2 * len(widths))
    lines = [
        (_shortened(state.cell.cell_id, n_chars), *row)
        for state, row in zip(running, rows, strict=False)
    ]
    if len(running) > len(lines):
        lines.append((f"and {len(running) - len(lines)} more", "", "", "", ""))
    return _with_line(
        {"cell": "left", "done": "right", "time": "right", "left": "right", "runs, loss": "left"},
        lines or None,
        summary(states, outlook),
    )


def states_table(
    states: Sequence[CellState], outlook: Outlook | None = None, *, width: int = 200
) -> "RenderableType":
    """One line for each cell, wrapped where a result or a reason is long, and one for the sweep."""
    n_chars = max(_LEAST_CELL, min(44, width - 52))
    lines = [
        (
            _shortened(state.cell.cell_id, n_chars) if width < 120 else state.cell.cell_id,
            state.state,
            *_times(state),
            _runs(state) if state.state == "running" else state.detail,
        )
        for state in states
    ]
    columns: dict[str, Justify]
    columns = {"cell": "left", "state": "left", "done": "right", "time": "right", "left": "right"}
    line = summary(states, outlook or Outlook())
    if all(text.isascii() for texts in lines for text in texts):
        return _as_text({**columns, "": "left"}, lines, line, width=width)
    return _with_line({**columns, "": "left"}, lines, line)


def _as_text(
    columns: Mapping[str, Justify], lines: Sequence[Sequence[str]], line: str, *, width: int
) -> "RenderableType":
    """The same as `_with_line` for texts whose characters are all as wide as one: in a tenth of the
    time, for sweeps of a thousand cells.
    """
    from rich.console import Group
    from rich.text import Text

    heading, *rest = aligned(columns, lines, width=width).split("\n")
    rows = [Text(heading, style="table.header"), Text("\n".join(rest))] if rest else [Text(heading)]
    for row in rows:
        row.no_wrap, row.overflow = True, "ignore"
    return Group(*rows, Text(line))


def _with_line(
    columns: Mapping[str, Justify], lines: Sequence[Sequence[str]] | None, line: str
) -> "RenderableType":
    from rich.console import Group
    from rich.text import Text

    if lines is None:
        return Text(line)
    return Group(text_table(columns, lines, wrapped=""), Text(line))


def _times(state: CellState) -> tuple[str, str, str]:
    """Share that is done, time so far, and time that is left."""
    is_begun = state.done_frac > 0 and state.state in ("running", "stopped", "waiting")
    share = f"{100 * state.done_frac:.0f}%" if is_begun or state.state == "running" else ""
    return share, duration(state.trained_s or None), duration(state.left_s)


def _runs(state: CellState) -> str:
    """Training runs that are done, and of those that train now the least training loss and the
    largest R that was last measured.
    """
    losses = [loss for one in state.programs for loss in one.losses]
    ratios = [ratio for one in state.programs for ratio in one.ratios]
    loss = f" {min(losses):.3f}" if losses else ""
    ratio = f" R {max(ratios):.3f}" if ratios else ""
    return f"{state.n_runs_done}/{state.n_runs}{loss}{ratio}"


def _shortened(text: str, n_chars: int) -> str:
    """The text, or its ends with `..` between them: the end of a cell's id tells cells apart."""
    if len(text) <= n_chars:
        return text
    last = min(12, (n_chars - 2) // 2)
    return f"{text[: n_chars - last - 2]}..{text[-last:]}"


class Watch:
    """Logs every cell that ends, below a live table where standard output is a terminal."""

    def __init__(
        self,
        cells: Sequence[Cell],
        directory: RunDirectory,
        look_ahead: LookAhead = no_outlook,
    ) -> None:
        self._cells, self._look_ahead = cells, look_ahead
        # Whoever watches is at work there.
        self._reader = LedgerReader(cells, directory, is_alive=lambda: True)
        self._stop = threading.Event()
        is_terminal = sys.stdout.isatty()
        self._thread = threading.Thread(
            target=self._show_live if is_terminal else self._log_ends, daemon=True
        )

    def __enter__(self) -> "Watch":
        self._reader.states()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _show_live(self) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(markup=False, emoji=False)  # names and reasons as they are
        with Live(console=console, refresh_per_second=2, transient=True) as live:
            self._log_ends(
                lambda states: live.update(
                    live_table(states, self._look_ahead(states), width=console.width)
                )
            )

    def _log_ends(self, show: Callable[[list[CellState]], None] = lambda _: None) -> None:
        logged = set(self._reader.ended)
        last = has_failed = False
        while not last:
            last = self._stop.wait(REFRESH_EVERY_S)
            try:
                show(self._reader.states())
            except (OSError, ValueError) as error:
                # A directory that does not answer, or a file of prices half written: the next look
                # may find it.
                if not has_failed:
                    _logger.warning("the live table stands still: %s", error)
                has_failed = True
            self._log_new_ends(logged)

    def _log_new_ends(self, logged: set[str]) -> None:
        for cell_id, state in self._reader.ended.items():
            if cell_id in logged:
                continue
            logged.add(cell_id)
            count = f"[{len(logged)}/{len(self._cells)}]"
            level = logging.INFO if state.state == "ok" else logging.WARNING
            _logger.log(level, "%s %s  %s  %s", count, cell_id, state.state, state.detail)

"""The verbs of `kcap` that read run directories: how they stand, and their reports."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from kcap_ray.cli.options import AsJson, Directories, PriceKind, Prices
from kcap_ray.cli.output import print_json, print_table, report_of, width_of_output
from kcap_ray.config.errors import UserError
from kcap_ray.runs.following import PROGRESS_EVERY_S
from kcap_ray.runs.working_copy import with_urls


def status(
    directories: Directories,
    as_json: AsJson = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Show what runs, until nothing does; Ctrl-C ends it."),
    ] = False,
    prices: Prices = None,
    pricing: PriceKind = "block",
) -> None:
    """Show how the cells of each run stand, what is left and what it cost, from its files alone."""
    runs = [_Run(path, prices, pricing) for path in directories]
    if as_json:
        if watch:
            raise UserError("--watch: shows a table; write --json without it")
        print_json(line for run in runs for line in run.lines())
        return
    if watch:
        _show_running(runs)
    for run in runs:
        if len(runs) > 1:
            typer.echo(with_urls(f"{run.path}:"))
        print_table(run.table(width_of_output()))


class _Run:
    """How a run stands."""

    def __init__(self, path: Path, prices: Path | None, pricing: PriceKind) -> None:
        from kcap_ray.planning.outlook import SweepOutlook
        from kcap_ray.runs.manifest import read_cells
        from kcap_ray.runs.progress import LedgerReader
        from kcap_ray.runs.results import RunDirectory

        self.path, cells = path, read_cells(path)
        self._reader = LedgerReader(cells, RunDirectory(path))
        self._outlook = SweepOutlook(cells, kind=pricing, prices=prices)

    def table(self, width: int) -> Any:
        """All cells."""
        from kcap_ray.runs.watch import states_table

        states = self._reader.states()
        return states_table(states, self._outlook(states), width=width)

    def live(self, width: int) -> Any:
        """The running cells; None if all cells have ended, or no command is at work on them."""
        from kcap_ray.runs.progress import is_worked_in
        from kcap_ray.runs.watch import live_table

        states = self._reader.states()
        kinds = {state.state for state in states}
        if not kinds & {"running", "waiting", "stopped"} or not is_worked_in(self.path):
            return None
        return live_table(states, self._outlook(states), width=width)

    def lines(self) -> Iterator[dict[str, object]]:
        """One object per cell; what is of the whole sweep is in each of them."""
        states = self._reader.states()
        outlook = self._outlook(states)
        for one in states:
            yield {
                "directory": with_urls(str(self.path)),
                "cell_id": one.cell.cell_id,
                "state": one.state,
                "detail": one.detail,
                "done_frac": one.done_frac,
                "n_runs_done": one.n_runs_done,
                "n_runs": one.n_runs,
                "trained_s": one.trained_s,
                "left_s": one.left_s,
                "sweep_left_s": outlook.left_s,
                "sweep_cost": outlook.cost,
            }


def _show_running(runs: Sequence[_Run]) -> None:
    """Show the running cells in place, until no command is at work on them."""
    from rich.console import Console, Group
    from rich.live import Live

    from kcap_ray.runs.files import refresh
    from kcap_ray.runs.watch import REFRESH_EVERY_S

    console = Console(markup=False, emoji=False, width=width_of_output())
    with Live(console=console, refresh_per_second=2, transient=True) as live:
        while tables := [one for run in runs if (one := run.live(console.width)) is not None]:
            live.update(Group(*tables))
            time.sleep(REFRESH_EVERY_S)
            for run in runs:
                refresh(run.path, every_s=PROGRESS_EVERY_S)


def report(directories: Directories, as_json: AsJson = False) -> None:
    """Write the report of each run: figures, fitted law, verdict on each claim."""
    from kcap_ray.runs.opening import check_store

    for directory in directories:
        check_store(directory)
    paths = [with_urls(str(report_of(directory))) for directory in directories]
    if as_json:
        print_json({"report": path} for path in paths)
        return
    for path in paths:
        typer.echo(f"report: {path}")

"""What verbs of `kcap` print when they are done."""

import atexit
import gc
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError


def conclude(cells: list[Cell], directory: Any) -> None:
    """Print the table, write the report; exit status 1 if a cell has no result."""
    from kcap_ray.cli.results_table import results_table

    # This is the end of a command. Python would look for garbage among a million objects that Ray
    # and the report have loaded, for most of a second.
    atexit.register(gc.freeze)
    rows = directory.rows(cells)
    is_narrow = sys.stdout.isatty() and shutil.get_terminal_size().columns < 100
    print_table(results_table(rows, is_narrow=is_narrow))
    failed = [row for row in rows if row.status != "ok"]
    if len(failed) < len(rows):
        typer.echo(f"report: {report_of(directory.path)}")
    typer.echo(f"table:  {directory.results_file}")
    if failed:
        typer.echo(
            f"{len(failed)} of {len(rows)} cells have no result, for the reasons in the table; "
            "the same command tries again what the machine made fail, --retry-failed all.",
            err=True,
        )
        raise typer.Exit(1)


@contextmanager
def people_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar of the people that are measured, on a terminal's standard error; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda n_done, n_people: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("people", total=None)
        yield lambda n_done, n_people: progress.update(task, completed=n_done, total=n_people)


def print_table(table: Any) -> None:
    """Print a table of rich."""
    from rich.console import Console

    # A file or a pipe has no width that a table would have to be cut down to.
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def print_json(found: Iterable[object]) -> None:
    """Print values as a JSON list, for programs."""
    typer.echo(json.dumps(list(found), indent=1, allow_nan=False))


def report_of(directory: Path) -> Path:
    """Write the report of a run, and say where; UserError if its results cannot be read."""
    from analysis.load import ResultsError
    from analysis.report import write_report

    try:
        return write_report(directory)
    except ResultsError as error:
        raise UserError(str(error)) from error

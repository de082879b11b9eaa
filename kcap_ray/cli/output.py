"""What verbs of `kcap` print when they are done."""

import atexit
import gc
import json
import logging
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError
from kcap_ray.runs.done import is_done
from kcap_ray.runs.working_copy import with_urls

if TYPE_CHECKING:
    from kcap_ray.runs.record import ResultRow

_logger = logging.getLogger(__name__)


def announce(name: str, cells: Sequence[Cell], directory: Any, *, then: str) -> None:
    """Say at once what is about to be done, since the first result takes a while; `then`: what
    comes first where anything is left to do.
    """
    n_done = sum(is_done(cell, directory.cell(cell.cell_id).result()) for cell in cells)
    rest = "" if n_done == len(cells) else f"; {then}"
    _logger.info("%s: %d cells, %d done, in %s%s", name, len(cells), n_done, directory.path, rest)


def print_summary(cells: list[Cell], directory: Any, *, as_json: bool = False) -> None:
    """Print the table (or the rows as JSON), write the report; exit status 1 if a cell has no
    result.
    """
    from kcap_ray.cli.results_table import results_table
    from kcap_ray.runs.edges import edge_notes
    from kcap_ray.runs.learnt import learnt_notes

    # This is the end of a command. Python would look for garbage among a million objects that Ray
    # and the report have loaded, for most of a second.
    atexit.register(gc.freeze)
    rows = directory.rows(cells)
    failed = [row for row in rows if row.status != "ok"]
    if as_json:
        print_json(row.to_dict() for row in rows)
    else:
        is_narrow = sys.stdout.isatty() and shutil.get_terminal_size().columns < 100
        print_table(results_table(rows, is_narrow=is_narrow))
    for note in (*learnt_notes(rows), *edge_notes(rows)):
        typer.echo(f"note: {note}.", err=True)
    if len(failed) < len(rows):
        typer.echo(with_urls(f"report: {report_of(directory.path)}"), err=as_json)
    typer.echo(with_urls(f"table:  {directory.results_file}"), err=as_json)
    if failed:
        typer.echo(_failed_text(failed, len(rows)), err=True)
        raise typer.Exit(1)


def _failed_text(failed: "Sequence[ResultRow]", n_rows: int) -> str:
    """How many cells have no result, and what can be done about those that failed and about those
    that diverged.
    """
    text = f"{len(failed)} of {n_rows} cells have no result, for the reasons in the table"
    n_diverged = sum(row.status == "diverged" for row in failed)
    if n_diverged < len(failed):
        text += "; the same command tries again what the machine made fail, --retry-failed all"
        text += " but what diverged" if n_diverged else ""
    if n_diverged:
        text += f"; {n_diverged} diverged, and would again: write a lower train.lr or tune.lr"
    return f"{text}."


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


def width_of_output() -> int:
    """Characters of a line of the terminal. A file or a pipe has no width that a table would have
    to be cut down to.
    """
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 200


def print_table(table: Any) -> None:
    """Print a table of rich."""
    from rich.console import Console

    # Names and reasons are shown as they are, whatever brackets they hold.
    width = None if sys.stdout.isatty() else width_of_output()
    Console(width=width, markup=False, emoji=False).print(table)


def print_json(found: Iterable[object]) -> None:
    """Print values as a JSON list, for programs."""
    typer.echo(json.dumps(list(found), indent=1, allow_nan=False))


def report_of(directory: Path) -> Path:
    """Write the report of a run, and its searches for Optuna's dashboard, and say where the report
    is; UserError if its results cannot be read.
    """
    from analysis.load import ResultsError
    from analysis.report import write_report

    _write_studies(directory)
    try:
        return write_report(directory)
    except ResultsError as error:
        raise UserError(str(error)) from error


def _write_studies(directory: Path) -> None:
    """Of a run that has a ledger; one that is kept as a table alone has no trials to show."""
    if not (directory / "cells").is_dir():
        return
    from kcap_ray.execution.studies import write_studies
    from kcap_ray.runs.earlier import read_manifest
    from kcap_ray.runs.results import RunDirectory

    try:
        manifest = read_manifest(directory)
        cells = [] if manifest is None else [stored.cell for stored in manifest.cells]
        write_studies(cells, RunDirectory(directory))
    except (OSError, UserError) as error:
        _logger.warning("searches are not written for optuna-dashboard: %s", error)


def seeds_of_plan(rows: Sequence[Any], difference: float | None) -> list[Any]:
    """The seeds that rows of a plan need by `kcap plan --power`; nothing without it."""
    if difference is None:
        return []
    from analysis.seeds import seeds_at

    try:
        return seeds_at([row.exposures for row in rows], difference)
    except ValueError as error:
        raise UserError(f"--power: {error}") from error

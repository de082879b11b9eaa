"""The verbs of `kcap`. What is heavy is imported inside the verb that needs it, so that planning
starts at once.
"""

import os
import signal
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from kcap_ray.cli.analysis import add_verbs
from kcap_ray.cli.bench import bench
from kcap_ray.cli.data import data
from kcap_ray.cli.extract import extract
from kcap_ray.cli.finished import report, status
from kcap_ray.cli.models import export, measure
from kcap_ray.cli.options import (
    AsJson,
    CellGlob,
    Device,
    MaxCost,
    MaxHours,
    Order,
    Out,
    PriceKind,
    Prices,
    RetryFailed,
    SaveEvery,
    Set,
    SweepFile,
    Trackers,
    overrides,
)
from kcap_ray.cli.output import announce, print_json, print_summary
from kcap_ray.cli.places import placed
from kcap_ray.cli.planning import plan, simulate
from kcap_ray.cli.quantize import quantize
from kcap_ray.cli.rewrite import rewrite
from kcap_ray.cli.starting import init, schema
from kcap_ray.cli.submit import submit
from kcap_ray.config.errors import UserError
from kcap_ray.runs.log import log_to_standard_error

# Of the click that this typer was built on, which may be its own copy.
_UsageError: Any = typer.BadParameter.__base__


class _Group(TyperGroup):
    """Turns a user's mistake into one or two lines and exit status 2."""

    def invoke(self, ctx: Any) -> Any:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            # As Ctrl-C does, so that what was started is ended, and the line below is said.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        log_to_standard_error()
        try:
            return super().invoke(ctx)
        except UserError as error:
            typer.echo(f"kcap: {error}", err=True)
            raise typer.Exit(error.exit_status) from None
        except _UsageError as error:
            command = error.ctx.command_path if error.ctx else "kcap"
            typer.echo(f"kcap: {error.format_message()}\nSee {command} --help", err=True)
        except BrokenPipeError:
            # Who read the output has seen enough; Python would complain again on its way out.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except OSError as error:
            # A full disk, a directory in place of a file: what is done is in the ledger.
            where = f": {error.filename}" if error.filename else ""
            is_in_the_way = isinstance(error, IsADirectoryError | NotADirectoryError)
            first = "move it away, then " if is_in_the_way else ""
            goes_on = f"{first}the same command goes on from here"
            text = f"kcap: {error.strerror or error}{where}; {goes_on}"
            typer.echo(text, err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            typer.echo("kcap: stopped; the same command goes on from here", err=True)
            raise typer.Exit(130) from None
        raise typer.Exit(2)


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Measures how many bits of knowledge a language model stores per parameter.",
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        from kcap_ray.runs.environment import git_commit, versions

        commit = f" (commit {git_commit()})" if git_commit() else ""
        typer.echo(f"kcap {versions().get('kcap', 'not installed')}{commit}")
        raise typer.Exit


@app.callback()
def _kcap(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    pass


add_verbs(app)
app.command()(placed(bench))
app.command()(placed(data))
app.command()(placed(export))
app.command()(placed(extract))
app.command()(placed(init))
app.command()(placed(measure))
app.command()(placed(plan))
app.command()(placed(quantize))
app.command()(placed(report))
app.command()(placed(rewrite))
app.command()(placed(schema))
app.command()(placed(simulate))
app.command()(placed(status))
app.command()(placed(submit))


@app.command()
@placed
def sweep(
    sweep_file: SweepFile,
    out: Out = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster (`auto` on its head); a local one if not given.")
    ] = None,
    settings: Set = None,
    device: Device = "auto",
    retry_failed: RetryFailed = False,
    save_every_s: SaveEvery = 300.0,
    order: Order = "longest",
    max_hours: MaxHours = None,
    max_cost: MaxCost = None,
    prices: Prices = None,
    pricing: PriceKind = "block",
    log: Trackers = None,
    dry_run: Annotated[bool, typer.Option(help="Only show the plan.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a sweep, or what is left of it: tune, train, measure, write the table and the report."""
    if dry_run:
        return plan(sweep_file, settings=settings, as_json=as_json)
    from kcap_ray.planning.cluster_plan import Limits
    from kcap_ray.planning.sweep import load_sweep
    from kcap_ray.runs.results import RunDirectory
    from kcap_ray.tracking.sync import Tracking

    loaded = load_sweep(sweep_file, overrides(settings))
    directory = RunDirectory(out or Path("runs") / loaded.name)
    then = f"joining the cluster at {address}" if address else "Ray starts, within half a minute"
    announce(loaded.name, loaded.cells, directory, then=then)
    from kcap_ray.engine.driver import Options, run_sweep

    options = Options(
        address=address,
        device=device,
        retry_failed=retry_failed,
        save_every_s=save_every_s,
        order=order,
        limits=Limits(max_hours=max_hours, max_cost=max_cost),
        pricing=pricing,
        prices=prices,
    )
    with Tracking(log or (), loaded.name, loaded.cells, directory):
        reached = run_sweep(loaded, directory, options)
    if reached is not None:
        n_done = len(directory.rows(loaded.cells))
        typer.echo(
            f"kcap: stopped for {reached}: {n_done:,} of {len(loaded.cells):,} cells are done; the "
            "same command goes on from here",
            err=True,
        )
        if n_done == 0:
            return print_json([]) if as_json else None
    return print_summary(loaded.cells, directory, as_json=as_json)


@app.command("run-cell")
@placed
def run_cell_command(
    sweep_file: SweepFile,
    cell: CellGlob = None,
    settings: Set = None,
    out: Out = None,
    retry_failed: RetryFailed = False,
    save_every_s: SaveEvery = 300.0,
    log: Trackers = None,
    as_json: AsJson = False,
) -> None:
    """Run cells one after another in this process, without Ray."""
    from kcap_ray.api.run import run_here
    from kcap_ray.planning.sweep import load_sweep
    from kcap_ray.runs.results import RunDirectory
    from kcap_ray.tracking.sync import Tracking

    loaded = load_sweep(sweep_file, overrides(settings))
    cells = loaded.matching(cell)
    directory = RunDirectory(out or Path("runs") / loaded.name)
    announce(loaded.name, cells, directory, then="one after another, in this process")
    directory.prepare()
    with Tracking(log or (), loaded.name, cells, directory):
        run_here(loaded, cells, directory, retry_failed=retry_failed, save_every_s=save_every_s)
    print_summary(cells, directory, as_json=as_json)


@app.command()
@placed
def doctor(
    address: Annotated[
        str | None, typer.Option(help="Ray cluster (`auto` on its head); a local one if not given.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="DIR|URL", help="Run directory; of the sweep, if not given."),
    ] = None,
    sweep_file: Annotated[
        Path | None, typer.Option("--sweep", metavar="SWEEP", help="Sweep to be run.")
    ] = None,
    settings: Set = None,
    start: Annotated[
        bool,
        typer.Option("--start", help="Start a node of each kind that none is up of: they cost."),
    ] = False,
    prices: Prices = None,
    pricing: PriceKind = "block",
    as_json: AsJson = False,
) -> None:
    """Check the machine or the cluster before a long run, and say how to mend what is wrong."""
    from kcap_ray.cli.doctor import Asked, PriceFile, run_checks
    from kcap_ray.planning.sweep import load_sweep

    loaded = None if sweep_file is None else load_sweep(sweep_file, overrides(settings))
    asked = Asked(
        address=address,
        out=out or ("runs" if loaded is None else f"runs/{loaded.name}"),
        sweep=loaded,
        start=start,
        prices=PriceFile(kind=pricing, path=prices),
    )
    n_problems = 0
    found = []
    for check in run_checks(asked):
        is_ok = check.remedy is None
        n_problems += not is_ok
        found.append({"is_ok": is_ok, **asdict(check)})
        if as_json:
            continue
        typer.echo(f"{'ok' if is_ok else 'problem':8} {check.name}: {check.finding}")
        if check.remedy:
            typer.echo(f"{'':8} -> {check.remedy}")
    if as_json:
        print_json(found)
    if n_problems:
        raise typer.Exit(1)

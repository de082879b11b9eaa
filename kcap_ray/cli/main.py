"""The verbs of `kcap`. What is heavy is imported inside the verb that needs it, so that planning
starts at once.
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from kcap_ray.cli.analysis import add_verbs
from kcap_ray.cli.bench import bench
from kcap_ray.cli.finished import report, status
from kcap_ray.cli.models import export, measure
from kcap_ray.cli.options import (
    AsJson,
    CellGlob,
    Out,
    PlanDevice,
    Prices,
    RetryFailed,
    SaveEvery,
    Set,
    SweepFile,
    Trackers,
    overrides,
)
from kcap_ray.cli.output import conclude, print_json
from kcap_ray.cli.quantize import quantize
from kcap_ray.cli.rewrite import rewrite
from kcap_ray.config.errors import UserError
from kcap_ray.runs.log import log_to_standard_error

# Of the click that this typer was built on, which may be its own copy.
_UsageError: Any = typer.BadParameter.__base__


class _Group(TyperGroup):
    """Turns a user's mistake into one or two lines and exit status 2."""

    def invoke(self, ctx: Any) -> Any:
        log_to_standard_error()
        try:
            return super().invoke(ctx)
        except UserError as error:
            typer.echo(f"kcap: {error}", err=True)
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
            text = f"kcap: {error.strerror or error}{where}; the same command goes on from here"
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
app.command()(bench)
app.command()(export)
app.command()(measure)
app.command()(quantize)
app.command()(report)
app.command()(rewrite)
app.command()(status)


@app.command()
def plan(
    sweep_file: SweepFile,
    settings: Set = None,
    device: PlanDevice = "a100",
    prices: Prices = None,
    as_json: AsJson = False,
) -> None:
    """Show what a sweep would run, and about what it costs."""
    from kcap_ray.planning.plan import plan_cells, render_plan, rows_as_json
    from kcap_ray.planning.sweep import load_sweep

    sweep = load_sweep(sweep_file, overrides(settings))
    rows = plan_cells(sweep, device=device, prices=prices)
    if as_json:
        typer.echo(rows_as_json(rows))
    else:
        typer.echo(render_plan(rows, device=device, n_left_out=sweep.n_left_out, notes=sweep.notes))


@app.command()
def sweep(
    sweep_file: SweepFile,
    out: Out = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster (`auto` on its head); a local one if not given.")
    ] = None,
    settings: Set = None,
    device: Annotated[
        Literal["auto", "cpu", "gpu"], typer.Option(help="What trains a cell.")
    ] = "auto",
    retry_failed: RetryFailed = False,
    save_every_s: SaveEvery = 300.0,
    log: Trackers = None,
    dry_run: Annotated[bool, typer.Option(help="Only show the plan.")] = False,
) -> None:
    """Run a sweep, or what is left of it: tune, train, measure, write the table and the report."""
    if dry_run:
        return plan(sweep_file, settings)
    from kcap_ray.engine.driver import run_sweep
    from kcap_ray.planning.sweep import load_sweep
    from kcap_ray.runs.results import RunDirectory
    from kcap_ray.tracking.sync import Tracking

    loaded = load_sweep(sweep_file, overrides(settings))
    directory = RunDirectory(out or Path("runs") / loaded.name)
    with Tracking(log or (), loaded.name, loaded.cells, directory):
        run_sweep(
            loaded,
            directory,
            address=address,
            device=device,
            retry_failed=retry_failed,
            save_every_s=save_every_s,
        )
    return conclude(loaded.cells, directory)


@app.command("run-cell")
def run_cell_command(
    sweep_file: SweepFile,
    cell: CellGlob = None,
    settings: Set = None,
    out: Out = None,
    retry_failed: RetryFailed = False,
    save_every_s: SaveEvery = 300.0,
    log: Trackers = None,
) -> None:
    """Run cells one after another in this process, without Ray."""
    from kcap_ray.api.run import run_here
    from kcap_ray.planning.sweep import load_sweep
    from kcap_ray.runs.results import RunDirectory
    from kcap_ray.tracking.sync import Tracking

    loaded = load_sweep(sweep_file, overrides(settings))
    cells = loaded.matching(cell)
    directory = RunDirectory(out or Path("runs") / loaded.name)
    directory.prepare()
    with Tracking(log or (), loaded.name, cells, directory):
        run_here(loaded, cells, directory, retry_failed=retry_failed, save_every_s=save_every_s)
    conclude(cells, directory)


@app.command()
def data(
    sweep_file: SweepFile,
    cell: CellGlob = None,
    n: Annotated[int, typer.Option("--n", min=1, help="People.")] = 3,
    exposure: Annotated[int, typer.Option(min=0, help="Exposure whose wording is shown.")] = 0,
    split: Annotated[
        Literal["train", "eval"], typer.Option(help="Wording for training or for measurement.")
    ] = "train",
    junk: Annotated[bool, typer.Option("--junk", help="Of junk people.")] = False,
    part: Annotated[
        int, typer.Option("--part", min=0, help="0: the main table; 1, ...: one of data.parts.")
    ] = 0,
    settings: Set = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="F", help="File; standard output if not given.")
    ] = None,
) -> None:
    """Write biographies as JSON lines: text, GPT-2 tokens, and where the values are."""
    from kcap_ray.planning.sweep import load_sweep
    from kcap_ray.text.kinds.render import biography_records, first_people, source_of
    from kcap_ray.text.stream.corpus import build_corpus

    chosen = load_sweep(sweep_file, overrides(settings)).matching(cell)[0]
    corpus = build_corpus(chosen.data)
    source = source_of(corpus, part=part, is_junk=junk)
    people = first_people(corpus, source, n)
    records = biography_records(source, people, exposure, split, seed=chosen.seed)
    lines = (json.dumps(record) for record in records)
    if out is None:
        for line in lines:
            typer.echo(line)
        return
    try:
        out.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    except OSError as error:
        raise UserError(f"--out {out}: cannot write there ({error.strerror})") from error


@app.command()
def doctor(
    address: Annotated[
        str | None, typer.Option(help="Ray cluster (`auto` on its head); a local one if not given.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Directory that runs will be written to.")
    ] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Check the machine or the cluster before a long run, and say how to mend what is wrong."""
    from kcap_ray.cli.doctor import run_checks

    n_problems = 0
    found = []
    for check in run_checks(address=address, out=out):
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

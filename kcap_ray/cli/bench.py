"""The verb `kcap bench`; cli.py puts it beside the others."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from kcap_ray.cli.bench_claims import (
    BENCHMARKS,
    Benchmark,
    Record,
    find_benchmark,
    machine_of,
    read_benchmarks,
    read_results,
    results_of,
    results_table,
    rounded,
)
from kcap_ray.config.errors import UserError


def bench(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="File or claim, such as P3; without it, the list."),
    ] = None,
    more: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- ARGUMENT...]", help="Arguments of the benchmark's own."),
    ] = None,
    result: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="F", help="File for the results; benchmarks/results if not given."
        ),
    ] = None,
    as_table: Annotated[
        bool, typer.Option("--table", help="The committed results as a Markdown table.")
    ] = False,
) -> None:
    """Run a benchmark, or list them with the last results."""
    benchmarks = read_benchmarks(BENCHMARKS)
    if name is not None and as_table:
        raise UserError("bench --table: is about all benchmarks; leave the name out")
    if name is None and result is not None:
        raise UserError(f"bench --json {result}: name the benchmark, for instance kcap bench P1")
    if as_table:
        typer.echo(results_table(read_results(BENCHMARKS)))
    elif name is None:
        records = read_results(BENCHMARKS)
        typer.echo("\n".join(_lines(one, results_of(one, records)) for one in benchmarks))
    else:
        chosen = find_benchmark(name, benchmarks)
        status = _run(chosen, ["--json", str(result)] if result else [], more or [])
        if status:
            raise typer.Exit(status)


def _lines(benchmark: Benchmark, records: Sequence[Record]) -> str:
    """What the list says of a benchmark."""
    said = {"peer": benchmark.peer, "goal": benchmark.goal, "needs": benchmark.needs}
    lines = [f"{benchmark.claim or '-':10} {benchmark.name}: {benchmark.what}"]
    lines += [f"{'':10} {name + ':':6} {text}" for name, text in said.items() if text]
    by_machine: dict[str, list[Record]] = {}
    for record in records:
        by_machine.setdefault(machine_of(record), []).append(record)
    for machine, own in by_machine.items():
        ratios = ", ".join(f"{record['claim']} {rounded(record['ratio'])}" for record in own)
        lines.append(f"{'':10} {'last:':6} ratio {ratios} ({own[0]['date'][:10]}, {machine})")
    return "\n".join(lines)


def _run(benchmark: Benchmark, options: list[str], more: Sequence[str]) -> int:
    """Run the script in a process of its own, whose output is ours; its exit status."""
    paths = [str(BENCHMARKS.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, str(benchmark.path), *options, *more],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"},
        check=False,
    )
    # A script that a signal has ended has a negative one.
    return done.returncode if done.returncode >= 0 else 1

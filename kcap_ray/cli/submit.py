"""`kcap submit`: a sweep as a job of a Ray cluster."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from kcap_ray.cli.options import (
    Device,
    MaxCost,
    MaxHours,
    Order,
    PriceKind,
    RetryFailed,
    SaveEvery,
    Set,
    SweepFile,
    Trackers,
    overrides,
)
from kcap_ray.config.errors import UserError


def submit(
    sweep_file: SweepFile,
    address: Annotated[
        str, typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="The dashboard of the cluster.")
    ] = "http://127.0.0.1:8265",
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="DIR|URL",
            help="Run directory: a bucket, or a path that all nodes see.",
        ),
    ] = None,
    settings: Set = None,
    device: Device = "auto",
    retry_failed: RetryFailed = False,
    save_every_s: SaveEvery = 300.0,
    order: Order = "longest",
    max_hours: MaxHours = None,
    max_cost: MaxCost = None,
    pricing: PriceKind = "block",
    log: Trackers = None,
    wait: Annotated[
        bool, typer.Option(help="Show the job's log until it ends; exit status 1 if it fails.")
    ] = False,
) -> None:
    """Run a sweep as a job of a Ray cluster, with its data and model files and this kcap."""
    from kcap_ray.planning.shipment import ship
    from kcap_ray.planning.sweep import load_sweep

    given = overrides(settings)
    loaded = load_sweep(sweep_file, given)
    arguments = ["--out", _out(out, loaded.name), "--device", device]
    arguments += ["--save-every", str(save_every_s), "--order", order, "--pricing", pricing]
    arguments += ["--retry-failed"] * retry_failed
    for name, value in {"--max-hours": max_hours, "--max-cost": max_cost}.items():
        arguments += [] if value is None else [name, str(value)]
    for tracker in log or ():
        arguments += ["--log", tracker]
    from kcap_ray.engine.submit import Jobs

    jobs = Jobs(address)
    with tempfile.TemporaryDirectory(prefix="kcap-submit-") as folder:
        shipment = ship(loaded, given, Path(folder))
        job = jobs.submit(loaded.name, shipment, arguments)
    typer.echo(job)
    typer.echo(
        f"kcap: {loaded.name}, {len(loaded.cells):,} cells, {shipment.n_bytes / 2**20:.1f} MiB "
        "sent\n"
        f"log:    ray job logs --follow --address {address} {job}\n"
        f"stop:   ray job stop --address {address} {job}\n"
        f"status: kcap status {arguments[1]}\n"
        "Once it has ended, the same command goes on with what is left.",
        err=True,
    )
    if wait:
        for piece in jobs.follow(job):
            typer.echo(piece, nl=False, err=True)


def _out(out: str | None, name: str) -> str:
    """The run directory as the job is told it, which has a working directory of its own that ends
    with it.
    """
    if out is None or not ("://" in out or Path(out).is_absolute()):
        given = "" if out is None else f" {out}"
        raise UserError(
            f"--out{given}: a job needs a place that outlives it and that all nodes see; write a "
            f"bucket, such as s3://my-bucket/{name}, or the absolute path of a shared directory"
        )
    return out

"""`kcap plan` and `kcap simulate`: what a sweep will take, before anything runs."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from kcap_ray.cli.options import (
    MaxCost,
    MaxHours,
    Order,
    PlanDevice,
    PriceKind,
    Prices,
    SaveEvery,
    Set,
    SweepFile,
    finite,
    overrides,
)
from kcap_ray.cli.output import seeds_of_plan
from kcap_ray.config.errors import UserError

NODE_DEVICES = 8
"""Devices of a node, as in cluster.yaml."""

AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]
NodeDevices = Annotated[int, typer.Option(min=1, help="Devices of a node; billed whole.")]


def plan(
    sweep_file: SweepFile,
    settings: Set = None,
    device: PlanDevice = "a100",
    devices: Annotated[
        int | None, typer.Option(min=1, help="Also how long it takes on so many devices.")
    ] = None,
    prices: Prices = None,
    pricing: PriceKind = "block",
    order: Order = "longest",
    max_hours: MaxHours = None,
    max_cost: MaxCost = None,
    as_json: AsJson = False,
    power: Annotated[
        float | None,
        typer.Option(
            "--power", metavar="X", help="Also the seeds needed to see a difference, such as 0.05."
        ),
    ] = None,
) -> None:
    """Show what a sweep would run, and about what it costs; with --devices how long it takes."""
    from kcap_ray.planning.plan import plan_cells, rows_as_json
    from kcap_ray.planning.sweep import load_sweep

    loaded = load_sweep(sweep_file, overrides(settings))
    rows = plan_cells(loaded, device=device, prices=prices, kind=pricing)
    if devices is None:
        if max_hours is not None or max_cost is not None:
            raise UserError("--max-hours, --max-cost: write --devices too, for instance 64")
        if not as_json:
            typer.echo(_text(loaded, rows, device, power))
        elif power is None:
            typer.echo(rows_as_json(rows))
        else:
            cells = json.loads(rows_as_json(rows))
            typer.echo(json.dumps({"cells": cells, **_seeds(rows, power)}, indent=1))
        return
    found = _on_cluster(
        loaded, device, {"n_devices": devices}, prices, (pricing, order, max_hours, max_cost, 1)
    )
    if as_json:
        totals = {**found["plan"].to_dict(), "price_source": found["source"]}
        cells = json.loads(rows_as_json(rows))
        seeds = _seeds(rows, power)
        typer.echo(json.dumps({"cells": cells, "totals": totals, **seeds}, indent=1))
        return
    typer.echo(_text(loaded, rows, device, power))
    for line in found["lines"]:
        typer.echo(line)


def simulate(
    sweep_file: SweepFile,
    devices: Annotated[
        list[int], typer.Option(min=1, help="Devices of the cluster; several: one line for each.")
    ],
    settings: Set = None,
    device: PlanDevice = "a100",
    spot_loss_per_hour: Annotated[
        float,
        typer.Option(min=0, callback=finite, help="Losses of a node for each hour that it is up."),
    ] = 0.0,
    node_devices: NodeDevices = NODE_DEVICES,
    boot_minutes: Annotated[
        float, typer.Option(min=0, callback=finite, help="Boot of a node.")
    ] = 12.5,
    idle_minutes: Annotated[
        float, typer.Option(min=0, callback=finite, help="Idle time after which a node ends.")
    ] = 35.0,
    save_every_s: SaveEvery = 300.0,
    seed: Annotated[int, typer.Option(help="Of the losses.")] = 0,
    runs: Annotated[
        int, typer.Option(min=1, help="Seeds of losses, of which mean and range are given.")
    ] = 5,
    prices: Prices = None,
    pricing: PriceKind = "block",
    order: Order = "longest",
    max_hours: MaxHours = None,
    max_cost: MaxCost = None,
    as_json: AsJson = False,
) -> None:
    """Replay the queue of `kcap sweep` on a virtual cluster: boot, lost nodes, checkpoints."""
    from kcap_ray.planning.sweep import load_sweep

    loaded = load_sweep(sweep_file, overrides(settings))
    common = {
        "spot_loss_per_hour": spot_loss_per_hour,
        "node_devices": node_devices,
        "boot_s": 60 * boot_minutes,
        "idle_s": 60 * idle_minutes,
        "save_every_s": save_every_s,
        "seed": seed,
    }
    asked = (pricing, order, max_hours, max_cost, runs)
    found = [
        _on_cluster(loaded, device, {**common, "n_devices": n}, prices, asked) for n in devices
    ]
    if as_json:
        plans = [
            {**one["plan"].to_dict(), **one["runs"], "price_source": one["source"]} for one in found
        ]
        head = {"sweep": loaded.name, "device": device, "order": order, "cluster": common}
        typer.echo(json.dumps({**head, "plans": plans}, indent=1))
        return
    for one in found:
        for line in one["lines"]:
            typer.echo(line)


def _seeds(rows: Any, power: float | None) -> dict[str, Any]:
    """What `--power` adds to the JSON."""
    return {} if power is None else {"seeds": [asdict(one) for one in seeds_of_plan(rows, power)]}


def _text(loaded: Any, rows: Any, device: str, power: float | None) -> str:
    from kcap_ray.planning.plan import render_plan

    notes = (*loaded.notes, *(one.text() for one in seeds_of_plan(rows, power)))
    return render_plan(rows, device=device, n_left_out=loaded.n_left_out, notes=notes)


def _on_cluster(
    loaded: Any, device: str, cluster: dict[str, Any], prices: Any, asked: tuple[Any, ...]
) -> dict[str, Any]:
    """The plan on a cluster, as a value and as lines, and where its price is from."""
    from kcap_ray.planning.cluster_plan import Limits, render_cluster_plan
    from kcap_ray.planning.cost import device_of
    from kcap_ray.planning.jobs import jobs_of
    from kcap_ray.planning.loss_runs import plan_with_losses, render_loss_runs
    from kcap_ray.planning.prices import price_of
    from kcap_ray.planning.virtual_cluster import VirtualCluster

    pricing, order, max_hours, max_cost, n_runs = asked
    found = device_of(device)
    price = price_of(found.name, kind=pricing, file=prices)
    if max_cost is not None and price is None:
        raise UserError(
            f"--max-cost: no {pricing} price known for {found.name}; write --prices F, a file with "
            f"a line `{found.name}: dollars per hour`"
        )
    if found.unit == "core":
        # The machine is there already, and stays.
        cluster = {"boot_s": 0.0, "idle_s": 0.0, **cluster}
    per_node = min(cluster.get("node_devices", NODE_DEVICES), cluster["n_devices"])
    virtual = VirtualCluster(**{**cluster, "node_devices": per_node})
    jobs = jobs_of(loaded.cells, loaded.neighbour, found, column=loaded.column, max_width=per_node)
    limits = Limits(max_hours=max_hours, max_cost=max_cost)
    plan, runs = plan_with_losses(jobs, virtual, price, asked=(order, limits), n_runs=n_runs)
    return {
        "plan": plan,
        "runs": {} if runs is None else {"runs": runs.to_dict()},
        "lines": render_cluster_plan(plan, price) + ([render_loss_runs(runs)] if runs else []),
        "source": None if price is None else str(price),
    }

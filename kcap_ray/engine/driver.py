"""A whole sweep on Ray: from its cells to its table."""

import contextlib
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError
from kcap_ray.engine.budget import Budget
from kcap_ray.engine.capacity import (
    ClusterCapacity,
    DeviceCount,
    cluster_capacity,
    devices_now,
    joined_capacity,
    n_concurrent,
    nodes_of,
    planned_device,
    resources_of,
    share_of_device,
)
from kcap_ray.engine.notice import saves_on_notice
from kcap_ray.engine.queue import SweepQueue
from kcap_ray.engine.session import ray_session
from kcap_ray.engine.view import ClusterView
from kcap_ray.execution.start import to_do
from kcap_ray.planning.cluster_plan import Limits
from kcap_ray.planning.outlook import SweepOutlook
from kcap_ray.planning.prices import Price, PriceKind, price_of
from kcap_ray.planning.run_length import spec_of
from kcap_ray.planning.schedule import Order
from kcap_ray.planning.sweep import Sweep
from kcap_ray.runs.interrupt import saves_first
from kcap_ray.runs.log import command_logged_to
from kcap_ray.runs.manifest import clear_failed, only_driver, table_at_end, write_manifest
from kcap_ray.runs.model_files import with_kept_files
from kcap_ray.runs.results import RunDirectory
from kcap_ray.runs.watch import Watch
from kcap_ray.text.stream.corpus import facts_of

Device = Literal["auto", "cpu", "gpu"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a sweep is run; none of it changes a result."""

    address: str | None = None
    """Of a cluster; None: one of our own on this machine."""
    device: Device = "auto"
    retry_failed: bool = False
    save_every_s: float = 300.0
    """Seconds between the checkpoints of a run, which is what a lost machine costs."""
    order: Order = "longest"
    """Which cells come first."""
    limits: Limits = field(default_factory=Limits)
    """When to stop."""
    pricing: PriceKind = "block"
    prices: Path | None = None
    """File of prices of the user's."""


def run_sweep(sweep: Sweep, directory: RunDirectory, options: Options | None = None) -> str | None:
    """Run the sweep, or what is left of it, and write results.parquet; the limit that was reached,
    in words, or None.

    Raises `UserError` if the directory cannot be written, another kcap is at work in it, there is
    no cluster at `address`, or the cluster is too small for a cell.
    """
    options = options or Options()
    for cell in sweep.cells:
        # Raises `UserError` where data or model cannot be made; better now than in a worker.
        facts_of(cell.data)
        spec_of(cell)
    # Workers have another working directory, so they get an absolute path.
    directory = RunDirectory(directory.path.resolve())
    directory.prepare()
    reached = None
    with only_driver(directory.path), command_logged_to(directory.path):
        sweep = replace(sweep, cells=with_kept_files(sweep.cells, directory))
        write_manifest(
            directory,
            name=sweep.name,
            question=sweep.question,
            sweep_file=sweep.path,
            cells=sweep.cells,
        )
        clear_failed(sweep.cells, directory, mistakes=options.retry_failed)
        with table_at_end(directory):
            todo = to_do(sweep.cells, sweep.neighbour, directory)
            if todo:
                reached = _run(sweep, todo, directory, options)
    return reached


def _run(sweep: Sweep, todo: list[Cell], directory: RunDirectory, options: Options) -> str | None:
    address, save_every_s = options.address, options.save_every_s
    outlook = SweepOutlook(sweep.cells, kind=options.pricing, prices=options.prices)
    sizes = sorted({cell.train.min_workers for cell in todo})
    # Ray and the parts that import it are loaded only when there is something to run on them.
    with (
        ray_session(address, with_dashboard=sizes[-1] > 1) as logs,
        Watch(sweep.cells, directory, outlook),
        saves_first(todo, directory),
        # A session of our own has this machine alone.
        saves_on_notice(directory) if address else contextlib.nullcontext(),
    ):
        from kcap_ray.engine.programs import run_program
        from kcap_ray.engine.shared import check_nodes
        from kcap_ray.engine.tune import run_queue

        if address:
            found = joined_capacity(needs_gpu=options.device == "gpu")
            check_nodes(directory)
        else:
            found = cluster_capacity()
        use_gpu = options.device == "gpu" or (options.device == "auto" and found.gpus > 0)
        # All of them before the first one starts.
        for workers in sizes:
            n_concurrent(workers, found, use_gpu=use_gpu)
        budget = Budget(
            options.limits,
            price=_price(options, found, use_gpu=use_gpu),
            n_devices=partial(devices_now, use_gpu=use_gpu),
            nodes=nodes_of(found, use_gpu=use_gpu),
        )
        view = ClusterView(
            device=planned_device(found, use_gpu=use_gpu),
            n_devices=DeviceCount(use_gpu=use_gpu),
            max_width=found.of_node(use_gpu=use_gpu) if address else 1,
            share=partial(share_of_device, use_gpu=use_gpu),
            left_s=budget.left_s,
            room=budget.room,
            nodes=nodes_of(found, use_gpu=use_gpu),
        )
        queue = SweepQueue(
            todo,
            sweep.neighbour,
            directory,
            sweep=sweep.name,
            view=view,
            order=(options.order, sweep.column),
        )
        with budget:
            run_queue(
                queue,
                directory,
                partial(run_program, use_gpu=use_gpu, save_every_s=save_every_s),
                resources=partial(resources_of, use_gpu=use_gpu),
                logs=logs,
            )
    return budget.reached if budget.reached or not queue.has_dropped else budget.named


def _price(options: Options, found: ClusterCapacity, *, use_gpu: bool) -> Price | None:
    """Of a device-hour; `UserError` where a cost is to be kept and no price is known."""
    if options.limits.max_cost is None:
        return None
    name = found.accelerator if use_gpu else "cpu"
    price = price_of(name, kind=options.pricing, file=options.prices)
    if price is None:
        raise UserError(
            f"--max-cost: no {options.pricing} price known for {name}; write --prices F, a file "
            f"with a line `{name}: dollars per hour`"
        )
    return price

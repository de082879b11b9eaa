"""A whole sweep on Ray: from its cells to its table."""

from dataclasses import replace
from functools import partial
from typing import Literal

from kcap_ray.config.cell import Cell
from kcap_ray.engine.capacity import cluster_capacity, n_concurrent, share_of_device
from kcap_ray.engine.queue import SweepQueue
from kcap_ray.engine.session import ray_session
from kcap_ray.execution.start import to_do
from kcap_ray.planning.run_length import spec_of
from kcap_ray.planning.sweep import Sweep
from kcap_ray.runs.interrupt import saves_first
from kcap_ray.runs.log import command_logged_to
from kcap_ray.runs.manifest import clear_failed, only_driver, read_cells, write_manifest
from kcap_ray.runs.model_files import with_kept_files
from kcap_ray.runs.progress import Watch
from kcap_ray.runs.results import RunDirectory
from kcap_ray.text.stream.corpus import facts_of

Device = Literal["auto", "cpu", "gpu"]

LAUNCHER = {"node:__internal_head__": 0.001}
"""What the trial of a data-parallel cell takes: a place on the head, which is no spot machine.

It only starts Ray Train, whose workers hold the devices; a CPU of its own could be the one they
wait for. Every head has this resource; a trial must ask for something.
"""


def run_sweep(
    sweep: Sweep,
    directory: RunDirectory,
    *,
    address: str | None = None,
    device: Device = "auto",
    retry_failed: bool = False,
    save_every_s: float = 300.0,
) -> None:
    """Run the sweep, or what is left of it, and write results.parquet.

    `save_every_s`: seconds between the checkpoints of a run, which is what a lost machine costs.
    Raises `UserError` if the directory cannot be written, another kcap is at work in it, there is
    no cluster at `address`, or the cluster is too small for a cell.
    """
    for cell in sweep.cells:
        # Raises `UserError` where data or model cannot be made; better now than in a worker.
        facts_of(cell.data)
        spec_of(cell)
    # Workers have another working directory, so they get an absolute path.
    directory = RunDirectory(directory.path.resolve())
    directory.prepare()
    with only_driver(directory.path), command_logged_to(directory.path):
        sweep = replace(sweep, cells=with_kept_files(sweep.cells, directory))
        write_manifest(
            directory,
            name=sweep.name,
            question=sweep.question,
            sweep_file=sweep.path,
            cells=sweep.cells,
        )
        clear_failed(sweep.cells, directory, mistakes=retry_failed)
        todo = to_do(sweep.cells, sweep.neighbour, directory)
        if todo:
            _run(
                sweep,
                todo,
                directory,
                address=address,
                device=device,
                save_every_s=save_every_s,
            )
        directory.collect(read_cells(directory.path))


def _run(
    sweep: Sweep,
    todo: list[Cell],
    directory: RunDirectory,
    *,
    address: str | None,
    device: Device,
    save_every_s: float,
) -> None:
    sizes = sorted({cell.train.workers for cell in todo})
    # Ray and the parts that import it are loaded only when there is something to run on them.
    with (
        ray_session(address, with_dashboard=sizes[-1] > 1) as logs,
        Watch(sweep.cells, directory),
        saves_first(todo, directory),
    ):
        from kcap_ray.engine.programs import run_data_parallel, run_on_one_device
        from kcap_ray.engine.tune import run_queue

        found = cluster_capacity()
        use_gpu = device == "gpu" or (device == "auto" and found.gpus > 0)
        # All of them before the first one starts.
        rooms = {workers: n_concurrent(workers, found, use_gpu=use_gpu) for workers in sizes}
        for workers in sizes:
            cells = [cell for cell in todo if cell.train.workers == workers]
            queue = SweepQueue(cells, sweep.neighbour, directory, sweep=sweep.name)
            if workers == 1:
                run = partial(run_on_one_device, use_gpu=use_gpu, save_every_s=save_every_s)
                resources = partial(share_of_device, use_gpu=use_gpu)
                least = min(resources(cell).get("GPU", 1.0) for cell in cells)
                run_queue(
                    queue,
                    directory,
                    run,
                    resources=resources,
                    # A program that is asked for later knows of more results. Others may join a
                    # cluster meanwhile.
                    max_concurrent=None if address else round(rooms[workers] / least),
                    logs=logs,
                )
            else:
                run = partial(run_data_parallel, use_gpu=use_gpu, save_every_s=save_every_s)
                run_queue(
                    queue,
                    directory,
                    run,
                    resources=lambda _: LAUNCHER,
                    max_concurrent=rooms[workers],
                    logs=logs,
                )

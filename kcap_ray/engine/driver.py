"""A whole sweep on Ray: from its cells to its table."""

from typing import Literal

from kcap_ray.cell import Cell, UserError
from kcap_ray.engine.queue import SweepQueue
from kcap_ray.engine.session import ray_session
from kcap_ray.engine.watch import Watch
from kcap_ray.header import forget_failed, only_driver, write_header
from kcap_ray.results import RunDirectory
from kcap_ray.sweep import Sweep

Device = Literal["auto", "cpu", "gpu"]


def run_sweep(
    sweep: Sweep,
    directory: RunDirectory,
    *,
    address: str | None = None,
    device: Device = "auto",
    retry_failed: bool = False,
) -> None:
    """Run the sweep, or what is left of it, and write results.parquet.

    Raises `UserError` if the directory cannot be written or another kcap is at work in it, `ConnectionError` if there is no
    cluster at `address`.
    """
    directory.prepare()
    with only_driver(directory.path):
        write_header(sweep, directory)
        if retry_failed:
            forget_failed(sweep.cells, directory)
        todo = [cell for cell in sweep.cells if not directory.cell(cell.cell_id).result()]
        if todo:
            _run(sweep, todo, directory, address=address, device=device)
        directory.collect(sweep.cells)


def _run(
    sweep: Sweep,
    todo: list[Cell],
    directory: RunDirectory,
    *,
    address: str | None,
    device: Device,
) -> None:
    is_parallel = any(cell.train.workers > 1 for cell in todo)
    # Ray and the parts that import it are loaded only when there is something to run on them.
    with ray_session(address, with_dashboard=is_parallel):
        from kcap_ray.engine.programs import run_data_parallel, run_on_one_device
        from kcap_ray.engine.tune import run_queue

        use_gpu = _uses_gpu(device, is_own_cluster=address is None)
        for workers in sorted({cell.train.workers for cell in todo}):
            cells = [cell for cell in todo if cell.train.workers == workers]
            queue = SweepQueue(cells, sweep.neighbour, directory, sweep=sweep.name)
            with Watch(sweep.cells, directory):
                if workers == 1:
                    resources = {"CPU": 1.0, "GPU": 1.0} if use_gpu else {"CPU": 1.0}
                    run_queue(queue, directory, run_on_one_device, resources=resources)
                else:
                    room = _check_room(workers, use_gpu=use_gpu, is_own_cluster=address is None)
                    # The trial only starts Ray Train, whose workers hold the devices.
                    run_queue(
                        queue,
                        directory,
                        run_data_parallel,
                        resources={"CPU": 0.0},
                        max_concurrent=room,
                    )


def _uses_gpu(device: Device, *, is_own_cluster: bool) -> bool:
    import ray

    found = ray.cluster_resources()
    if device != "auto":
        return device == "gpu"
    # A cluster whose only node, the head, offers no CPU starts its GPU nodes when they are asked for.
    waits_for_nodes = not is_own_cluster and not found.get("CPU")
    return bool(found.get("GPU")) or waits_for_nodes


def _check_room(workers: int, *, use_gpu: bool, is_own_cluster: bool) -> int:
    """Runs of that many workers that fit side by side; Ray would wait for ever where none fits."""
    import ray

    kind = "GPU" if use_gpu else "CPU"
    n_devices = int(ray.cluster_resources().get(kind, 0))
    if is_own_cluster and n_devices < workers:
        raise UserError(
            f"train.workers: {workers} workers need {workers} {kind}s, this machine has {n_devices}; "
            f"write train.workers: {max(1, n_devices)} or give --address of a cluster"
        )
    return max(1, n_devices // workers)

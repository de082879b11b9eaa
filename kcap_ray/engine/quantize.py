"""Finished cells quantized on Ray: a task for each packed checkpoint.

What a worker needs is imported in it: the driver needs no torch.
"""

import traceback
from collections.abc import Callable, Sequence
from typing import Literal

from kcap_ray.config.errors import one_line
from kcap_ray.engine.capacity import cluster_capacity, n_concurrent
from kcap_ray.engine.failures import MAX_FAILURES
from kcap_ray.engine.session import ray_session
from kcap_ray.quantize.cell import QuantizeJob, fail_job, run_job
from kcap_ray.runs.files import refresh, write_atomically
from kcap_ray.runs.log import logged_to
from kcap_ray.runs.opening import RunPlace
from kcap_ray.runs.record import ResultRow
from kcap_ray.runs.results import RunDirectory

GPU_SHARE = 0.25
"""Of a GPU that one job takes: the models are small, and a job is at work on the CPU for a part of
its time.
"""


def quantize_on_ray(
    jobs: Sequence[QuantizeJob],
    run: RunDirectory,
    *,
    address: str | None = None,
    device: Literal["auto", "cpu", "gpu"] = "auto",
    on_done: Callable[[QuantizeJob, ResultRow], None] = lambda job, row: None,
) -> None:
    """Do all jobs, in any order; one that fails is a row with its reason, and the others go on.

    `on_done` gets each one. Raises `UserError` if there is no cluster at `address`, or no device
    of that kind in it.
    """
    # Workers have another working directory, so they get an absolute path.
    run = RunDirectory(run.path.resolve())
    with ray_session(address):
        import ray
        from ray.exceptions import RayError

        found = cluster_capacity()
        use_gpu = device == "gpu" or (device == "auto" and found.gpus > 0)
        n_concurrent(1, found, use_gpu=use_gpu)
        # A worker that dies takes nothing along: the job starts again from the cell's checkpoint.
        task = ray.remote(
            num_cpus=1, num_gpus=GPU_SHARE if use_gpu else 0, max_retries=MAX_FAILURES
        )(_run)
        place = RunPlace.of(run)
        jobs_of = {task.remote(job, place, use_gpu): job for job in jobs}
        waiting = list(jobs_of)
        while waiting:
            (done,), waiting = ray.wait(waiting)
            job = jobs_of[done]
            try:
                row = ray.get(done)
                refresh(run.cell(job.cell_id).path)
            except RayError as error:
                row = fail_job(job, run, reason=f"its worker was lost ({one_line(error)})")
            on_done(job, row)


def _run(job: QuantizeJob, place: RunPlace, use_gpu: bool) -> ResultRow:
    with place.opened(f"cells/{job.cell_id}") as run:
        return _run_in(job, run, use_gpu)


def _run_in(job: QuantizeJob, run: RunDirectory, use_gpu: bool) -> ResultRow:
    import torch

    try:
        with logged_to(run.path):
            return run_job(job, run, device=torch.device("cuda" if use_gpu else "cpu"))
    except Exception as error:
        place = job.directory(run)
        write_atomically(place.error_file, "".join(traceback.format_exception(error)))
        where = place.error_file.relative_to(run.path)
        return fail_job(job, run, reason=f"{one_line(error)} (see {where})")

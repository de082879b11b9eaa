"""How a program runs inside a Ray worker: on one device, or data-parallel on several."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from kcap_ray.budget import length_of
from kcap_ray.cell import Cell
from kcap_ray.engine.queue import Program
from kcap_ray.engine.stream import ray_batches
from kcap_ray.results import CellDirectory, RunDirectory, write_atomically
from kcap_ray.training.loop import Progress
from kcap_ray.training.point import Point
from kcap_ray.trial import run_trials

REPORT_EVERY_S = 2.0
"""Seconds between two notes of progress, which the live table shows."""

MAX_LOST_WORKERS = 100
"""Times that a data-parallel run may lose a worker; it goes on from its checkpoint."""


def run_on_one_device(program: Program, directory: RunDirectory) -> None:
    """Train the program's trials in this worker, on its GPU if it was given one."""
    cell, cell_directory = program.cell, directory.cell(program.cell.cell_id)
    run_trials(
        cell,
        program.points,
        first_trial=program.first_trial,
        directory=cell_directory,
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        open_batches=ray_batches(cell, rank=0, n_steps=length_of(cell).steps),
        on_progress=_reporter(cell_directory, length_of(cell).steps),
    )


def run_data_parallel(program: Program, directory: RunDirectory) -> None:
    """Train the program's trials by DDP on `train.workers` workers of Ray Train."""
    import ray.train
    from ray.train.torch import TorchTrainer

    cell = program.cell
    points = [(point.lr, point.weight_decay) for point in program.points]
    trainer = TorchTrainer(
        _worker,
        train_loop_config={
            "cell": cell.to_dict(),
            "points": points,
            "first_trial": program.first_trial,
            "directory": str(directory.cell(cell.cell_id).path.resolve()),
        },
        scaling_config=ray.train.ScalingConfig(
            num_workers=cell.train.workers, use_gpu=bool(ray.cluster_resources().get("GPU"))
        ),
        run_config=ray.train.RunConfig(
            name=f"{cell.cell_id}-trial{program.first_trial}",
            storage_path=str((directory.path / "ray").resolve()),
            failure_config=ray.train.FailureConfig(max_failures=MAX_LOST_WORKERS),
        ),
    )
    trainer.fit()


def _worker(config: dict[str, Any]) -> None:
    import ray.train
    from ray.train.torch import get_device

    cell = Cell.from_dict(config["cell"])
    directory = CellDirectory(Path(config["directory"]))
    rank = ray.train.get_context().get_world_rank()
    run_trials(
        cell,
        [Point(lr=lr, weight_decay=decay) for lr, decay in config["points"]],
        first_trial=config["first_trial"],
        directory=directory,
        device=get_device(),
        open_batches=ray_batches(cell, rank=rank, n_steps=length_of(cell).steps),
        on_progress=_reporter(directory, length_of(cell).steps) if rank == 0 else None,
    )


def _reporter(directory: CellDirectory, n_steps: int) -> Callable[[Progress], None]:
    last = 0.0

    def report(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < REPORT_EVERY_S:
            return
        last = now
        note = {"step": progress.step, "n_steps": n_steps, "losses": list(progress.losses)}
        write_atomically(directory.progress_file, json.dumps(note))

    return report

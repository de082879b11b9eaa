"""How a program runs inside a Ray worker: on one device, or data-parallel on several.

What a worker needs is imported in it: the driver, which names these functions, needs no torch.
"""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError, one_line
from kcap_ray.engine.capacity import n_sharing
from kcap_ray.engine.failures import end_of_node, is_dead_process, is_lost_machine
from kcap_ray.engine.nodes import BEFORE_S, NODE_DEATH_S, RayNodes, comes_true
from kcap_ray.engine.program import Program
from kcap_ray.engine.storage import storage_of
from kcap_ray.planning.run_length import length_of
from kcap_ray.planning.virtual_cluster import resize_every_s
from kcap_ray.runs.log import logged_to
from kcap_ray.runs.opening import RunPlace
from kcap_ray.runs.results import CellDirectory, RunDirectory
from kcap_ray.training.point import Point

if TYPE_CHECKING:
    from kcap_ray.execution.cell_run import CellRun

_LONGEST_OF_PEER = 60


def run_program(
    program: Program, directory: RunDirectory, *, use_gpu: bool, save_every_s: float
) -> None:
    """Train the program's trials, on one device or on several."""
    run = run_on_one_device if program.workers == 1 else run_data_parallel
    run(program, directory, use_gpu=use_gpu, save_every_s=save_every_s)


def run_on_one_device(
    program: Program, directory: RunDirectory, *, use_gpu: bool, save_every_s: float
) -> None:
    """Train the program's trials in this worker, on its GPU if it was given one."""
    import torch

    from kcap_ray.engine.stream import ray_batches
    from kcap_ray.execution.cell_run import CellRun
    from kcap_ray.execution.trial_batch import run_trial_batch

    cell = program.trained_cell
    run = CellRun(
        cell=cell,
        directory=program.place(directory),
        device=torch.device("cuda" if use_gpu else "cpu"),
        n_sharing=n_sharing(program.cell, use_gpu=use_gpu),
        save_every_s=save_every_s,
        open_batches=ray_batches(cell, n_steps=length_of(cell).steps),
    )
    with logged_to(directory.path):
        run_trial_batch(run, program.points, first_trial=program.first_in_place)


def run_data_parallel(
    program: Program, directory: RunDirectory, *, use_gpu: bool, save_every_s: float
) -> None:
    """Train the program's trials by DDP on Ray Train: on its number of workers, or on as many
    as there are devices for.

    Raises `UserError` if that is what a worker raised, else `WorkersFailedError`. A machine that
    was taken away with notice is done without, and one that comes is taken in, without an error.
    """
    import ray.train
    from ray.train.torch import TorchTrainer

    cell = program.trained_cell
    # Train counts machines some seconds after they come and go, so it may wait for one in vain.
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "20")
    place = RunPlace.of(RunDirectory(directory.path.resolve()))
    trainer = TorchTrainer(
        _worker,
        train_loop_config={
            "cell": cell.with_absolute_paths().to_dict(),
            "points": [(point.lr, point.weight_decay) for point in program.points],
            "first_trial": program.first_in_place,
            "workers": program.workers,
            "run": place,
            "directory": _name_in(program, directory),
            "use_gpu": use_gpu,
            "save_every_s": save_every_s,
        },
        scaling_config=ray.train.ScalingConfig(
            num_workers=(1, program.workers),
            elastic_resize_monitor_interval_s=resize_every_s(save_every_s),
            use_gpu=use_gpu,
        ),
        run_config=ray.train.RunConfig(
            name=f"{cell.cell_id}-trial{program.first_trial}",
            storage_path=str(storage_of(directory)),
            # Whether and when to start again is decided in one place, for all kinds of programs.
            failure_config=ray.train.FailureConfig(max_failures=0),
        ),
    )
    try:
        trainer.fit()
    except ray.train.WorkerGroupError as error:
        raise _cause(error.worker_failures, _lost_a_node) from error


class WorkersFailedError(RuntimeError):
    """Data-parallel workers raised errors or died."""


def _lost_a_node() -> bool:
    """Whether a node is gone just now, or turns out to be while we wait for Ray to notice."""
    now, nodes = time.time(), RayNodes()
    return comes_true(lambda: nodes.lost_since(now - BEFORE_S), until=now + NODE_DEATH_S)


def _cause(failures: Mapping[int, Exception], lost_node: Callable[[], bool]) -> Exception:
    """What went wrong, from the errors of all ranks: those that outlive a dead rank fail too, for
    want of a peer. `lost_node` tells whether a node is gone, where Ray has not said so yet.
    """
    from ray.exceptions import RayActorError

    own = {rank: _unwrapped(error) for rank, error in failures.items()}
    for error in own.values():
        if isinstance(error, UserError):
            return error
    ranks = sorted(own, key=lambda rank: (not isinstance(own[rank], RayActorError), rank))
    first = own[ranks[0]]
    text = one_line(first)
    if isinstance(first, RayActorError):
        # Ray's last lines say whether the process died or its machine, unless neither is known yet.
        text = " ".join(str(first).split())
        if is_lost_machine(text):
            return WorkersFailedError(f"rank {ranks[0]}: its node has died ({end_of_node(text)})")
        if is_dead_process(text):
            return WorkersFailedError(f"rank {ranks[0]}: {str(first).strip().splitlines()[-1]}")
    if lost_node():
        # What a peer says of a lost one is long, and says nothing more.
        text = f"its node has died, or a peer's: {text[:_LONGEST_OF_PEER]}"
    return WorkersFailedError(f"rank {ranks[0]}: {text}")


def _unwrapped(error: Exception) -> Exception:
    # Ray Train wraps what a worker raised, and the death of one that did not answer.
    for name in ("_base_exc", "health_check_failure"):
        error = getattr(error, name, error)
    return error


def _worker(config: dict[str, Any]) -> None:
    import ray.train

    from kcap_ray.execution.trial_batch import run_trial_batch

    context = ray.train.get_context()
    with config["run"].opened(config["directory"]) as directory:
        cell = config["run"].moved_here(Cell.from_dict(config["cell"]), directory)
        run = _rank_run(cell, directory.path / config["directory"], config, context)
        points = [Point(lr=lr, weight_decay=decay) for lr, decay in config["points"]]
        with logged_to(directory.path):
            run_trial_batch(run, points, first_trial=config["first_trial"])


def _rank_run(cell: Cell, place: Path, config: dict[str, Any], context: Any) -> "CellRun":
    """What one of the workers runs, in `place`."""
    import torch
    from ray.train.torch import get_device

    from kcap_ray.engine.stream import ray_batches
    from kcap_ray.execution.cell_run import CellRun

    return CellRun(
        cell=cell,
        directory=CellDirectory(place),
        device=get_device() if config["use_gpu"] else torch.device("cpu"),
        n_sharing=n_sharing(cell, use_gpu=config["use_gpu"], workers=config["workers"]),
        save_every_s=config["save_every_s"],
        open_batches=ray_batches(
            cell,
            rank=context.get_world_rank(),
            workers=context.get_world_size(),
            n_steps=length_of(cell).steps,
        ),
    )


def _name_in(program: Program, directory: RunDirectory) -> str:
    """The program's place in the run directory, wherever that is."""
    return program.place(directory).path.relative_to(directory.path).as_posix()

"""P8: two workers of DDP on Ray Train, beside one worker on Ray Train with the same global batch.

Each worker has one thread, or one GPU, and gets its windows through Ray Data as the engine streams
them. The sides take turns, each time in a new group of workers, which trains one cell after
another; medians over rounds. Rates leave out the first steps of a run, and so the start of workers
and of data. On a CPU the cells have windows of 128 tokens of the laptop sweep's data, float32: a
tiny one whose step is about as long as a message between processes, and one with enough to do for
two. On two GPUs it is GPT2-12-12 on batches of 192 windows of 512 tokens of bioS with 50,000
people, bf16. The loss curves of both sides are compared.

Peer: one worker, same global batch; linear is twice its rate
Goal: the same losses; GPUs: at least 0.9 of linear
Needs: two CPU cores, or two GPUs

    python benchmarks/data_parallel.py
"""

import os
import statistics
import tempfile
from typing import Any

import numpy as np
import torch
from cells import cpu_cell, gpu_cell
from record import arguments, claim, write

from kcap_ray.config.cell import Cell
from kcap_ray.engine.session import ray_session

N_WORKERS = 2
GPU_GOAL = 0.9 * N_WORKERS
TOLERANCES = {"fp32": 1e-4, "bf16": 0.03}
"""Largest relative difference of losses: sums in another order in float32, roundings of bf16."""

Run = dict[str, list[float]]
"""A run's loss curve: columns step, tokens, seconds and loss."""


def cells_and_steps(*, on_gpu: bool, is_dry_run: bool) -> list[tuple[Cell, int]]:
    """What is trained, and for how many steps."""
    if on_gpu:
        cell = gpu_cell("gpt2-12-12", batch_windows=192, is_tiny=is_dry_run)
        return [(cell, 20 if is_dry_run else 100)]
    tiny = cpu_cell("gpt2-2-2", batch_windows=8)
    larger = cpu_cell("gpt2-4-8", batch_windows=16)
    return [(tiny, 40), (larger, 5)] if is_dry_run else [(tiny, 1000), (larger, 40)]


def _train_all(config: dict[str, Any]) -> list[Run]:
    """In a worker of Ray Train: trains every cell, and returns the loss curves."""
    import ray.train
    import torch
    from ray.train.torch import get_device

    from kcap_ray.config.cell import Cell
    from kcap_ray.engine.stream import ray_batches
    from kcap_ray.planning.run_length import spec_of
    from kcap_ray.training.loop import train
    from kcap_ray.training.point import Point
    from kcap_ray.training.step import TrainStep

    torch.set_num_threads(1)
    context = ray.train.get_context()
    runs = []
    for values, n_steps in config["cells"]:
        cell = Cell.from_dict(values)
        batches = ray_batches(
            cell,
            rank=context.get_world_rank(),
            workers=context.get_world_size(),
            n_steps=n_steps,
        )
        point = Point(lr=cell.train.lr, weight_decay=cell.train.weight_decay)
        result = train(
            TrainStep(cell, spec_of(cell), [point], n_steps=n_steps, device=get_device()), batches
        )
        runs.append(
            {
                "step": [point.step for point in result.history],
                "tokens": [point.tokens for point in result.history],
                "seconds": [point.seconds for point in result.history],
                "loss": [point.losses[0] for point in result.history],
            }
        )
    return runs


def runs_of(todo: list[tuple[Cell, int]], workers: int, *, on_gpu: bool) -> list[Run]:
    """The loss curves of all cells, trained by a new group of so many workers."""
    import ray.train
    from ray.train.torch import TorchTrainer

    with tempfile.TemporaryDirectory() as storage:
        result = TorchTrainer(
            _train_all,
            train_loop_config={"cells": [(cell.to_dict(), n_steps) for cell, n_steps in todo]},
            scaling_config=ray.train.ScalingConfig(num_workers=workers, use_gpu=on_gpu),
            run_config=ray.train.RunConfig(storage_path=storage),
        ).fit()
    assert result.return_value is not None, "every worker returns its runs"
    return result.return_value


def tokens_per_s(run: Run) -> float:
    """Rate after the first fifth of the run."""
    start = len(run["step"]) // 5
    n_tokens = run["tokens"][-1] - run["tokens"][start]
    return n_tokens / (run["seconds"][-1] - run["seconds"][start])


def claim_of(
    cell: Cell, n_steps: int, runs: dict[int, list[Run]], *, on_gpu: bool
) -> dict[str, Any]:
    """Both sides of one cell; `runs` has those of every round, by number of workers.

    Raises `AssertionError` where the losses are not the same.
    """
    rates = {workers: [tokens_per_s(run) for run in found] for workers, found in runs.items()}
    ours, peer = (statistics.median(rates[workers]) for workers in (N_WORKERS, 1))
    (curve,) = (np.array(found[0]["loss"]) for workers, found in runs.items() if workers == 1)
    others = np.array([run["loss"] for found in runs.values() for run in found])
    difference = float(np.abs(others / curve - 1).max())
    train = cell.train
    assert difference <= TOLERANCES[train.precision], f"losses differ by {difference:.2g}"
    return claim(
        "P8",
        ours=ours,
        peer=peer,
        unit="tokens/s",
        **({"goal": GPU_GOAL, "goal_for": "ratio"} if on_gpu else {}),
        what=f"{cell.model.name}, heads {cell.model.head_dim} wide, batches of "
        f"{train.batch_windows} windows of {train.window_tokens} tokens, {train.precision}",
        peer_is="one worker of Ray Train",
        efficiency=ours / peer / N_WORKERS,
        largest_loss_difference=difference,
        workers=N_WORKERS,
        steps=n_steps,
        rates={str(workers): found for workers, found in rates.items()},
    )


def main() -> None:
    """Measure in one session of Ray, print."""
    parser = arguments(__file__, __doc__, has_dry_run=True)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    on_gpu = torch.cuda.device_count() >= N_WORKERS
    if not on_gpu and (os.cpu_count() or 1) < N_WORKERS:
        parser.error(f"{N_WORKERS} workers need {N_WORKERS} cores, or GPUs")
    todo = cells_and_steps(on_gpu=on_gpu, is_dry_run=chosen.dry_run)
    runs: dict[int, list[list[Run]]] = {1: [], N_WORKERS: []}
    with ray_session(None):
        for _ in range(1 if chosen.dry_run else chosen.rounds):
            for workers, rounds in runs.items():
                rounds.append(runs_of(todo, workers, on_gpu=on_gpu))
    found = [
        claim_of(
            cell,
            n_steps,
            {workers: [round_[index] for round_ in rounds] for workers, rounds in runs.items()},
            on_gpu=on_gpu,
        )
        for index, (cell, n_steps) in enumerate(todo)
    ]
    write(__file__, found, chosen.json, on_gpu=on_gpu, is_dry_run=chosen.dry_run)


if __name__ == "__main__":
    main()

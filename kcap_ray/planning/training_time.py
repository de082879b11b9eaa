"""How long the programs of a cell train: predicted for a device, on one or several of them."""

import math
from collections import Counter

from kcap_ray.config.cell import Cell
from kcap_ray.models.own_spec import AnySpec
from kcap_ray.planning.cost import Device
from kcap_ray.planning.run_length import (
    length_of,
    programs_of,
    trial_batch_size,
    trials_at_once,
)

DATA_PARALLEL_START_S = 30.0
"""Seconds that starting data-parallel workers takes on top of a program's own start: 27 s of Ray
Train on two cores, rounded up. A guess for a cluster of GPUs.
"""

EXCHANGE_BYTES_PER_S = 1e11
"""Bytes that each worker sends a second while gradients are summed, within a node. Not measured
here: about half of what NVIDIA reports for NCCL on eight A100s; none of it is taken to overlap with
the backward pass.
"""

_FLOAT = 4  # bytes of a gradient


def training_s(cell: Cell, spec: AnySpec, device: Device) -> float:
    """Seconds that all trials of the cell train, one program after another, on `train.workers`
    devices at a time; on one where the schedule is to choose (`auto`). Those beyond the edges, of
    which there may be fewer, and those of fresh seeds are programs of their own.
    """
    rounds = trial_batch_size(cell, spec), trials_at_once(cell, spec)
    programs = Counter(n for _, n in programs_of(cell.tune.trials, *rounds))
    programs[1] += cell.tune.n_runs - cell.tune.trials
    workers = cell.train.min_workers
    return sum(
        n_programs * program_s(cell, spec, device, n_trials, workers=workers)
        for n_trials, n_programs in programs.items()
    )


def program_s(
    cell: Cell, spec: AnySpec, device: Device, n_trials: int, *, workers: int = 1
) -> float:
    """Seconds of trials that the study asks for at once, as one program."""
    step_s = _steps_s(cell, spec, device, n_trials, workers)
    if device.unit == "core" and device.compiled_ratio is not None and cell.train.compile == "on":
        step_s *= device.compiled_ratio
    return device.start_s + step_s * length_of(cell).steps


def start_of_workers_s(workers: int) -> float:
    """Seconds before data-parallel workers train; none for a program on one device."""
    return DATA_PARALLEL_START_S if workers > 1 else 0.0


def exchange_s(cell: Cell, spec: AnySpec, n_trials: int, workers: int) -> float:
    """Seconds that workers sum gradients in all steps: in each of them every worker sends 2 (w - 1)
    / w times the gradient's bytes (ring all-reduce, Patarasuk and Yuan 2009).
    """
    n_bytes = 2 * (workers - 1) / workers * _FLOAT * spec.n_params * n_trials
    return length_of(cell).steps * n_bytes / EXCHANGE_BYTES_PER_S


def _steps_s(cell: Cell, spec: AnySpec, device: Device, n_trials: int, workers: int) -> float:
    """Seconds for one step of so many trials in one program."""
    train = cell.train
    windows = math.ceil(train.batch_windows / workers)
    return device.step_s(
        spec,
        tokens=windows * train.window_tokens,
        window_tokens=train.window_tokens,
        n_trials=n_trials,
        optimizer=train.optimizer,
        n_parts=math.ceil(windows / (train.micro_windows or windows)),
    )

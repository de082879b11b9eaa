"""What two choices in a step on a CPU core are worth: kept memory, and an axis for a single trial.

Eight fused trials and one alone, with memory that is freed staying with the process and without;
and a trial that trains alone, with an axis of trials, which keeps its numbers the same in any
company, and without. Each side is a process of its own; they take turns. Medians over rounds.

    python benchmarks/step_choices.py
"""

import os
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any
from unittest import mock

import torch
from cells import cpu_cell
from our_side import first_batches, own_point
from record import arguments, write

import kcap_ray.training.step
from kcap_ray.config.cell import Range, TuneConfig
from kcap_ray.planning.run_length import spec_of
from kcap_ray.training.step import TrainStep

N_WARM_UP, N_TIMED, N_ROUNDS = 10, 40, 3

SHAPES = (("gpt2-2-1", 2, 8), ("gpt2-2-1", 8, 8), ("gpt2-2-1", 2, 1), ("gpt2-2-1", 8, 1))
SHAPES += (("gpt2-2-4", 4, 1), ("gpt2-2-8", 4, 1))
"""Model, windows of a batch, trials."""

SIDES = ("as it is", "memory given back", "alone with an axis of trials")


def step_ms(side: str, model: str, n_windows: int, n_trials: int) -> float:
    """Median milliseconds of a step in this process."""
    torch.set_num_threads(1)
    cell = cpu_cell(model, batch_windows=n_windows)
    if side == SIDES[2]:
        tune = TuneConfig(trials=2, lr=Range(low=1e-3, high=1e-2))
        cell = replace(cell, tune=tune)
    n_steps = N_WARM_UP + N_TIMED
    points = [own_point(cell)] * n_trials
    step = TrainStep(cell, spec_of(cell), points, n_steps=n_steps, device=torch.device("cpu"))
    times = []
    for batch in first_batches(cell, n_steps):
        began = time.perf_counter()
        step(batch)
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times[N_WARM_UP:])


def in_a_process(side: str, shape: tuple[str, int, int]) -> float:
    """The same, measured in a process of its own."""
    words = [sys.executable, __file__, "--side", side, *map(str, shape)]
    return float(subprocess.check_output(words, text=True))


def found_for(shape: tuple[str, int, int]) -> dict[str, Any]:
    """Times of all sides that there are for a shape."""
    model, n_windows, n_trials = shape
    sides = SIDES if n_trials == 1 else SIDES[:2]
    times: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(N_ROUNDS):
        for side in sides:
            times[side].append(in_a_process(side, shape))
    medians = {side: statistics.median(own) for side, own in times.items()}
    ratios = {side: medians[side] / medians[SIDES[0]] for side in sides[1:]}
    what = {"model": model, "windows": n_windows, "trials": n_trials}
    return {**what, "step_ms": medians, "ratio_to_as_it_is": ratios, "rounds_ms": times}


def main() -> None:
    """Measure all, print; or, as one side of it, print one number."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if sys.argv[1:2] == ["--side"]:
        side, model, n_windows, n_trials = sys.argv[2:]
        kept = kcap_ray.training.step.keep_freed_memory
        keep = (lambda: None) if side == SIDES[1] else kept
        with mock.patch.object(kcap_ray.training.step, "keep_freed_memory", keep):
            print(step_ms(side, model, int(n_windows), int(n_trials)))
        return
    chosen = arguments(__file__, __doc__).parse_args()
    write(__file__, [found_for(shape) for shape in SHAPES], chosen.json)


if __name__ == "__main__":
    main()

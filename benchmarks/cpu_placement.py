"""What choosing threads and fused trials on a CPU could gain over kcap's rule: all trials fused, on
a thread for each CPU of the process.

For every shape of step of sweeps/laptop.yaml the time of a step of a cell's trials by every
candidate: all of them together, half of them and one at a time, on one thread and on all. They take
turns, medians over rounds: on one thread the time of its core, which other programs take nothing
from, and on several the time that passes. A cell's time is its steps times what its trials take,
one program after another. Two ways of working: a sweep, where a program has one core and all cores
work, and `kcap run-cell`, where it has all of them.

    python benchmarks/cpu_placement.py
"""

import json
import math
import os
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np
import torch
from cells import SWEEPS
from our_side import own_point
from record import arguments, claim, write

from kcap_ray.config.cell import Cell
from kcap_ray.execution.placement import cpu_threads
from kcap_ray.models.spec import ModelSpec
from kcap_ray.planning.run_length import length_of, spec_of, trials_at_once
from kcap_ray.planning.sweep import load_sweep
from kcap_ray.training.step import TrainStep

N_ROUNDS, N_STEPS = 5, 4
"""Turns of each candidate, and steps of a turn."""

Shape = tuple[str, int]
"""Model and windows of a batch."""


def cells_by_shape() -> dict[Shape, list[Cell]]:
    """The cells of the sweep; of one shape all take the same time for a step."""
    found: dict[Shape, list[Cell]] = {}
    for cell in load_sweep(SWEEPS / "laptop.yaml", {}).cells:
        found.setdefault((cell.model.name, cell.train.batch_windows), []).append(cell)
    return found


def measured(shape: Shape, n_cpus: int) -> dict[str, Any]:
    """The times of one shape in this process, and what the rule takes."""
    cells = cells_by_shape()[shape]
    cell, spec = cells[0], spec_of(cells[0])
    assert isinstance(spec, ModelSpec), "the sweep has kcap's own decoders"
    n_trials = trials_at_once(cell, spec)
    fused = dict.fromkeys((n_trials, math.ceil(n_trials / 2), 1))
    # The last part of trials that are trained two by two, or one.
    sizes = sorted({size for n in fused for size in programs(n_trials, n)})
    threads = sorted({1, n_cpus})
    step_s = _in_turns(cell, spec, sizes, threads)
    rule = cpu_threads(cell, spec, n_fused=n_trials, n_cpus=n_cpus)
    return {
        "model": shape[0],
        "windows": shape[1],
        "trials": n_trials,
        "steps_of_cells": sum(length_of(one).steps for one in cells),
        "rule": named(n_trials, rule),
        "ms": {
            named(n, t): 1e3 * sum(step_s[size, t] for size in programs(n_trials, n))
            for n in fused
            for t in threads
        },
    }


def named(n_fused: int, n_threads: int) -> str:
    """A candidate, as the record calls it."""
    return f"{n_fused} fused, {n_threads} thread{'s' if n_threads > 1 else ''}"


def programs(n_trials: int, n_fused: int) -> list[int]:
    """Trials of each program."""
    n_full, n_last = divmod(n_trials, n_fused)
    return [n_fused] * n_full + ([n_last] if n_last else [])


def _in_turns(
    cell: Cell, spec: ModelSpec, sizes: list[int], threads: list[int]
) -> dict[tuple[int, int], float]:
    """Seconds of a step by trials and threads, medians over rounds."""
    n_turns = (1 + N_ROUNDS) * len(threads)
    steps = {
        size: TrainStep(
            cell,
            spec,
            [own_point(cell)] * size,
            n_steps=n_turns * N_STEPS,
            device=torch.device("cpu"),
        )
        for size in sizes
    }
    batch = np.random.default_rng(0).integers(
        spec.vocab_size, size=(cell.train.batch_windows, cell.train.window_tokens + 1)
    )
    times: dict[tuple[int, int], list[float]] = {(s, t): [] for s in sizes for t in threads}
    for turn in range(1 + N_ROUNDS):
        for (size, n_threads), own in times.items():
            torch.set_num_threads(n_threads)
            clock = time.process_time if len(threads) == 1 else time.perf_counter
            began = clock()
            for _ in range(N_STEPS):
                steps[size](batch)
            if turn > 0:
                own.append((clock() - began) / N_STEPS)
    return {key: statistics.median(own) for key, own in times.items()}


def on_cores(*, is_sweep: bool) -> list[dict[str, Any]]:
    """What was measured of every shape in a process on each core at once, as in a sweep, or in one
    process on all.
    """
    cores = sorted(os.sched_getaffinity(0))
    own = [[core] for core in cores] if is_sweep else [cores]
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "--side", ",".join(map(str, group))],
            stdout=subprocess.PIPE,
            text=True,
        )
        for group in own
    ]
    return [row for process in processes for row in json.loads(process.communicate()[0])]


def study(*, is_sweep: bool) -> dict[str, Any]:
    """The rule beside the best candidate of each shape, summed over the cells of the sweep."""
    found = on_cores(is_sweep=is_sweep)
    n_processes = len(os.sched_getaffinity(0)) if is_sweep else 1
    hours = 1 / 3.6e6 / n_processes
    rule_h = hours * sum(row["ms"][row["rule"]] * row["steps_of_cells"] for row in found)
    best_h = hours * sum(min(row["ms"].values()) * row["steps_of_cells"] for row in found)
    return claim(
        "statistics: placement on a CPU",
        ours=rule_h,
        peer=best_h,
        unit="hours of training of the cells of sweeps/laptop.yaml, one program after another",
        what="a process on each core" if is_sweep else "one process on all cores",
        peer_is="the best candidate of each shape, choosing it not counted",
        shapes_where_the_rule_is_best=sum(
            row["ms"][row["rule"]] == min(row["ms"].values()) for row in found
        ),
        load_of_the_machine=os.getloadavg()[1],
        shapes=found,
    )


def main() -> None:
    """Measure both ways of working, or every shape as one process of it."""
    if sys.argv[1:2] == ["--side"]:
        cores = {int(core) for core in sys.argv[2].split(",")}
        os.sched_setaffinity(0, cores)
        print(json.dumps([measured(shape, len(cores)) for shape in cells_by_shape()]))
        return
    parser = arguments(__file__, __doc__)
    parser.add_argument(
        "--only",
        choices=["sweep", "run-cell"],
        help="one of the two ways; threads are worth timing only where nothing else runs",
    )
    chosen = parser.parse_args()
    ways = {"sweep": True, "run-cell": False}
    wanted = [ways[chosen.only]] if chosen.only else list(ways.values())
    write(__file__, [study(is_sweep=is_sweep) for is_sweep in wanted], chosen.json)


if __name__ == "__main__":
    main()

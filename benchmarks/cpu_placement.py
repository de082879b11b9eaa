"""What choosing threads and fused trials on a CPU gains over a fixed rule: all trials fused, one
thread a program.

For every shape of step of sweeps/laptop.yaml: what `training/cpu_setting.py` chooses, and then the
time of a step by every candidate, in turns, medians over rounds: on one thread the time of its
core, which other programs take nothing from, and on several the time that passes. A cell's time is
its steps times what its trials take one program after another, and for the choice what choosing
takes. Two ways of working: a sweep, where a program has one core and all cores work, and `kcap
run-cell`, where it has all of them.

    python benchmarks/cpu_placement.py
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from cells import SWEEPS
from our_side import own_point
from record import arguments, claim, write

from kcap_ray.config.cell import Cell
from kcap_ray.models.spec import ModelSpec
from kcap_ray.planning.run_length import length_of, spec_of, trials_at_once
from kcap_ray.planning.sweep import load_sweep
from kcap_ray.training.cpu_setting import (
    CpuSetting,
    candidates,
    is_worth_measuring,
    measure_settings,
)
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
    """Choice and times of one shape in this process."""
    torch.set_num_threads(1)
    cell = max(cells_by_shape()[shape], key=lambda one: length_of(one).steps)
    spec = spec_of(cell)
    assert isinstance(spec, ModelSpec), "the sweep has kcap's own decoders"
    n_trials = trials_at_once(cell, spec)
    began = time.perf_counter()
    chosen = measure_settings(cell, spec, n_fused=n_trials, n_cpus=n_cpus).fastest
    choice_s = time.perf_counter() - began
    # The last part of trials that are trained two by two, or one.
    sizes = {size for n in range(1, n_trials + 1) for size in programs(n_trials, n)}
    settings = candidates(n_trials, n_cpus)
    step_s = _in_turns(cell, spec, sorted(sizes), sorted({one.n_threads for one in settings}))
    trials_s = {
        one: sum(step_s[size, one.n_threads] for size in programs(n_trials, one.n_fused))
        for one in settings
    }
    return {
        "trials": n_trials,
        "chosen": str(chosen),
        "choice_s": choice_s,
        "ms": {str(one): 1e3 * seconds for one, seconds in trials_s.items()},
        "fixed": str(CpuSetting(n_fused=n_trials, n_threads=1)),
    }


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


def on_cores(*, is_sweep: bool) -> list[list[dict[str, Any]]]:
    """Of every shape what was measured in a process on each core at once, as in a sweep, or in one
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
    return [json.loads(process.communicate()[0]) for process in processes]


def rows(*, is_sweep: bool) -> Iterator[dict[str, Any]]:
    """Of each shape and process what was chosen, and seconds of its cells by choice and by rule."""
    n_cpus = 1 if is_sweep else len(os.sched_getaffinity(0))
    for side in on_cores(is_sweep=is_sweep):
        for (shape, cells), found in zip(cells_by_shape().items(), side, strict=True):
            by_rule = by_choice = 0.0
            for cell in cells:
                n_steps = length_of(cell).steps
                rule_s = 1e-3 * found["ms"][found["fixed"]] * n_steps
                is_measured = is_worth_measuring(
                    cell, n_steps, n_fused=found["trials"], n_cpus=n_cpus
                )
                choice_s = 1e-3 * found["ms"][found["chosen"]] * n_steps + found["choice_s"]
                by_rule += rule_s
                by_choice += choice_s if is_measured else rule_s
            model, n_windows = shape
            what = {"model": model, "windows": n_windows, "cells": len(cells)}
            yield {**what, **found, "rule_s": by_rule, "choice_s_of_cells": by_choice}


def study(*, is_sweep: bool) -> dict[str, Any]:
    """The sums over all cells of the sweep."""
    found = list(rows(is_sweep=is_sweep))
    n_processes = len(os.sched_getaffinity(0)) if is_sweep else 1
    rule_s = sum(row["rule_s"] for row in found) / n_processes
    choice_s = sum(row["choice_s_of_cells"] for row in found) / n_processes
    return claim(
        "statistics: placement on a CPU",
        ours=choice_s / 3600,
        peer=rule_s / 3600,
        unit="hours of training of the cells of sweeps/laptop.yaml, one program after another",
        what="a process on each core" if is_sweep else "one process on all cores",
        peer_is="all trials fused, one thread",
        gain=rule_s / choice_s - 1,
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

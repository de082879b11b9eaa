"""Programs of trials in processes that run at once, on the cores or the GPU that they share."""

import os
import threading
import time
from collections.abc import Sequence
from multiprocessing import get_context
from typing import Any

import torch
from our_side import first_batches
from trial_programs import N_WARM_UP, points, warm_trials
from turns import wait

from kcap_ray.config.cell import Cell
from kcap_ray.training.point import Point

READY_WITHIN_S = 240.0
"""Longest that processes may take to get ready, or to run."""


def _process(
    cell: Cell, trials: Sequence[Point], n_threads: int, n_steps: int, device: str, barrier: Any
) -> None:
    """Trials in a process of their own: gets ready, waits for the others, steps."""
    torch.set_num_threads(n_threads)
    batches = first_batches(cell, N_WARM_UP + n_steps)
    side = warm_trials(cell, trials, batches, torch.device(device)).side
    barrier.wait()
    for number in range(n_steps):
        side(number + N_WARM_UP)
    wait(torch.device(device))
    barrier.wait()


def processes_step_s(
    cell: Cell,
    programs: Sequence[Sequence[Point]],
    n_steps: int,
    device: torch.device,
    *,
    n_threads: int = 1,
) -> float | None:
    """Seconds until a process for each of the programs has taken one step, when all run at once;
    None if they could not, for instance for lack of memory.
    """
    context = get_context("spawn")
    barrier = context.Barrier(len(programs) + 1)
    processes = [
        context.Process(
            target=_process,
            args=(cell, trials, n_threads, n_steps, device.type, barrier),
            daemon=True,
        )
        for trials in programs
    ]
    for process in processes:
        process.start()
    try:
        _wait_until_ready(barrier, processes)
        began = time.perf_counter()
        barrier.wait()
        barrier.wait(timeout=READY_WITHIN_S)
        seconds = time.perf_counter() - began
    except threading.BrokenBarrierError:
        return None
    finally:
        for process in processes:
            process.join(timeout=10)
            process.kill()
    return seconds / n_steps


def on_all_cores(
    cell: Cell, n_trials: int, n_steps: int, device: torch.device, *, n_rounds: int
) -> dict[str, list[float]]:
    """Seconds of a step of all trials, by `processes`, one for each, and on a CPU by `fused`, one
    with a thread for each core, in turns. Empty if some did not start.
    """
    trials, n_cores = points(cell, n_trials), len(os.sched_getaffinity(0))
    sides = {"processes": ([[trial] for trial in trials], 1)}
    if device.type == "cpu":
        sides["fused"] = ([trials], n_cores)
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(n_rounds):
        for name, (programs, n_threads) in sides.items():
            step_s = processes_step_s(cell, programs, n_steps, device, n_threads=n_threads)
            if step_s is None:
                return {}
            found[name].append(step_s)
    return found


def _wait_until_ready(barrier: Any, processes: Sequence[Any]) -> None:
    """Until all wait at the barrier. Raises `BrokenBarrierError` if one has ended, or takes too
    long.
    """
    give_up = time.monotonic() + READY_WITHIN_S
    while barrier.n_waiting < len(processes):
        if any(process.exitcode is not None for process in processes) or time.monotonic() > give_up:
            barrier.abort()
            raise threading.BrokenBarrierError
        time.sleep(0.05)

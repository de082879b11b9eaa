"""Which way of training a cell is fastest on this CPU, found by timing a few real steps of each.

Small models lose by threads, and by fusing as soon as a step is bound by arithmetic; where that is
differs from machine to machine. The measurement works on models of its own and draws nothing from a
global generator, so the run after it is as it would be without.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch

from kcap_ray.config.cell import Cell
from kcap_ray.models.own_spec import AnySpec
from kcap_ray.training.point import Point
from kcap_ray.training.step import TrainStep

N_WARM_UP = 2
"""Untimed steps: the first ones allocate."""

N_TIMED = 8
"""Timed steps; the fastest counts, since other programs on the machine only ever slow one down."""

NOISE = 0.03
"""Share by which two measured times differ that are the same."""

MEASUREMENTS_IN_A_RUN = 20
"""Length of a run, in measurements, from which it is measured: at most 5% of the time go into it.
"""


@dataclass(frozen=True, kw_only=True)
class CpuSetting:
    """One way of training a cell's trials on a CPU."""

    n_fused: int
    """Trials in one program."""
    n_threads: int

    def __str__(self) -> str:
        trials = f"{self.n_fused} trial{'s' if self.n_fused > 1 else ''}"
        threads = f"{self.n_threads} thread{'s' if self.n_threads > 1 else ''}"
        return f"{trials} on {threads}"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the measurement found."""

    fastest: CpuSetting
    seconds: dict[CpuSetting, float]
    """Seconds per step and trial."""
    precision: str
    """The cell's, at which all of these were measured."""
    plain_s: float | None
    """The fastest setting's seconds in float32; None where that is the cell's precision."""

    def __str__(self) -> str:
        times = ", ".join(f"{setting} {1e3 * s:.3g}" for setting, s in self.seconds.items())
        text = f"ms per step and trial: {times}; it trains {self.fastest}"
        if self.plain_s is not None:
            text += f"; with fp32 in place of {self.precision} {1e3 * self.plain_s:.3g}"
            if self.plain_s < self.seconds[self.fastest]:
                text += " (write train.precision: fp32 if you may)"
        return text


def candidates(n_fused: int, n_cpus: int) -> list[CpuSetting]:
    """All trials together, half of them, and one alone; on one CPU, half of them, and all."""
    fused = dict.fromkeys((n_fused, math.ceil(n_fused / 2), 1))
    threads = dict.fromkeys((1, math.ceil(n_cpus / 2), n_cpus))
    return [CpuSetting(n_fused=n, n_threads=t) for n in fused for t in threads]


def is_worth_measuring(cell: Cell, n_steps: int, *, n_fused: int, n_cpus: int) -> bool:
    """Whether a run of `n_steps` is long enough to be measured first.

    A timed step of n of the E trials is n / E of a step; the first and the fastest may be timed
    again, one at another precision is one more, and where the precision is open there are as many
    at each.
    Where the cell asks for compiled code every candidate would have to be compiled.
    """
    if cell.train.compile == "on":
        return False
    parts = sum(setting.n_fused / n_fused for setting in candidates(n_fused, n_cpus)) + 3
    if cell.train.precision == "auto":
        parts *= 2
    return n_steps >= MEASUREMENTS_IN_A_RUN * (N_WARM_UP + N_TIMED) * parts


def measure_settings(cell: Cell, spec: AnySpec, *, n_fused: int, n_cpus: int) -> Measured:
    """Time the candidates. Whichever is chosen, the trials' numbers are the same, bit for bit;
    compiled code is no candidate, since it rounds in other places.
    """
    n_threads_before = torch.get_num_threads()
    found: dict[CpuSetting, float] = {}
    for _, alike in groupby(candidates(n_fused, n_cpus), key=lambda setting: setting.n_fused):
        found |= step_seconds(cell, spec, list(alike))
    fastest, usual = _fastest(found), next(iter(found))
    if fastest != usual:
        # Other work may have come and gone while one of them was timed.
        for setting in (usual, fastest):
            (again_s,) = step_seconds(cell, spec, [setting]).values()
            found[setting] = min(found[setting], again_s)
        fastest = _fastest(found)
    plain_s = None
    if cell.train.precision != "fp32":
        (plain_s,) = step_seconds(_with(cell, precision="fp32"), spec, [fastest]).values()
    torch.set_num_threads(n_threads_before)
    return Measured(fastest=fastest, seconds=found, precision=cell.train.precision, plain_s=plain_s)


def _fastest(seconds: dict[CpuSetting, float]) -> CpuSetting:
    """The first that is as good as the best: more trials at a time, and fewer threads."""
    return next(s for s in seconds if seconds[s] * (1 - NOISE) <= min(seconds.values()))


def _with(cell: Cell, **train: Any) -> Cell:
    return dataclasses.replace(cell, train=dataclasses.replace(cell.train, **train))


def step_seconds(cell: Cell, spec: AnySpec, settings: list[CpuSetting]) -> dict[CpuSetting, float]:
    """Seconds per step and trial of settings that differ in their threads alone; leaves torch with
    the threads of the last one.
    """
    first = settings[0]
    step = TrainStep(
        cell,
        spec,
        [Point(lr=cell.train.lr, weight_decay=cell.train.weight_decay)] * first.n_fused,
        n_steps=2 * len(settings) * (N_WARM_UP + N_TIMED),
        device=torch.device("cpu"),
    )
    # Which tokens they are makes no difference to the time.
    batch = np.random.default_rng(0).integers(
        spec.vocab_size, size=(cell.train.batch_windows, cell.train.window_tokens + 1)
    )
    found = {}
    for setting in settings:
        torch.set_num_threads(setting.n_threads)
        fastest_s = _fastest_call(lambda: step(batch))
        found[setting] = fastest_s / setting.n_fused
    return found


def _fastest_call(work: Callable[[], None]) -> float:
    for _ in range(N_WARM_UP):
        work()
    times = []
    for _ in range(N_TIMED):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)

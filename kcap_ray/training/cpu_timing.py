"""What is fastest on this CPU, found by timing a few real steps of models of its own, which draw
nothing from a global generator: the run after it is as it would be without.

Arithmetic: float32, or bf16 where the processor multiplies it faster (AMX, AVX-512 BF16), compiled
where a long run gains by it. A cell with `train.precision: auto` trains in what is found; since
that changes results, by the rounding of bf16, it is chosen once for a cell. Of other cells in a low
precision a line says what float32 would take.

Threads: as many as there are CPUs, or one where other programs want them too. That changes nothing.
"""

import dataclasses
import math
import time
from dataclasses import dataclass

import numpy as np
import torch

from kcap_ray.config.cell import Cell, Compile, Precision
from kcap_ray.models.own_spec import AnySpec
from kcap_ray.training.point import Point
from kcap_ray.training.step import TrainStep

N_WARM_UP = 2
"""Untimed steps: the first ones allocate."""

N_TIMED = 8
"""Timed steps; the fastest counts, since other programs on the machine only ever slow one down."""

NOISE = 0.03
"""Share by which two measured times differ that are the same."""

HOPELESS = 8
"""Times as long from which one step is enough: bf16 on a processor without it takes dozens of times
as long, a step that something came between two or three.
"""

MEASUREMENTS_IN_A_RUN = 20
"""Length of a run, in measurements, from which it is measured: at most 5% of the time go into it.
"""

COMPILE_S = 90.0
"""Most of a minute and a half is what compiling a step takes on one core of a Xeon."""

COMPILES_IN_A_RUN = 20
"""Length of a run, in compilations, from which compiled code is tried: at most 5% of its time go
into one.
"""


@dataclass(frozen=True, kw_only=True)
class MeasuredArithmetic:
    """What the measurement found."""

    precision: Precision
    """The cell's, and the fastest where that is `auto`."""
    compile: Compile
    """`on` where compiled code is the fastest and the cell leaves it open; else as the cell says.
    """
    seconds: dict[str, float]
    """Seconds per step and trial: `fp32`, the low precision, and where it was tried that of these
    which is faster with ` compiled` behind it.
    """

    def __str__(self) -> str:
        times = ", ".join(f"{name} {1e3 * s:.3g}" for name, s in self.seconds.items())
        compiled = ", compiled" if self.compile == "on" else ""
        text = f"ms per step and trial: {times}; it trains in {self.precision}{compiled}"
        if self.seconds[self.precision] > self.seconds["fp32"]:
            text += " (write train.precision: fp32 if you may)"
        return text


def is_long(cell: Cell, n_steps: int) -> bool:
    """Whether a run of `n_steps` is long enough for what is measured before it: two numbers of
    threads and two precisions. What is asked to be compiled would have to be compiled for it.
    """
    n_timed = 4 * (N_WARM_UP + N_TIMED)
    return cell.train.compile != "on" and n_steps >= MEASUREMENTS_IN_A_RUN * n_timed


def faster_threads(cell: Cell, spec: AnySpec, *, n_fused: int, n_threads: int) -> int:
    """`n_threads`, or 1 if a step in float32 is faster on one thread now."""
    n_threads_before = torch.get_num_threads()
    train = dataclasses.replace(cell.train, precision="fp32", compile="off")
    cell, found = dataclasses.replace(cell, train=train), {}
    for n in (1, n_threads):
        torch.set_num_threads(n)
        found[n] = step_s(cell, spec, n_fused=n_fused, usual_s=found.get(1, math.inf))
    torch.set_num_threads(n_threads_before)
    return n_threads if found[n_threads] < found[1] else 1


def measure_arithmetic(
    cell: Cell, spec: AnySpec, *, n_steps: int, n_fused: int, n_threads: int
) -> MeasuredArithmetic:
    """Time float32 and the low precision, and if the cell leaves both open the faster one compiled,
    where `n_steps` of its trials are long enough.
    """
    n_threads_before = torch.get_num_threads()
    torch.set_num_threads(n_threads)

    def seconds(
        precision: Precision, compile: Compile = "off", *, usual_s: float = math.inf
    ) -> float:
        train = dataclasses.replace(cell.train, precision=precision, compile=compile)
        own = dataclasses.replace(cell, train=train)
        return step_s(own, spec, n_fused=n_fused, usual_s=usual_s)

    low: Precision = "bf16" if cell.train.precision == "auto" else cell.train.precision
    is_open = low != cell.train.precision
    found = {"fp32": seconds("fp32")}
    found[low] = seconds(low, usual_s=found["fp32"])
    compile, precision = cell.train.compile, low
    if is_open:
        precision = low if found[low] < found["fp32"] * (1 - NOISE) else "fp32"
        run_s = n_steps * cell.tune.trials * found[precision]
        if compile == "auto" and not cell.model.is_own and run_s >= COMPILES_IN_A_RUN * COMPILE_S:
            compiled_s = seconds(precision, "on")
            if compiled_s < found[precision] * (1 - NOISE):
                compile = "on"
            found[f"{precision} compiled"] = compiled_s
    torch.set_num_threads(n_threads_before)
    return MeasuredArithmetic(precision=precision, compile=compile, seconds=found)


def step_s(cell: Cell, spec: AnySpec, *, n_fused: int, usual_s: float = math.inf) -> float:
    """Seconds per step and trial of `n_fused` trials in one program, on torch's threads.

    What takes more than `HOPELESS` times `usual_s` is not timed again.
    """
    step = TrainStep(
        cell,
        spec,
        [Point(lr=cell.train.lr, weight_decay=cell.train.weight_decay)] * n_fused,
        n_steps=N_WARM_UP + N_TIMED,
        device=torch.device("cpu"),
    )
    # Which tokens they are makes no difference to the time.
    batch = np.random.default_rng(0).integers(
        spec.vocab_size, size=(cell.train.batch_windows, cell.train.window_tokens + 1)
    )
    fastest_s = math.inf
    for number in range(N_WARM_UP + N_TIMED):
        began = time.perf_counter()
        step(batch)
        taken_s = (time.perf_counter() - began) / n_fused
        if number >= N_WARM_UP:
            fastest_s = min(fastest_s, taken_s)
        elif number > 0 and taken_s > HOPELESS * usual_s:
            return taken_s
    return fastest_s

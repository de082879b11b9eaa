"""Which arithmetic a cell with `train.precision: auto` trains in on this CPU: float32, or bf16
where the processor multiplies it faster (AMX, AVX-512 BF16), compiled where a long run gains by it.

Found by timing a few real steps, as `cpu_setting` does; unlike what that finds, it changes results,
by the rounding of bf16. So it is chosen once for a cell.
"""

import dataclasses
from dataclasses import dataclass

from kcap_ray.config.cell import Cell, Compile, Precision
from kcap_ray.models.own_spec import AnySpec
from kcap_ray.training.cpu_setting import (
    NOISE,
    CpuSetting,
    Measured,
    measure_settings,
    step_seconds,
)

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
    compile: Compile
    """`on` where compiled code is the fastest; otherwise as the cell says."""
    setting: Measured
    """Trials and threads at that precision, uncompiled."""
    seconds: dict[str, float]
    """Seconds per step and trial, each at the fastest setting: `fp32`, `bf16`, and where it was
    tried that of these which is faster with ` compiled` behind it.
    """

    def __str__(self) -> str:
        times = ", ".join(f"{name} {1e3 * s:.3g}" for name, s in self.seconds.items())
        compiled = ", compiled" if self.compile == "on" else ""
        return (
            f"ms per step and trial: {times}; it trains {self.setting.fastest} in "
            f"{self.precision}{compiled}"
        )


def measure_arithmetic(
    cell: Cell, spec: AnySpec, *, n_steps: int, n_fused: int, n_cpus: int
) -> MeasuredArithmetic:
    """Time float32 at every setting, bf16 at the fastest of them, and if that is faster bf16 at
    every setting; then the faster one compiled, where `n_steps` of the cell's trials are long
    enough and the cell leaves it open.
    """

    def at(precision: Precision, compile: Compile = "off") -> Cell:
        train = dataclasses.replace(cell.train, precision=precision, compile=compile)
        return dataclasses.replace(cell, train=train)

    def seconds(found: Cell, setting: CpuSetting) -> float:
        return step_seconds(found, spec, [setting])[setting]

    def measured(precision: Precision) -> Measured:
        return measure_settings(at(precision), spec, n_fused=n_fused, n_cpus=n_cpus)

    setting, precision = measured("fp32"), "fp32"
    found = {"fp32": setting.seconds[setting.fastest]}
    found["bf16"] = seconds(at("bf16"), setting.fastest)
    if found["bf16"] < found["fp32"] * (1 - NOISE):
        setting, precision = measured("bf16"), "bf16"
        found["bf16"] = setting.seconds[setting.fastest]
    compile = cell.train.compile
    run_s = n_steps * cell.tune.trials * found[precision]
    if compile == "auto" and not cell.model.is_own and run_s >= COMPILES_IN_A_RUN * COMPILE_S:
        compiled_s = seconds(at(precision, "on"), setting.fastest)
        if compiled_s < found[precision] * (1 - NOISE):
            compile = "on"
        found[f"{precision} compiled"] = compiled_s
    return MeasuredArithmetic(precision=precision, compile=compile, setting=setting, seconds=found)

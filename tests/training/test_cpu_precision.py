"""Which arithmetic is found fastest on a CPU; the times are given, the choice is what is tested."""

from collections.abc import Callable
from typing import Any

import pytest

from kcap_ray.config.cell import Cell
from kcap_ray.planning.run_length import spec_of
from kcap_ray.training import cpu_precision, cpu_setting
from kcap_ray.training.cpu_precision import COMPILE_S, COMPILES_IN_A_RUN, measure_arithmetic
from kcap_ray.training.cpu_setting import CpuSetting
from tests.tiny import tiny_cell

LONG = 10**9


@pytest.fixture
def takes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[str, str]]]:
    """Pretends that a step takes so long, by precision and whether it is compiled."""

    def set_times(**times: float) -> list[tuple[str, str]]:
        timed = []

        def seconds(cell: Cell, _: object, settings: list[CpuSetting]) -> dict[CpuSetting, float]:
            train = cell.train
            timed.append((train.precision, train.compile))
            name = train.precision + ("_compiled" if train.compile == "on" else "")
            # Two threads are always a little faster.
            return {one: times[name] / (1 + 0.1 * one.n_threads) for one in settings}

        monkeypatch.setattr(cpu_precision, "step_seconds", seconds)
        monkeypatch.setattr(cpu_setting, "step_seconds", seconds)
        return timed

    return set_times


def found(n_steps: int = LONG, **train: Any) -> cpu_precision.MeasuredArithmetic:
    """What is found for a cell of one trial on two CPUs."""
    cell = tiny_cell(precision="auto", **train)
    return measure_arithmetic(cell, spec_of(cell), n_steps=n_steps, n_fused=1, n_cpus=2)


@pytest.mark.parametrize(
    ("times", "chosen"),
    [
        ({"fp32": 2.0, "bf16": 1.0, "bf16_compiled": 0.8}, ("bf16", "on")),
        ({"fp32": 2.0, "bf16": 1.0, "bf16_compiled": 0.99}, ("bf16", "auto")),
        ({"fp32": 1.0, "bf16": 30.0, "fp32_compiled": 0.5}, ("fp32", "on")),
        # No faster than the noise of a measurement: float32.
        ({"fp32": 1.0, "bf16": 0.98, "fp32_compiled": 1.1}, ("fp32", "auto")),
    ],
)
def test_the_fastest_is_chosen(takes, times, chosen) -> None:
    """Among float32, bf16, and the faster of them compiled; at as many threads as are best."""
    takes(**times)
    one = found()
    assert (one.precision, one.compile) == chosen
    assert one.setting.fastest.n_threads == 2
    assert f"in {one.precision}" in str(one)
    assert str(one).endswith("compiled") == (one.compile == "on")


def test_slow_bf16_is_timed_once(takes) -> None:
    """A processor that has none takes dozens of times as long over it."""
    timed = takes(fp32=1.0, bf16=30.0, fp32_compiled=2.0)
    found()
    assert [precision for precision, _ in timed].count("bf16") == 1


def test_only_long_runs_are_compiled_and_only_where_that_is_open(takes) -> None:
    """From the length on in which compiling is a twentieth."""
    takes(fp32=1.0, bf16=2.0, fp32_compiled=0.1)
    limit = COMPILES_IN_A_RUN * COMPILE_S * 1.2
    assert found(round(1.01 * limit)).compile == "on"
    assert found(round(0.99 * limit)).compile == "auto"
    assert found(compile="off").compile == "off"

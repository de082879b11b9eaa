"""What is found fastest on a CPU; the times are given, the choice is what is tested."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kcap_ray.config.cell import Cell
from kcap_ray.planning.run_length import spec_of
from kcap_ray.training import cpu_timing
from kcap_ray.training.cpu_timing import (
    COMPILE_S,
    COMPILES_IN_A_RUN,
    MEASUREMENTS_IN_A_RUN,
    N_TIMED,
    N_WARM_UP,
    MeasuredArithmetic,
    faster_threads,
    is_long,
    measure_arithmetic,
    step_s,
)
from tests.tiny import tiny_cell

LONG = 10**9


@pytest.fixture
def takes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Pretends that a step takes so long, by precision and whether it is compiled; the threads of
    each measurement.
    """

    def set_times(**times: float) -> list[str]:
        timed = []

        def seconds(cell: Cell, *_: object, **__: object) -> float:
            train = cell.train
            name = train.precision + ("_compiled" if train.compile == "on" else "")
            timed.append(f"{name} on {torch.get_num_threads()}")
            return times[name]

        monkeypatch.setattr(cpu_timing, "step_s", seconds)
        return timed

    return set_times


def found(n_steps: int = LONG, precision: str = "auto", **train: Any) -> MeasuredArithmetic:
    """What is found for a cell of one trial on two threads."""
    cell = tiny_cell(precision=precision, **train)
    return measure_arithmetic(cell, spec_of(cell), n_steps=n_steps, n_fused=1, n_threads=2)


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
    """Among float32, bf16, and the faster of them compiled, each on the threads that train it."""
    timed = takes(**times)
    one = found()
    assert (one.precision, one.compile) == chosen
    assert f"in {one.precision}" in str(one)
    assert str(one).endswith("compiled") == (one.compile == "on")
    assert timed == [f"{name} on 2" for name in times]


def test_only_long_runs_are_compiled_and_only_where_that_is_open(takes) -> None:
    """From the length on in which compiling is a twentieth."""
    takes(fp32=1.0, bf16=2.0, fp32_compiled=0.1)
    limit = COMPILES_IN_A_RUN * COMPILE_S
    assert found(round(1.01 * limit)).compile == "on"
    assert found(round(0.99 * limit)).compile == "auto"
    assert found(compile="off").compile == "off"


@pytest.mark.parametrize("slower", [0.5, 2.0])
def test_a_low_precision_that_is_slower_is_named(takes, slower: float) -> None:
    """It is what the cell says all the same; the line says what to write."""
    takes(fp32=1.0, bf16=slower)
    one = found(precision="bf16")
    assert (one.precision, one.compile) == ("bf16", "auto")
    assert ("write train.precision: fp32" in str(one)) == (slower > 1)


@pytest.mark.parametrize(("several_s", "n_threads"), [(0.9, 4), (1.1, 1)])
def test_several_threads_only_where_they_are_faster(monkeypatch, several_s, n_threads) -> None:
    """Other programs may want the same CPUs."""

    def seconds(*_: object, **__: object) -> float:
        return 1.0 if torch.get_num_threads() == 1 else several_s

    monkeypatch.setattr(cpu_timing, "step_s", seconds)
    before, cell = torch.get_num_threads(), tiny_cell(precision="bf16")
    assert faster_threads(cell, spec_of(cell), n_fused=1, n_threads=4) == n_threads
    assert torch.get_num_threads() == before


@given(n_steps=st.integers(1, 10**4))
def test_a_measurement_is_a_small_part_of_the_run(n_steps: int) -> None:
    """Both precisions, or one thread and several; none where each would have to be compiled."""
    n_timed = MEASUREMENTS_IN_A_RUN * 4 * (N_WARM_UP + N_TIMED)
    assert is_long(tiny_cell(), n_steps) == (n_steps >= n_timed)
    assert not is_long(tiny_cell(compile="on"), n_steps)


def _numpy_state() -> NDArray[np.uint32]:
    state = np.random.get_state(legacy=False)  # noqa: NPY002 - what must stay untouched
    assert isinstance(state, dict)
    return state["state"]["key"].copy()


@pytest.mark.slow
def test_a_measurement_leaves_no_trace() -> None:
    """Neither in the generators of torch and NumPy nor in the number of threads."""
    torch.manual_seed(3)
    before = (torch.get_rng_state(), _numpy_state(), torch.get_num_threads())
    one = found(n_steps=100)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(_numpy_state(), before[1])
    assert torch.get_num_threads() == before[2]
    assert set(one.seconds) == {"fp32", "bf16"}
    assert all(seconds > 0 for seconds in one.seconds.values())


def test_what_is_hopeless_is_not_timed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor without bf16 takes dozens of times as long over it."""
    calls = []
    monkeypatch.setattr(cpu_timing, "TrainStep", lambda *_, **__: calls.append)
    cell = tiny_cell()
    step_s(cell, spec_of(cell), n_fused=1, usual_s=0.0)
    assert len(calls) == N_WARM_UP
    calls.clear()
    step_s(cell, spec_of(cell), n_fused=1, usual_s=math.inf)
    assert len(calls) == N_WARM_UP + N_TIMED

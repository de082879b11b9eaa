import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kcap_ray.config.cell import Cell
from kcap_ray.models.spec import ModelSpec
from kcap_ray.planning.run_length import spec_of
from kcap_ray.training import cpu_setting
from kcap_ray.training.cpu_setting import (
    MEASUREMENTS_IN_A_RUN,
    N_TIMED,
    N_WARM_UP,
    CpuSetting,
    Measured,
    candidates,
    is_worth_measuring,
    measure_settings,
)
from tests.tiny import tiny_cell

CELL = tiny_cell()


def measure(cell: Cell = CELL, *, n_fused: int = 4) -> Measured:
    """A measurement with up to two threads."""
    return measure_settings(cell, spec_of(cell), n_fused=n_fused, n_cpus=2)


@given(n_fused=st.integers(1, 8), n_cpus=st.integers(1, 64))
def test_candidates_are_all_together_halves_and_one_by_one(n_fused: int, n_cpus: int) -> None:
    """Each once, with one thread and with all CPUs; the first is what is taken unmeasured."""
    found = candidates(n_fused, n_cpus)
    assert len(set(found)) == len(found)
    assert found[0] == CpuSetting(n_fused=n_fused, n_threads=1)
    assert {(n, t) for n in (1, n_fused) for t in (1, n_cpus)} <= {
        (setting.n_fused, setting.n_threads) for setting in found
    }
    assert all(s.n_fused <= n_fused and s.n_threads <= n_cpus for s in found)


@given(n_fused=st.integers(1, 8), n_cpus=st.integers(1, 8), n_steps=st.integers(1, 10**5))
def test_a_measurement_is_a_small_part_of_the_run(n_fused: int, n_cpus: int, n_steps: int) -> None:
    """The steps of all candidates, and of two that are timed again, as shares of a step of all
    trials.
    """
    shares = [s.n_fused / n_fused for s in candidates(n_fused, n_cpus)] + [1.0, 1.0]
    steps = (N_WARM_UP + N_TIMED) * sum(shares)
    if is_worth_measuring(CELL, n_steps, n_fused=n_fused, n_cpus=n_cpus):
        assert n_steps >= MEASUREMENTS_IN_A_RUN * steps
    assert is_worth_measuring(CELL, 10**6, n_fused=n_fused, n_cpus=n_cpus)
    compiled = tiny_cell(compile="on")
    assert not is_worth_measuring(compiled, 10**6, n_fused=n_fused, n_cpus=n_cpus)


def _numpy_state() -> NDArray[np.uint32]:
    state = np.random.get_state(legacy=False)  # noqa: NPY002 - what must stay untouched
    assert isinstance(state, dict)
    return state["state"]["key"].copy()


@pytest.mark.slow
def test_a_measurement_leaves_no_trace() -> None:
    """Neither in the generators of torch and NumPy nor in the number of threads."""
    torch.manual_seed(3)
    before = (torch.get_rng_state(), _numpy_state(), torch.get_num_threads())
    found = measure()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(_numpy_state(), before[1])
    assert torch.get_num_threads() == before[2]
    assert set(found.seconds) == set(candidates(4, 2))
    assert all(seconds > 0 for seconds in found.seconds.values())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Times that steps pretend to take: by threads, and more for bf16."""
    times = {"bf16": 1.0, "2 threads": 1.0, "per trial": 1.0, "launch": 1.0}
    timed = cpu_setting.step_seconds

    def pretended(cell: Cell, spec: ModelSpec, settings: list[CpuSetting]) -> object:
        def seconds(work: object) -> float:
            setting = next(waiting)
            t = times["launch"] + times["per trial"] * setting.n_fused
            t *= times["2 threads"] if torch.get_num_threads() == 2 else 1.0
            return t * (times["bf16"] if cell.train.precision == "bf16" else 1.0)

        waiting = iter(settings)
        monkeypatch.setattr(cpu_setting, "_fastest_call", seconds)
        return timed(cell, spec, settings)

    monkeypatch.setattr(cpu_setting, "TrainStep", lambda *_, **__: None)
    monkeypatch.setattr(cpu_setting, "step_seconds", pretended)
    return times


@pytest.mark.parametrize(
    ("launch", "two_threads", "fastest"),
    [
        (1.0, 1.5, CpuSetting(n_fused=4, n_threads=1)),
        (1.0, 0.6, CpuSetting(n_fused=4, n_threads=2)),
        (-0.5, 1.5, CpuSetting(n_fused=1, n_threads=1)),
        (-0.5, 0.6, CpuSetting(n_fused=1, n_threads=2)),
    ],
)
def test_the_least_time_per_trial_wins(
    clock: dict[str, float], launch: float, two_threads: float, fastest: CpuSetting
) -> None:
    """Where launches cost, all at once; where fusing makes steps slower (a negative cost of
    launches), one by one; threads where they help. All that was measured is in the line.
    """
    clock |= {"launch": launch, "2 threads": two_threads}
    found = measure()
    assert found.fastest == fastest
    assert all(str(setting) in str(found) for setting in candidates(4, 2))


@pytest.mark.parametrize(("two_threads", "n_threads"), [(0.99, 1), (0.9, 2)])
def test_what_gains_next_to_nothing_is_not_chosen(
    clock: dict[str, float], two_threads: float, n_threads: int
) -> None:
    """A hundredth is noise, a tenth is not."""
    clock |= {"2 threads": two_threads}
    assert measure().fastest == CpuSetting(n_fused=4, n_threads=n_threads)


def test_other_work_during_a_measurement_does_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    """All trials on one thread are timed again before anything else is chosen."""
    usual = CpuSetting(n_fused=4, n_threads=1)
    timed: list[CpuSetting] = []

    def seconds(_: Cell, __: ModelSpec, settings: list[CpuSetting]) -> dict[CpuSetting, float]:
        is_disturbed = usual not in timed
        timed.extend(settings)
        return {s: 3.0 if s != usual else 4.0 if is_disturbed else 2.0 for s in settings}

    monkeypatch.setattr(cpu_setting, "step_seconds", seconds)
    found = measure()
    assert found.fastest == usual
    assert found.seconds[usual] == 2.0
    assert timed.count(usual) == 2


@pytest.mark.parametrize("slower", [0.5, 2.0])
def test_a_low_precision_that_is_slower_is_named(clock: dict[str, float], slower: float) -> None:
    """The line says what float32 would take and what to write; the setting has no precision."""
    clock["bf16"] = slower
    found = measure(tiny_cell(precision="bf16"))
    assert found.plain_s == pytest.approx(found.seconds[found.fastest] / slower)
    assert ("write train.precision: fp32" in str(found)) == (slower > 1)
    assert measure().plain_s is None

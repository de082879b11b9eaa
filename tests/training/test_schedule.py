import itertools
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcap_ray.config.cell import TrainConfig
from kcap_ray.training.schedule import lr_ratio


def schedule(n_steps: int, **options: Any) -> list[float]:
    """The rate of every step of a run, as a share of the reference rate."""
    train = TrainConfig(
        exposures=1, lr=1.0, weight_decay=0.0, batch_windows=1, precision="fp32", **options
    )
    return [lr_ratio(step, n_steps, train) for step in range(n_steps)]


def test_published_schedule_warms_up_for_a_thousand_steps_and_ends_at_a_tenth() -> None:
    """Section 2.3 of arXiv 2404.05405: linear for 1,000 steps, then a cosine down to 0.1."""
    ratios = schedule(80_000)
    assert ratios[:1000] == pytest.approx([(step + 1) / 1000 for step in range(1000)])
    assert ratios[1000] == 1.0
    assert ratios[-1] == pytest.approx(0.1)
    middle = (1000 + 79_999) / 2
    assert ratios[math.floor(middle)] == pytest.approx(0.55, abs=1e-4)


@settings(deadline=None)
@given(
    n_steps=st.integers(2, 400),
    warmup_steps=st.integers(0, 500),
    warmup_frac=st.floats(0.0, 0.9),
    final=st.floats(0.0, 1.0),
)
def test_rate_rises_to_one_and_falls_to_its_end_without_a_jump(
    n_steps: int, warmup_steps: int, warmup_frac: float, final: float
) -> None:
    """Up to the peak it never falls, from there on it never rises, and its peak is 1.

    No step is longer than one of the warm-up or the steepest of the cosine, and the last one is
    `final_lr_ratio`, unless all steps before the last are warm-up.
    """
    ratios = schedule(
        n_steps, final_lr_ratio=final, warmup_steps=warmup_steps, warmup_frac=warmup_frac
    )
    warmup = min(warmup_steps, int(warmup_frac * n_steps))
    peak = max(0, warmup - 1)
    assert ratios[peak] == max(ratios) == 1.0
    assert ratios[: peak + 1] == sorted(ratios[: peak + 1])
    assert ratios[peak:] == sorted(ratios[peak:], reverse=True)
    n_falling = n_steps - 1 - warmup
    if n_falling >= 1:
        assert ratios[-1] == pytest.approx(final)
    rise = 1 / max(1, warmup)
    fall = (1 - final) * math.pi / 2 / max(1, n_falling)
    for before, after in itertools.pairwise(ratios):
        assert -fall - 1e-12 <= after - before <= rise + 1e-12


def test_warm_up_takes_no_more_than_its_share_of_a_short_run() -> None:
    """A run of 200 steps warms up for 20, not for 1,000; one of a single step runs at full rate."""
    ratios = schedule(200)
    assert ratios[19] == 1.0 > ratios[18]
    assert schedule(1) == [1.0]

"""The capacity law and its limits."""

import math

import numpy as np
import pytest

from analysis.law import CapacityLaw, ExposureLaw

MAX_RATIOS = np.geomspace(0.01, 100, 50)


@pytest.mark.parametrize("sharpness", [0.7, 3.0, 50.0, math.inf])
def test_stored_never_exceeds_what_there_is_nor_what_fits(sharpness):
    """R <= min(R_max, c), for every sharpness."""
    law = CapacityLaw(capacity=2.0, sharpness=sharpness)
    assert (law.ratio(MAX_RATIOS) <= np.minimum(MAX_RATIOS, 2.0) * (1 + 1e-12)).all()


def test_both_limits_are_reached():
    """Small data are stored in full; large data fill the model to c."""
    law = CapacityLaw(capacity=2.0, sharpness=4.0)
    assert law.ratio(0.01) == pytest.approx(0.01, rel=1e-6)
    assert law.ratio(1e4) == pytest.approx(2.0, rel=1e-6)
    assert law.ratio(2.0) == pytest.approx(2.0 * 2 ** (-1 / 4), rel=1e-12)


def test_a_very_sharp_corner_is_the_hard_minimum():
    """s -> infinity is min(R_max, c), without overflow."""
    soft = CapacityLaw(capacity=2.0, sharpness=1e6).ratio(MAX_RATIOS)
    hard = CapacityLaw(capacity=2.0, sharpness=math.inf).ratio(MAX_RATIOS)
    assert soft == pytest.approx(hard, rel=1e-5)


def test_stored_bits_are_ratio_times_parameters():
    """The two ways to state the law agree: R * P, with R_max = demand / P."""
    law = CapacityLaw(capacity=2.0, sharpness=4.0)
    n_params = np.array([1e5, 1e6, 1e7])
    bits = law.stored_bits(n_params=n_params, demand_bits=3e6)
    assert bits == pytest.approx(n_params * law.ratio(3e6 / n_params))
    assert (np.diff(bits) > 0).all()


def test_laws_of_impossible_numbers_are_refused():
    """Capacity and sharpness are positive."""
    with pytest.raises(ValueError, match="positive"):
        CapacityLaw(capacity=0.0, sharpness=4.0)
    with pytest.raises(ValueError, match="positive"):
        CapacityLaw(capacity=2.0, sharpness=-1.0)


def test_half_of_the_limit_is_reached_at_half_exposures():
    """c(E_half) = c_limit / 2, and c grows with E."""
    law = ExposureLaw(limit=2.2, half_exposures=70.0)
    assert law.capacity(70.0) == pytest.approx(1.1)
    assert (np.diff(law.capacity(np.geomspace(1, 1e4, 20))) > 0).all()

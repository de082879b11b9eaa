"""Intervals from a few seeds."""

import numpy as np
import pytest
from scipy import stats

from analysis.estimate import geometric_mean, mean


@pytest.mark.parametrize("n_seeds", [2, 3, 5])
def test_intervals_cover_the_truth_at_the_stated_rate(n_seeds):
    """Of 2000 draws of log-normal numbers 90% of the intervals hold the truth; the band is left by
    chance 1 time in 1000.
    """
    rng = np.random.default_rng(n_seeds)
    n_runs, truth = 2_000, 0.8
    covered = 0
    for _ in range(n_runs):
        found = geometric_mean(truth * np.exp(rng.normal(0.0, 0.1, n_seeds)), level=0.9)
        assert found.low is not None and found.high is not None
        covered += found.low <= truth <= found.high
    low, high = stats.binom.ppf([0.0005, 0.9995], n_runs, 0.9)
    assert low <= covered <= high


def test_the_mean_has_students_interval():
    """As scipy has it, for numbers of either sign."""
    values = [-0.1, 0.2, 0.6]
    found = mean(values, level=0.9)
    expected = stats.t.interval(0.9, df=2, loc=np.mean(values), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)


def test_one_seed_has_a_value_and_no_interval():
    """Nothing is known of the scatter, so nothing is said of it."""
    found = geometric_mean([0.7])
    assert found.value == pytest.approx(0.7)
    assert found.low is None and found.high is None


def test_copies_of_one_number_have_no_interval():
    """`1.43 [1.43, 1.43]` would say that the next seed gives 1.43 again."""
    found = geometric_mean([1.43, 1.43, 1.43])
    assert found.value == pytest.approx(1.43)
    assert found.low is None and found.high is None


def test_the_mean_of_inverses_is_the_inverse_of_the_mean():
    """Which side of a ratio stands on top does not matter."""
    values = [0.7, 0.9, 1.3]
    found, inverse = geometric_mean(values), geometric_mean([1 / value for value in values])
    assert found.low is not None and inverse.high is not None
    assert found.value * inverse.value == pytest.approx(1.0)
    assert found.low * inverse.high == pytest.approx(1.0)

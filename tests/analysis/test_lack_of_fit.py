"""Cells that are far off, and shapes that differ: named where they are, and nowhere else."""

import numpy as np
import pytest

from analysis.coverage import Regime
from analysis.fit import fit_capacity
from analysis.groups import GroupKey
from analysis.inference import fit_robustly, level_test
from analysis.law import CapacityLaw

KEY = GroupKey(dataset="bioS", family="gpt2", exposures=1000.0, quantization="none")


@pytest.mark.parametrize("factor", [0.3, 2.5])
def test_one_cell_in_ten_is_named_wherever_it_lies(factor):
    """Ten cells of 2% noise: each in turn is far off, at the corner too, where it bends the law;
    and no other cell is blamed.
    """
    max_ratios, rng = np.geomspace(0.4, 6.0, 10), np.random.default_rng(0)
    law = CapacityLaw(capacity=1.5, sharpness=5.0)
    for i in range(10):
        ratios = law.sample_ratio(max_ratios, log_sd=0.02, rng=rng)
        ratios[i] *= factor
        if ratios[i] > 1.05 * max_ratios[i]:
            continue  # more than the demand
        found = fit_capacity(KEY, max_ratio_N=max_ratios, ratio_N=ratios).outliers
        assert found == (f"cell {i}",)


@pytest.mark.slow
def test_no_cell_of_one_law_is_named():
    """Ten cells and as many sets: a level of 1% names one in ten such runs of the test at most."""
    max_ratios, rng = np.geomspace(0.4, 6.0, 10), np.random.default_rng(1)
    law = CapacityLaw(capacity=1.5, sharpness=5.0)
    for _ in range(10):
        ratios = law.sample_ratio(max_ratios, log_sd=0.05, rng=rng)
        assert fit_capacity(KEY, max_ratio_N=max_ratios, ratio_N=ratios).outliers == ()


def test_the_only_cell_that_tells_the_capacity_is_no_outlier():
    """Nine saturated cells know nothing of c."""
    max_ratios = np.array([*np.geomspace(0.1, 0.5, 9), 4.0])
    ratios = CapacityLaw(capacity=1.0, sharpness=5.0).ratio(max_ratios)
    assert fit_capacity(KEY, max_ratio_N=max_ratios, ratio_N=ratios).outliers == ()


def test_shapes_of_one_capacity_seldom_look_different():
    """5 N x 20 shapes of one c, most of them saturated: 5% of such sets have p below 0.05, and 9 of
    40 would be five standard deviations more. A saturated shape has no c to differ in.
    """
    regime = Regime(name="one c", max_ratio_N=tuple(np.geomspace(0.2, 5, 20)), n_people=5)
    x_N, labels = regime.design()
    cells, found, _ = fit_robustly(x_N, regime.draw(40, np.random.default_rng(12)))
    _, p_B, _ = level_test(cells, found, labels["shape"])
    assert (p_B < 0.05).sum() < 9

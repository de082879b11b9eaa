"""Fitting the law back from data that it generated, and refusing what cannot be fitted."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from analysis.exposure_fit import fit_exposures
from analysis.fit import FitStatus, fit_capacity, fit_groups
from analysis.groups import GroupKey
from analysis.law import CapacityLaw, ExposureLaw
from analysis.published import published_rows

KEY = GroupKey(dataset="bioS", family="gpt2", exposures=1000.0, quantization="none")
MAX_RATIOS = np.geomspace(0.4, 6.0, 14)


def fit_law(law, max_ratio_N=MAX_RATIOS, **options):
    return fit_capacity(KEY, max_ratio_N=max_ratio_N, ratio_N=law.ratio(max_ratio_N), **options)


@pytest.mark.parametrize("capacity", [0.2, 1.0, 2.5])
@pytest.mark.parametrize("sharpness", [1.0, 3.0, 10.0])
def test_known_parameters_are_recovered_from_noise_free_data(capacity, sharpness):
    """Fit(generate(law)) = law, to 1e-6."""
    law = CapacityLaw(capacity=capacity, sharpness=sharpness)
    fit = fit_law(law, MAX_RATIOS * capacity, n_resamples=50)
    assert fit.status is FitStatus.OK
    assert fit.law is not None
    assert fit.law.capacity == pytest.approx(capacity, rel=1e-6)
    assert fit.law.sharpness == pytest.approx(sharpness, rel=1e-6)


@pytest.mark.slow
def test_intervals_cover_the_truth_at_the_stated_rate():
    """Of 150 runs, 90% intervals miss about 15; the band is left by chance 1 time in 1000."""
    law = CapacityLaw(capacity=1.5, sharpness=5.0)
    rng = np.random.default_rng(7)
    n_runs, n_covered = 150, {"capacity": 0, "sharpness": 0}
    for _ in range(n_runs):
        ratios = law.sample_ratio(MAX_RATIOS, log_sd=0.03, rng=rng)
        fit = fit_capacity(KEY, max_ratio_N=MAX_RATIOS, ratio_N=ratios, level=0.9, n_resamples=150)
        for name, estimate in (("capacity", fit.capacity), ("sharpness", fit.sharpness)):
            if estimate is not None and estimate.low is not None and estimate.high is not None:
                n_covered[name] += estimate.low <= getattr(law, name) <= estimate.high
    low, high = stats.binom.ppf([0.0005, 0.9995], n_runs, 0.9)
    assert low <= n_covered["capacity"] <= high
    assert low <= n_covered["sharpness"] <= high


def test_one_failed_cell_hardly_moves_the_capacity():
    """A cell at half its value moves c by under 5%; plain least squares would move it by 10%."""
    law = CapacityLaw(capacity=2.0, sharpness=5.0)
    ratios = law.ratio(MAX_RATIOS)
    ratios[-3] /= 2
    fit = fit_capacity(KEY, max_ratio_N=MAX_RATIOS, ratio_N=ratios, n_resamples=50)
    assert fit.law is not None
    assert fit.law.capacity == pytest.approx(2.0, rel=0.05)


def test_the_same_data_give_the_same_intervals():
    """The bootstrap is seeded: a report can be made again, digit by digit."""
    law = CapacityLaw(capacity=2.0, sharpness=5.0)
    ratios = law.sample_ratio(MAX_RATIOS, log_sd=0.05, rng=np.random.default_rng(1))
    fits = [fit_capacity(KEY, max_ratio_N=MAX_RATIOS, ratio_N=ratios) for _ in range(2)]
    assert fits[0] == fits[1]
    assert fits[0].capacity is not None
    assert fits[0].capacity.low is not None
    assert fits[0].capacity.low < fits[0].capacity.value


def test_the_band_holds_the_law_and_meets_the_capacity_interval():
    """Far right the band is the interval of c; everywhere it encloses the fitted law."""
    law = CapacityLaw(capacity=2.0, sharpness=5.0)
    ratios = law.sample_ratio(MAX_RATIOS, log_sd=0.03, rng=np.random.default_rng(2))
    fit = fit_capacity(KEY, max_ratio_N=MAX_RATIOS, ratio_N=ratios)
    wide = np.geomspace(0.1, 1e4, 40)
    band = fit.band(wide)
    assert band is not None
    assert fit.law is not None
    assert fit.capacity is not None
    fitted = fit.law.ratio(wide)
    assert ((band[0] <= fitted * 1.001) & (fitted <= band[1] * 1.001)).all()
    assert band[1][-1] == pytest.approx(fit.capacity.high, rel=1e-3)


@pytest.mark.parametrize(
    ("max_ratios", "ratios", "status"),
    [
        ([], [], FitStatus.TOO_FEW_POINTS),
        ([3.0], [2.0], FitStatus.TOO_FEW_POINTS),
        ([1.0, 3.0, 4.0], [-0.1, 2.0, 2.0], FitStatus.TOO_FEW_POINTS),
        ([1.0, 3.0, 4.0], [-0.1, -0.2, -3.0], FitStatus.NO_POSITIVE_POINTS),
        ([0.1, 0.5, 1.0, 1.4], [0.1, 0.5, 0.98, 1.37], FitStatus.CAPACITY_NOT_IDENTIFIED),
        ([0.5, 1.0, 1.4], [0.49, 0.95, 1.27], FitStatus.CAPACITY_NOT_IDENTIFIED),
        ([0.1, 0.2, 0.4, 2.0, 9.0], [0.04, 0.08, 0.16, 0.8, 0.9], FitStatus.POOR_FIT),
    ],
)
def test_cells_that_do_not_tell_a_capacity_get_a_status_and_no_number(max_ratios, ratios, status):
    """Too few, none positive, all saturated: a reason, never a made-up number."""
    fit = fit_capacity(KEY, max_ratio_N=np.array(max_ratios), ratio_N=np.array(ratios))
    assert fit.status is status
    assert fit.reason
    assert fit.capacity is None
    assert fit.sharpness is None
    assert fit.law is None


def test_without_cells_near_the_corner_capacity_is_told_and_sharpness_is_not():
    """All cells far above capacity: c is their common R; s could be anything."""
    rng = np.random.default_rng(3)
    max_ratios = np.geomspace(20, 200, 10)
    ratios = CapacityLaw(capacity=1.5, sharpness=5.0).sample_ratio(max_ratios, log_sd=0.02, rng=rng)
    fit = fit_capacity(KEY, max_ratio_N=max_ratios, ratio_N=ratios)
    assert fit.status is FitStatus.SHARPNESS_NOT_IDENTIFIED
    assert fit.sharpness is None
    assert fit.law is not None
    assert math.isinf(fit.law.sharpness)
    assert fit.law.capacity == pytest.approx(1.5, rel=0.03)


def test_groups_are_fitted_apart(make_rows):
    """Each exposures setting gets back its own capacity."""
    rows = make_rows(log_sd=0.0, n_people=(50_000, 500_000))
    fits = fit_groups(rows, n_resamples=50)
    assert [fit.group.exposures for fit in fits] == [30, 100, 300, 1000]
    capacities = [fit.capacity.value for fit in fits if fit.capacity]
    expected = ExposureLaw(limit=2.25, half_exposures=65.0).capacity([30, 100, 300, 1000])
    assert capacities == pytest.approx(expected, rel=0.01)


def test_exposure_law_is_recovered(make_rows):
    """c(E) of four noise-free groups gives back limit and half point."""
    rows = make_rows(log_sd=0.0, n_people=(50_000, 500_000))
    rows["capacity_ratio"] = [
        float(CapacityLaw(capacity=2.25 * e / (e + 65.0), sharpness=5.0).ratio(m))
        for e, m in zip(rows["exposures"], rows["max_capacity_ratio"], strict=True)
    ]
    (fit,) = fit_exposures(fit_groups(rows, n_resamples=50))
    assert fit.law is not None
    assert fit.law.limit == pytest.approx(2.25, rel=1e-6)
    assert fit.law.half_exposures == pytest.approx(65.0, rel=1e-6)


def test_two_exposures_do_not_make_a_curve(make_rows):
    """Two capacities and two parameters always fit; that is no evidence, so nothing is fitted."""
    rows = make_rows(exposures=(100, 1000), n_people=(50_000, 500_000))
    (fit,) = fit_exposures(fit_groups(rows, n_resamples=50))
    assert fit.status is FitStatus.TOO_FEW_POINTS
    assert fit.law is None


def test_fits_are_valid_json_with_or_without_numbers():
    """No NaN and no infinity reaches a JSON file."""
    saturated = np.array([0.1, 0.5, 1.0])
    fits = [
        fit_law(CapacityLaw(capacity=2.0, sharpness=5.0), n_resamples=50),
        fit_capacity(KEY, max_ratio_N=saturated, ratio_N=saturated),
    ]
    text = json.dumps([fit.to_json() for fit in fits], allow_nan=False)
    assert json.loads(text)[1]["capacity_bits_per_param"] is None


def test_the_published_points_give_about_two_bits_at_1000_exposures():
    """The paper's own figure, fitted: between its claimed peak of 2 and its largest R, 2.72."""
    rows = published_rows()
    (fit,) = fit_groups(rows[rows["exposures"] == 1000], n_resamples=50)
    assert fit.capacity is not None
    assert 2.0 < fit.capacity.value < 2.72

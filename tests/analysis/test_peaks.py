"""Peaks of means: their bounds keep what they promise, however many models there are."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from analysis.multiple_tests import holm
from analysis.peaks import measure_peaks, peaks_of_values
from analysis.pooling import two_sided
from tests.analysis.plain_runs import make_runs, peaks_of

ERROR = 0.025


def noisy(rng, n_models, n_seeds, common):
    """Models of one capacity, 1, that share what each seed does to all."""
    return np.exp(common + rng.normal(0, 0.03, (n_models, n_seeds)))


@pytest.mark.parametrize(
    "n_models", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 8, 20))]
)
@pytest.mark.parametrize("common_sd", [0.0, 0.05])
@pytest.mark.parametrize("has_baseline", [False, True])
def test_a_peak_at_the_border_is_seldom_on_either_side_of_it(n_models, common_sd, has_baseline):
    """All models have the capacity of the border, three seeds: each answer at most ERROR of the
    time. The bound on the count is left by chance 1 time in 10,000; Satterthwaite's approximation
    is given a half of ERROR more.
    """
    rng = np.random.default_rng(n_models)
    n_runs, above, below = 400, 0, 0
    for _ in range(n_runs):
        common = rng.normal(0, common_sd, 3)
        baseline = make_runs(noisy(rng, n_models, 3, common)) if has_baseline else None
        peaks = measure_peaks(make_runs(noisy(rng, n_models, 3, common), "llama"), baseline)
        assert peaks is not None
        above += peaks.tail_at_least(1.0) <= ERROR
        below += peaks.tail_at_most(1.0) <= ERROR
    limit = stats.binom.ppf(0.9999, n_runs, ERROR * 1.5)
    assert above <= limit and below <= limit


def test_the_interval_agrees_with_the_errors():
    """A border inside the 95% interval is on no side of it; one outside is on one."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        subject, baseline = (make_runs(noisy(rng, 3, 4, 0.0), name) for name in ("llama", "gpt2"))
        peaks = measure_peaks(subject, baseline)
        assert peaks is not None
        found = peaks.interval()
        assert found.low is not None and found.high is not None
        for border in (
            found.low * 0.999,
            found.low * 1.001,
            found.high * 0.999,
            found.high * 1.001,
        ):
            assert (peaks.tail_at_least(border) <= ERROR) == (border < found.low)
            assert (peaks.tail_at_most(border) <= ERROR) == (border > found.high)


def test_swapping_the_sides_inverts_value_and_interval():
    """a / b times b / a is 1."""
    rng = np.random.default_rng(0)
    a, b = (make_runs(noisy(rng, 3, 4, 0.0), name) for name in ("llama", "gpt2"))
    there, back = measure_peaks(a, b), measure_peaks(b, a)
    assert there is not None and back is not None
    assert there.value * back.value == pytest.approx(1.0)
    assert there.interval().low * back.interval().high == pytest.approx(1.0)  # type: ignore


def test_a_model_that_demands_less_than_the_peak_is_no_candidate_for_it():
    """So it does not widen the interval by being one more model."""
    rng = np.random.default_rng(0)
    ratios = noisy(rng, 2, 4, 0.0)
    alone = measure_peaks(make_runs(ratios))
    small = [
        replace(run, size=f"small {run.size}")
        for run in make_runs([[0.4, 0.5, 0.4, 0.5]] * 9, max_ratio=0.5)
    ]
    with_small = measure_peaks([*make_runs(ratios), *small])
    assert alone is not None and with_small is not None
    assert with_small.interval() == alone.interval()


def test_a_subject_that_stores_less_than_nothing_has_a_ratio():
    """Without logarithms; a baseline that does has none."""
    ratios = [[-0.1, 0.02, -0.05]]
    subject, baseline = make_runs(ratios, "llama"), make_runs([[2.0, 2.1, 1.9]])
    peaks = measure_peaks(subject, baseline)
    assert peaks is not None and not peaks.is_log
    assert peaks.value < 0
    assert peaks.tail_at_most(0.5) <= ERROR
    assert measure_peaks(baseline, subject) is None


def test_copies_of_one_number_show_nothing():
    """They do not tell how far the next seed may be: no interval, no p, and on neither side."""
    peaks = peaks_of_values([0.99] * 3)
    assert (peaks.interval().low, peaks.interval().high) == (None, None)
    assert peaks.tail_at_least(0.95) == 1.0 and peaks.tail_at_most(0.95) == 1.0
    assert two_sided(peaks) is None


def test_holm_is_bonferroni_for_the_smallest_and_never_falls():
    """The textbook's numbers: 0.01, 0.02, 0.03 become 0.03, 0.04, 0.04; order does not matter."""
    assert holm([0.02, 0.01, 0.03]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_what_rounding_leaves_between_copies_makes_no_model_sure():
    """Three seeds of one number were as sure as their last digits: 1.06, whose mean is a digit off,
    had [1.05, 1.13] beside a model that scatters, and 1.05 had [0.95, 1.13].
    """
    shares = []
    for copied in (1.05, 1.06, 1.07):
        found = peaks_of([[copied] * 3, [0.95, 1.03, 0.9]]).interval()
        assert found.low is not None
        shares.append(found.low / copied)
    assert shares == pytest.approx([shares[0]] * 3)
    assert shares[0] < 0.96

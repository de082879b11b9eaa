"""Variances that help each other."""

import numpy as np
import pytest
from scipy import optimize, special

from analysis.moderation import (
    Spread,
    _inverse_trigamma,
    _prior_df,
    beside_pooled,
    combine,
    moderate,
    pooled_variance,
)


def spreads_of(variances, df=2.0):
    return [Spread(variance=float(v), df=df) for v in variances]


def test_a_variance_alone_stays_as_it_is():
    """There is nothing to help it; and copies of one number, of variance 0, tell nothing."""
    alone = spreads_of([0.3])
    assert moderate(alone) == alone
    with_copies = spreads_of([0.3, 0.0, 0.0])
    assert moderate(with_copies) == with_copies


def test_equal_variances_gain_all_degrees_of_freedom():
    """Ten rows of three seeds each: 20 degrees of freedom instead of two."""
    for found in moderate(spreads_of([0.04] * 10)):
        assert found.variance == pytest.approx(0.04)
        assert found.df == pytest.approx(20.0)


def test_no_variance_is_made_smaller():
    """A row that is noisier than the others stays so."""
    before = spreads_of([0.01, 0.02, 0.5, 0.015])
    for own, found in zip(before, moderate(before), strict=True):
        assert found.variance >= own.variance
        assert found.df > own.df


def test_the_order_of_the_rows_changes_nothing():
    """Every row has its own result, wherever it stands."""
    before = spreads_of([0.01, 0.07, 0.02])
    there, back = moderate(before), moderate(before[::-1])
    for one, other in zip(there, back[::-1], strict=True):
        assert (one.variance, one.df) == pytest.approx((other.variance, other.df))


def test_parts_are_combined_by_satterthwaite():
    """Two equal parts have twice the variance and twice the degrees of freedom."""
    found = combine(spreads_of([0.1, 0.1], df=3.0))
    assert (found.variance, found.df) == pytest.approx((0.2, 6.0))


def test_rows_of_several_lengths_share_one_variance():
    """Squares over degrees of freedom, each row about its own mean; rows of one value have none."""
    rows = [np.array([1.0, 3.0]), np.array([2.0, 4.0, 6.0]), np.array([9.0])]
    found = pooled_variance(rows)
    assert (found.variance, found.df) == pytest.approx((10 / 3, 3.0))


def test_parts_without_scatter_have_none_together():
    """Their degrees of freedom are those of the part that knows least; a variance of 1 is none."""
    parts = [Spread(variance=0.0, df=2.0), Spread(variance=0.0, df=5.0)]
    assert combine(parts) == Spread(variance=0.0, df=2.0)
    assert combine(spreads_of([0.5, 0.5])) == Spread(variance=1.0, df=4.0)


@pytest.mark.parametrize("value", [1e-4, 0.1, 1.0, special.polygamma(1, 3.7), 50.0, 1e4])
def test_the_inverse_of_the_trigamma_function(value):
    """To nine digits, in the few steps that Newton's method takes from where it begins."""
    assert special.polygamma(1, _inverse_trigamma(value)) == pytest.approx(value, rel=1e-9)


def test_what_other_variances_are_worth():
    """Variances that scatter as those of F(d, d0) do are worth about d0 degrees of freedom, for any
    d of each.
    """
    rng = np.random.default_rng(0)
    few, many = (spreads_of(rng.f(df, 10.0, size=4_000), df=df) for df in (4.0, 20.0))
    assert _prior_df([*few, *many]) == pytest.approx(10.0, rel=0.15)


@pytest.mark.parametrize("n_rows", [2, 4, pytest.param(15, marks=pytest.mark.slow)])
@pytest.mark.parametrize("log_sd", [0.0, 0.35])
def test_intervals_cover_and_are_shorter_than_students(n_rows, log_sd):
    """Rows of three seeds with standard deviations that are equal, or differ by a third: 95%
    intervals miss 5% of the truths or less. They are shorter than Student's, by a sixth at least
    where a row has two others or more. 4.9 standard errors of the share of misses are allowed,
    which chance leaves less than once in a million.
    """
    rng = np.random.default_rng(n_rows)
    n_runs, missed, width, students = 1_500, 0, 0.0, 0.0
    for _ in range(n_runs):
        sd_R = np.exp(rng.normal(0, log_sd, n_rows))
        values_RS = sd_R[:, None] * rng.normal(size=(n_rows, 3))
        before = spreads_of(values_RS.var(axis=1, ddof=1))
        for own, mean, found in zip(before, values_RS.mean(axis=1), moderate(before), strict=True):
            reach = special.stdtrit(found.df, 0.975) * np.sqrt(found.variance / 3)
            missed += abs(mean) > reach
            width += reach
            students += special.stdtrit(2, 0.975) * np.sqrt(own.variance / 3)
    # Rows of one run share what they learn of each other: at worst they count as one.
    error = np.sqrt(0.05 * 0.95 / n_runs)
    assert missed / (n_runs * n_rows) <= 0.05 + 4.9 * error
    assert width < students * (5 / 6 if n_rows > 2 else 1)


def test_parts_that_scatter_alike_have_the_pooled_variance():
    """Or their own, if that is larger; no more degrees of freedom than the surer of both."""
    owns = [Spread(variance=v, df=2.0) for v in (1.0, 1.1, 0.9, 1.0)]
    for own, found in zip(owns, beside_pooled(owns, Spread(variance=1.0, df=8.0)), strict=True):
        assert found == Spread(variance=max(1.0, own.variance), df=8.0)
    sparse = beside_pooled(owns, Spread(variance=1.0, df=1.0))
    assert all(found.df <= 2.0 for found in sparse)


def test_a_part_noisier_than_the_others_is_nearly_what_it_shows_by_itself():
    """By Smyth's weight d0 / (d0 + d), with the log variances far apart; quiet parts lie between
    their own variance and the pooled one, with Satterthwaite's degrees of freedom.
    """
    values, d, pooled = [4.0, 0.01, 0.02, 0.015], 2.0, Spread(variance=1.01, df=8.0)
    logs = np.log(values) - special.digamma(d / 2) + np.log(d / 2)
    excess = logs.var(ddof=1) - special.polygamma(1, d / 2)
    found = optimize.root_scalar(lambda x: special.polygamma(1, x) - excess, bracket=(1e-3, 1e3))
    half = float(found.root)
    weight = 2 * half / (2 * half + d)
    assert 0 < weight < 0.5
    owns = [Spread(variance=v, df=d) for v in values]
    for own, found in zip(owns, beside_pooled(owns, pooled), strict=True):
        first, second = weight * pooled.variance, (1 - weight) * own.variance
        df = (first + second) ** 2 / (first**2 / pooled.df + second**2 / d)
        assert found.variance == pytest.approx(max(first + second, own.variance))
        assert found.df == pytest.approx(min(df, 8.0))


def test_what_does_not_scatter_says_nothing_beside_the_pooled_variance():
    """Copies of one number get the pooled variance, and one part alone, or none, has no other."""
    pooled, copies = Spread(variance=1.0, df=8.0), Spread(variance=0.0, df=2.0)
    known = [Spread(variance=v, df=2.0) for v in (0.5, 2.0)]
    assert beside_pooled([copies, *known], pooled)[0] == pooled
    assert beside_pooled([copies, known[1]], pooled) == [pooled, pooled]
    nothing = Spread(variance=0.0, df=8.0)
    assert beside_pooled(known, nothing) == [nothing, nothing]

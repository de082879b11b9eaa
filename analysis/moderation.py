"""Variances known from few seeds, made surer by what the other rows of a table say.

Three seeds leave two degrees of freedom, and Student's interval is then twice as wide as one that
knew the variance. Rows of a table are mostly as noisy as each other, so each variance is drawn
towards that of the others, the more the less they differ: empirical Bayes as in Smyth, "Linear
models and empirical Bayes methods", 2004, section 6.2, whose estimator gives the weight. Unlike
there the prior is the pooled variance of the *other* rows (which leaves a row's own variance
independent of it, so that Satterthwaite's degrees of freedom apply), and a row noisier than the
result keeps its own variance: shrinking what is noisy is how intervals become too short.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from analysis.law import Floats


@dataclass(frozen=True, kw_only=True)
class Spread:
    """An estimated variance."""

    variance: float
    """Of what one seed gives, in squared units of it."""
    df: float
    """Degrees of freedom; need not be whole."""


def moderate(spreads: Sequence[Spread]) -> list[Spread]:
    """The spreads in their order, each drawn towards the others; alone, as they are.

    A variance of zero (copies of one number) stays, and tells nothing of the others.
    """
    is_known = [spread.variance > 0 and spread.df > 0 for spread in spreads]
    known = [spread for spread, known in zip(spreads, is_known, strict=True) if known]
    if len(known) < 2:
        return list(spreads)
    prior_df = _prior_df(known)
    total_df = sum(spread.df for spread in known)
    total = sum(spread.df * spread.variance for spread in known)
    return [
        _shrunk(spread, total_df - spread.df, total - spread.df * spread.variance, prior_df)
        if known
        else spread
        for spread, known in zip(spreads, is_known, strict=True)
    ]


def beside_pooled(owns: Sequence[Spread], pooled: Spread) -> list[Spread]:
    """The spreads of the parts of one table, each between its own and that of all of them pooled.

    Where parts differ in their noise by more than chance, each is nearly what it shows by itself:
    the pooled variance is too small for the noisiest. The weight is that of `moderate`; degrees of
    freedom are no more than those of the surer of both, since the pooled one holds the own one
    already, and a part noisier than the result keeps its own variance. From few seeds that is
    still a little too sure (docs/decisions/0103).
    """
    known = [own for own in owns if own.variance > 0 and own.df > 0]
    if len(known) < 2 or not pooled.variance > 0:
        return [pooled] * len(owns)
    prior_df = _prior_df(known)
    return [_between(own, pooled, prior_df) for own in owns]


def _between(own: Spread, pooled: Spread, prior_df: float) -> Spread:
    if not own.variance > 0:
        return pooled
    weight = 1.0 if prior_df == math.inf else prior_df / (prior_df + own.df)
    parts = [
        Spread(variance=weight * pooled.variance, df=pooled.df),
        Spread(variance=(1 - weight) * own.variance, df=own.df),
    ]
    both = combine(parts)
    return Spread(
        variance=max(both.variance, own.variance), df=min(both.df, max(pooled.df, own.df))
    )


def combine(parts: Sequence[Spread]) -> Spread:
    """Spread of a sum of independent parts, by Satterthwaite: df = (sum v)^2 / sum(v^2 / df)."""
    variance = sum(part.variance for part in parts)
    if variance == 0:
        return Spread(variance=0.0, df=min((part.df for part in parts), default=0.0))
    own = [part for part in parts if part.variance > 0]
    return Spread(
        variance=variance, df=variance**2 / sum(part.variance**2 / part.df for part in own)
    )


def _shrunk(own: Spread, others_df: float, others_sum: float, prior_df: float) -> Spread:
    """Weighted mean of the own variance and the pooled one of the others."""
    weight = min(prior_df, others_df)
    prior = Spread(variance=weight / (weight + own.df) * others_sum / others_df, df=others_df)
    kept = Spread(variance=own.df / (weight + own.df) * own.variance, df=own.df)
    both = combine([prior, kept])
    return Spread(variance=max(both.variance, own.variance), df=both.df)


def _prior_df(spreads: Sequence[Spread]) -> float:
    """Degrees of freedom that the other variances are worth: many if the logs of the variances
    scatter no more than chance has it, few if they differ.

    With v ~ s^2 F(d, d0) the variance of log v is trigamma(d/2) + trigamma(d0/2); d0 from the
    excess over the first term (Smyth 2004, section 6.2).
    """
    half_R = np.array([spread.df / 2 for spread in spreads])
    log_R = np.log([spread.variance for spread in spreads])
    centred_R = log_R - special.digamma(half_R) + np.log(half_R)
    excess = float(centred_R.var(ddof=1) - special.polygamma(1, half_R).mean())
    return math.inf if excess <= 0 else 2 * _inverse_trigamma(excess)


def _inverse_trigamma(value: float) -> float:
    """x with trigamma(x) = value > 0, by Newton's method on 1 / trigamma (Smyth 2004, appendix)."""
    x = 0.5 + 1 / value
    for _ in range(50):
        found = float(special.polygamma(1, x))
        step = found * (1 - found / value) / float(special.polygamma(2, x))
        x += step
        if abs(step) < 1e-9 * x:
            break
    return x


def pooled_variance(values_RS: Sequence[Floats]) -> Spread:
    """Variance inside rows of several values each, over all rows."""
    df = sum(len(values) - 1 for values in values_RS)
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in values_RS)
    return Spread(variance=squares / df if df else math.nan, df=float(df))

"""A number with its interval: from bootstrap resamples, or from a few seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from analysis.law import Floats

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A measured or fitted number and its interval."""

    value: float
    low: float | None
    """Lower end of the interval; None where it could not be found."""
    high: float | None
    """Upper end of the interval; None where it could not be found."""
    level: float
    """Probability with which such intervals cover the truth."""

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.3g} (no interval)"
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


def from_draws(value: float, draws_B: Floats | None, tail: float, level: float) -> Estimate:
    """Percentiles of resamples, cut by `tail` at each end; no interval without resamples."""
    if draws_B is None:
        return Estimate(value=value, low=None, high=None, level=level)
    low, high = np.quantile(draws_B, [tail, 1 - tail])
    return Estimate(value=value, low=float(low), high=float(high), level=level)


def geometric_mean(values: Sequence[float], level: float = LEVEL) -> Estimate:
    """Geometric mean of positive numbers, one per seed, with Student's interval on their logs.

    exp(mean +- t sd / sqrt(n)) with n - 1 degrees of freedom; exact if the numbers scatter
    log-normally. Not a bootstrap: its percentiles never leave the range of the values, and with
    the usual three seeds that range misses the truth one time in four whatever the level. One
    value has no interval.
    """
    logs = np.log(np.asarray(values, dtype=float))
    mean, n = float(logs.mean()), len(logs)
    if n < 2:
        return Estimate(value=math.exp(mean), low=None, high=None, level=level)
    reach = float(special.stdtrit(n - 1, (1 + level) / 2)) * float(logs.std(ddof=1)) / math.sqrt(n)
    return Estimate(
        value=math.exp(mean), low=math.exp(mean - reach), high=math.exp(mean + reach), level=level
    )

"""A number with its interval, and the mean of a few seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

LEVEL = 0.95
# Sums of a few doubles around 1 differ by less; seeds by a hundred million times as much.
ROUNDING = 1e-12


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
        for digits in range(3, 7):  # as many as tell the ends apart
            low, high = f"{self.low:.{digits}g}", f"{self.high:.{digits}g}"
            if low != high:
                return f"{self.value:.{digits}g} [{low}, {high}]"
        return f"{self.value:.3g} (no interval)"


def mean(values: Sequence[float], level: float = LEVEL) -> Estimate:
    """Mean of numbers of either sign, one per seed, with Student's interval; exact if they scatter
    normally. One value has no interval, nor have copies of one.
    """
    found = np.asarray(values, dtype=float)
    value, n = float(found.mean()), len(found)
    if n < 2 or float(np.ptp(found)) < ROUNDING:
        return Estimate(value=value, low=None, high=None, level=level)
    reach = float(special.stdtrit(n - 1, (1 + level) / 2)) * float(found.std(ddof=1)) / math.sqrt(n)
    return Estimate(value=value, low=value - reach, high=value + reach, level=level)


def geometric_mean(values: Sequence[float], level: float = LEVEL) -> Estimate:
    """Geometric mean of positive numbers, one per seed, with Student's interval on their logs.

    exp(mean +- t sd / sqrt(n)) with n - 1 degrees of freedom; exact if the numbers scatter
    log-normally. Not a bootstrap: its percentiles never leave the range of the values, and with
    the usual three seeds that range misses the truth one time in four whatever the level. One
    value has no interval, nor have copies of one: they do not tell how far the next may be.
    """
    logs = np.log(np.asarray(values, dtype=float))
    mean, n = float(logs.mean()), len(logs)
    if n < 2 or float(np.ptp(logs)) < ROUNDING:
        return Estimate(value=math.exp(mean), low=None, high=None, level=level)
    reach = float(special.stdtrit(n - 1, (1 + level) / 2)) * float(logs.std(ddof=1)) / math.sqrt(n)
    return Estimate(
        value=math.exp(mean), low=math.exp(mean - reach), high=math.exp(mean + reach), level=level
    )

"""How many seeds it takes to see a difference, from how much seeds scatter in finished runs."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy import special

from analysis.moderation import pooled_variance
from analysis.runs import Run, group_by, setting_of, unquantized

LEVEL = 0.95
"""Of the interval that must exclude no difference."""
POWER = 0.8
"""Probability that it does, if the difference is there."""
MAX_SEEDS = 10_000
"""Beyond it the answer is "too many"."""


@dataclass(frozen=True, kw_only=True)
class SeedsNeeded:
    """Seeds of each of two models to tell their capacities apart, at one number of exposures."""

    dataset: str
    exposures: float
    log_sd: float
    """Standard deviation over seeds of log R of one model, pooled over models."""
    log_sd_low: float
    log_sd_high: float
    """Ends of its 95% interval (chi-squared)."""
    df: float
    """Degrees of freedom that it rests on."""
    n_models: int
    """Models with two seeds or more."""
    n_left_out: int
    """Rows left out because R is zero or negative, has no second seed, or repeats a seed."""
    n_seeds: int
    """Seeds needed."""
    n_seeds_low: int
    n_seeds_high: int
    """The same at the ends of the interval of the standard deviation."""

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def seeds_needed(rows: pd.DataFrame, difference: float, power: float = POWER) -> list[SeedsNeeded]:
    """Seeds to see a relative difference between two models, for every data set and exposures.

    The difference of two models is taken seed by seed, and scatters by sqrt(2) times the standard
    deviation of one: in runs so far a shared seed does not make two models alike. Two-sided at 95%.
    Settings in which no model has two seeds are left out.

    Raises ValueError unless `difference` is above 0.
    """
    if difference <= 0:
        raise ValueError(f"difference: got {difference:g}; above 0, for instance 0.05 for 5%")
    groups = group_by(unquantized(rows), lambda run: (run.dataset, run.exposures))
    found = [_seeds_of(runs, difference, power) for _, runs in sorted(groups.items())]
    return [one for one in found if one is not None]


def seeds_to_resolve(gap: float, sd: float, *, power: float = POWER) -> int:
    """Smallest n at which a t-test of level 95% sees a mean `gap` away from a bound: the smallest n
    with n >= ((t(0.975, n - 1) + t(power, n - 1)) sd / gap)^2, at least 2; MAX_SEEDS + 1 where it
    is larger than MAX_SEEDS.
    """
    if sd == 0 or gap == math.inf:
        return 2
    if gap == 0:
        return MAX_SEEDS + 1
    low, high = 2, MAX_SEEDS + 1
    while low < high:
        n = (low + high) // 2
        reach = special.stdtrit(n - 1, (1 + LEVEL) / 2) + special.stdtrit(n - 1, power)
        if n >= (float(reach) * sd / gap) ** 2:
            high = n
        else:
            low = n + 1
    return low


def _seeds_of(runs: Sequence[Run], difference: float, power: float) -> SeedsNeeded | None:
    models = group_by(runs, lambda run: (*setting_of(run), run.family, run.size))
    by_seed = [{run.replicate: run.ratio for run in own} for own in models.values()]
    logs = [np.log([ratio for ratio in own.values() if ratio > 0]) for own in by_seed]
    logs = [own for own in logs if len(own) > 1]
    if not logs:
        return None
    spread = pooled_variance(logs)
    sd = math.sqrt(spread.variance)
    tail = (1 - LEVEL) / 2
    ends = [sd * math.sqrt(spread.df / special.chdtri(spread.df, q)) for q in (tail, 1 - tail)]
    gap = math.log1p(difference)
    n, n_low, n_high = (
        seeds_to_resolve(gap, math.sqrt(2) * one, power=power) for one in (sd, *ends)
    )
    return SeedsNeeded(
        dataset=runs[0].dataset,
        exposures=runs[0].exposures,
        log_sd=sd,
        log_sd_low=ends[0],
        log_sd_high=ends[1],
        df=spread.df,
        n_models=len(logs),
        n_left_out=len(runs) - sum(len(own) for own in logs),
        n_seeds=n,
        n_seeds_low=n_low,
        n_seeds_high=n_high,
    )

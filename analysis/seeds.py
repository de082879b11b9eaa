"""Seeds needed to see a difference, from how much seeds scatter: the arithmetic, and the scatter of
the committed runs. Light enough for `kcap plan`: no pandas.

`python -m analysis.power DIR...` writes the table, `spread.json`.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LEVEL = 0.95
"""Of the interval that must exclude no difference."""
POWER = 0.8
"""Probability that it does, if the difference is there."""
MAX_SEEDS = 10_000
"""Beyond it the answer is "too many"."""

FEWEST_DF = 10
"""Degrees of freedom of a scatter by which others are judged: one or two models scatter by 0.3% or
by 95%, as they happen to have learnt all or hardly anything.
"""

TABLE = Path(__file__).with_name("spread.json")


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """How much seeds scatter at one number of exposures, over all data sets that were run there."""

    exposures: float
    log_sd: float
    """Standard deviation over seeds of log R of one model."""
    df: float
    """Degrees of freedom that it rests on."""
    n_models: int


def seeds_for_difference(difference: float, log_sd: float, *, power: float = POWER) -> int:
    """Seeds of each of two models, paired by seed, to see one that stores `difference` more.

    The difference of two models scatters by sqrt(2) times the standard deviation of one: in runs so
    far a shared seed does not make two models alike.
    """
    return seeds_to_resolve(math.log1p(difference), math.sqrt(2) * log_sd, power=power)


def seeds_to_resolve(gap: float, sd: float, *, power: float = POWER, level: float = LEVEL) -> int:
    """Smallest n at which a two-sided t-test sees a mean `gap` away from a bound: at a level of 95%
    the smallest n with n >= ((t(0.975, n - 1) + t(power, n - 1)) sd / gap)^2, at least 2; MAX_SEEDS
    + 1 where it is larger than MAX_SEEDS.
    """
    return seeds_to_resolve_all([(gap, sd, level)], power=power)


def seeds_to_resolve_all(
    gaps: Sequence[tuple[float, float, float]], *, power: float = POWER
) -> int:
    """The same for several means and bounds, each a gap, a standard deviation and a level, all of
    which are to be seen at once: of a number between two bounds both. By Bonferroni's inequality,
    which is exact where one number cannot miss both of its bounds.
    """
    low, high = 2, MAX_SEEDS + 1
    while low < high:
        n = (low + high) // 2
        missed = sum(miss_probability(*gap, n) for gap in gaps)
        if missed <= 1 - power:
            high = n
        else:
            low = n + 1
    return low


def miss_probability(gap: float, sd: float, level: float, n: int) -> float:
    """Of n seeds, that their test does not see a mean `gap` away from a bound."""
    from scipy import special

    if sd == 0 or gap == math.inf:
        return 0.0
    reach = float(special.stdtrit(n - 1, (1 + level) / 2))
    return float(special.stdtr(n - 1, reach - gap * math.sqrt(n) / sd))


def committed_scatter() -> list[Scatter]:
    """The scatter of the committed runs, by exposures."""
    rows = json.loads(TABLE.read_text(encoding="utf-8"))["scatter"]
    return [Scatter(**row) for row in rows]


def nearest_scatter(exposures: float, known: Sequence[Scatter]) -> Scatter:
    """That at the exposures nearest by their ratio, of those with `FEWEST_DF` if there are any."""
    sure = [one for one in known if one.df >= FEWEST_DF]
    return min(sure or known, key=lambda one: abs(math.log(one.exposures / exposures)))


@dataclass(frozen=True, kw_only=True)
class SeedsAt:
    """Seeds of each of two models to see a difference, at one number of exposures of a plan."""

    exposures: float
    difference: float
    """Relative: 0.05 is 5%."""
    n_seeds: int
    """MAX_SEEDS + 1 where there would be more."""
    log_sd: float
    """Of one seed, in the committed runs."""
    known_at_exposures: float
    """Where that scatter was measured."""
    n_models: int
    """Models that it rests on."""

    def text(self) -> str:
        """One sentence."""
        count = f"more than {MAX_SEEDS:,}" if self.n_seeds > MAX_SEEDS else f"{self.n_seeds:,}"
        is_nearest = self.known_at_exposures != self.exposures
        at = f" at {self.known_at_exposures:g}, the nearest known" if is_nearest else ""
        return (
            f"Seeds of each of two models to see that one stores {self.difference:.0%} more, at "
            f"{self.exposures:g} exposures, with probability {POWER:g}: {count} (seeds scattered "
            f"by {self.log_sd:.1%} in the committed runs{at}, {self.n_models} models)."
        )


def seeds_at(exposures: Sequence[float], difference: float) -> list[SeedsAt]:
    """The seeds that each number of exposures of a sweep needs.

    Raises ValueError unless the difference is above 0.
    """
    if not 0 < difference < math.inf:
        raise ValueError(f"difference: got {difference:g}; above 0, for instance 0.05 for 5%")
    known = committed_scatter()
    nearest = {own: nearest_scatter(own, known) for own in sorted(set(exposures))}
    return [
        SeedsAt(
            exposures=own,
            difference=difference,
            n_seeds=seeds_for_difference(difference, found.log_sd),
            log_sd=found.log_sd,
            known_at_exposures=found.exposures,
            n_models=found.n_models,
        )
        for own, found in nearest.items()
    ]

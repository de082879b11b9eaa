"""The rows of a table, judged together: variances that help each other, and Holm's correction."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.comparison import Comparison
from analysis.estimate import LEVEL, Estimate
from analysis.moderation import moderate
from analysis.multiple_tests import holm
from analysis.peaks import Peaks


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """What a comparison gains from the rows beside it."""

    interval: Estimate
    """Ratio with the interval of the moderated variance, which also pays for choosing peaks."""
    p_value: float | None
    """Two-sided, of no difference at all; None for one seed, or copies of one."""
    p_holm: float | None
    """The same after Holm's correction over the rows of the table."""

    def to_record(self) -> dict[str, object]:
        """Columns beside those of the comparison."""
        return {
            "pooled_low": self.interval.low,
            "pooled_high": self.interval.high,
            "p_value": self.p_value,
            "p_holm": self.p_holm,
        }


NOTHING = Pooled(
    interval=Estimate(value=float("nan"), low=None, high=None, level=LEVEL),
    p_value=None,
    p_holm=None,
)
"""Beside a row that has no ratio."""


def pool(comparisons: Sequence[Comparison]) -> list[Pooled]:
    """One for each row of a table, in their order.

    Variances are pooled over rows at equal exposures, which set how much seeds scatter, and of one
    scale; rows of one seed have none to give, and get none.
    """
    peaks = [c.peaks for c in comparisons]
    keys = [(c.subject.exposures, c.basis) for c in comparisons]
    better = moderate_peaks(peaks, keys)
    p_values = [None if one is None else two_sided(one) for one in better]
    adjusted = iter(holm([p for p in p_values if p is not None]))
    return [
        Pooled(
            interval=NOTHING.interval if one is None else one.interval(),
            p_value=p,
            p_holm=None if p is None else next(adjusted),
        )
        for one, p in zip(better, p_values, strict=True)
    ]


def pooled_records(comparisons: Sequence[Comparison]) -> list[dict[str, object]]:
    """The lines of a table of comparisons, with what its rows tell of each other."""
    return [
        {**one.to_record(), **pooled.to_record()}
        for one, pooled in zip(comparisons, pool(comparisons), strict=True)
    ]


def moderate_peaks(peaks: Sequence[Peaks | None], keys: Sequence[object]) -> list[Peaks | None]:
    """The same with variances moderated among those of equal key and scale."""
    found = list(peaks)
    groups: dict[object, list[int]] = {}
    for i, (one, key) in enumerate(zip(peaks, keys, strict=True)):
        if one is not None and one.n_seeds > 1:
            groups.setdefault((key, one.is_log), []).append(i)
    for own in groups.values():
        group = [one for i in own if (one := peaks[i]) is not None]
        spreads = moderate([one.spread for one in group])
        for i, one, spread in zip(own, group, spreads, strict=True):
            found[i] = one.with_spread(spread)
    return found


def two_sided(one: Peaks) -> float | None:
    """P of a ratio as far from 1 if there were no difference; None where nothing scatters."""
    if not one.has_scatter:
        return None
    return min(1.0, 2 * min(one.tail_at_least(1.0), one.tail_at_most(1.0)))

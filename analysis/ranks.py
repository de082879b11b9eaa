"""Whether two runs rank architectures alike, each by R over that of GPT-2 in the same run."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.architectures import BASELINE, compare_families
from analysis.comparison import Comparison
from analysis.groups import split_by
from analysis.load import Results, ResultsError
from analysis.runs import unquantized

MIN_SHARED = 3
"""Two architectures always rank alike or opposite."""
N_PERMUTATIONS = 9_999
"""Drawn where there are more; seven architectures have 5,040."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """R over GPT-2's of every architecture at one setting of one run."""

    name: str
    """The run; with its optimizer, data, exposures and people where it has several."""
    ratios: dict[str, Comparison]
    """By architecture; those without a ratio are left out."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Two rankings of the architectures that both have."""

    names: tuple[str, str]
    families: tuple[str, ...]
    """What both rank, without GPT-2 itself."""
    correlation: float
    """Spearman's rank correlation of the ratios, from -1 to 1; nan where one side is all ties,
    or where both are the same numbers.
    """
    p: float
    """Two-sided, of no relation: by all permutations, or by many of them. Says nothing of how much
    the ratios scatter over seeds, which draws a correlation towards zero.
    """
    opposite: tuple[str, ...]
    """Above GPT-2 in one, below it in the other."""
    reason: str
    """Why there is no correlation; else empty."""
    limited: tuple[str, ...]
    """Limited by their data in one of them, so that their place may be that of R_max."""

    def line(self) -> str:
        is_number = self.correlation == self.correlation
        said = f"{self.correlation:.2f}, p {self.p:.2g}" if is_number else f"none ({self.reason})"
        opposite = ", ".join(self.opposite) or "none"
        limited = f"; limited by the data: {', '.join(self.limited)}" if self.limited else ""
        return (
            f"{self.names[0]} and {self.names[1]}: rank correlation {said}, of "
            f"{', '.join(self.families)}; on opposite sides of {BASELINE}: {opposite}{limited}"
        )

    def to_json(self) -> dict[str, object]:
        is_number = self.correlation == self.correlation
        return {
            "first": self.names[0],
            "second": self.names[1],
            "families": list(self.families),
            "rank_correlation": self.correlation if is_number else None,
            "p": self.p if is_number else None,
            "opposite": list(self.opposite),
            "limited": list(self.limited),
        }


def rankings(results: Results) -> list[Ranking]:
    """One for each optimizer, data set, exposures and people that has GPT-2 and others."""
    found: dict[tuple[str, ...], dict[str, Comparison]] = {}
    for optimizer, rows in sorted(split_by(results.used, "optimizer").items()):
        runs = unquantized(rows.assign(optimizer="adamw"))
        for one in compare_families(runs, BASELINE):
            if one.ratio is not None:
                setting = str(optimizer), *_setting(one)
                found.setdefault(setting, {})[one.subject.name] = one
    name = ", ".join(path.name for path in results.directories)
    return [
        Ranking(name=name if len(found) == 1 else f"{name} ({', '.join(setting)})", ratios=ratios)
        for setting, ratios in found.items()
    ]


def compare_rankings(found: Sequence[Ranking]) -> list[Agreement]:
    """Each two of them that share at least three architectures.

    Raises ResultsError where no two do.
    """
    agreements = [
        _agreement(first, second)
        for first, second in itertools.combinations(found, 2)
        if len(first.ratios.keys() & second.ratios.keys()) >= MIN_SHARED
    ]
    if not agreements:
        raise ResultsError(
            f"no two of {len(found)} rankings share {MIN_SHARED} architectures besides {BASELINE}: "
            "runs are needed that trained the same ones, each beside it on the same data"
        )
    return agreements


def _agreement(first: Ranking, second: Ranking) -> Agreement:
    from scipy import stats

    families = tuple(sorted(first.ratios.keys() & second.ratios.keys()))
    sides = [[_ratio(ranking.ratios[name]) for name in families] for ranking in (first, second)]

    ranks = stats.rankdata(sides[1])

    def correlation(values: Sequence[float]) -> float:
        return float(np.corrcoef(stats.rankdata(values), ranks)[0, 1])

    reason = "one side is all ties" if any(len(set(values)) == 1 for values in sides) else ""
    reason = "the same cells" if sides[0] == sides[1] else reason
    tested = None
    if not reason:
        tested = stats.permutation_test(
            (sides[0],),
            correlation,
            permutation_type="pairings",
            n_resamples=N_PERMUTATIONS,
            rng=0,
        )
    return Agreement(
        names=(first.name, second.name),
        families=families,
        correlation=float("nan") if tested is None else float(tested.statistic),
        p=float("nan") if tested is None else float(tested.pvalue),
        reason=reason,
        limited=tuple(
            name
            for name in families
            if any(ranking.ratios[name].is_demand_limited for ranking in (first, second))
        ),
        opposite=tuple(
            name for name, a, b in zip(families, *sides, strict=True) if (a - 1) * (b - 1) < 0
        ),
    )


def _ratio(one: Comparison) -> float:
    assert one.ratio is not None
    return one.ratio.value


def _setting(one: Comparison) -> tuple[str, ...]:
    subject = one.subject
    return subject.dataset, f"{subject.exposures:g} exposures", f"N={subject.n_people:,}"

"""Whether two runs rank architectures alike, each by R over that of GPT-2 in the same run."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.architectures import BASELINE, compare_families
from analysis.compare_runs import without_a_shared_optimizer
from analysis.comparison import Comparison
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
    """The run; with its data, exposures and people where it has several."""
    ratios: dict[str, Comparison]
    """By architecture; those without a ratio are left out."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Two rankings of the architectures that both have."""

    names: tuple[str, str]
    families: tuple[str, ...]
    """What both rank, without GPT-2 itself."""
    correlation: float
    """Spearman's rank correlation of the ratios, from -1 to 1; nan where one side is all ties."""
    p: float
    """Two-sided, of no relation: by all permutations, or by many of them. Says nothing of how much
    the ratios scatter over seeds, which draws a correlation towards zero.
    """
    opposite: tuple[str, ...]
    """Above GPT-2 in one, below it in the other."""

    def line(self) -> str:
        is_number = self.correlation == self.correlation
        said = f"{self.correlation:.2f}, p {self.p:.2g}" if is_number else "none, one side is tied"
        opposite = ", ".join(self.opposite) or "none"
        return (
            f"{self.names[0]} and {self.names[1]}: rank correlation {said}, of "
            f"{', '.join(self.families)}; on opposite sides of {BASELINE}: {opposite}"
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
        }


def rankings(results: Results) -> list[Ranking]:
    """One for each data set, exposures and people that has GPT-2 and others."""
    runs = unquantized(without_a_shared_optimizer(results.used))
    found = [one for one in compare_families(runs, BASELINE) if one.ratio is not None]
    name = ", ".join(path.name for path in results.directories)
    settings = sorted({_setting(one) for one in found})
    return [
        Ranking(
            name=name if len(settings) == 1 else f"{name} ({_words(setting)})",
            ratios={one.subject.name: one for one in found if _setting(one) == setting},
        )
        for setting in settings
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

    def correlation(values: Sequence[float]) -> float:
        return float(stats.spearmanr(values, sides[1]).statistic)

    is_tied = any(len(set(values)) == 1 for values in sides)
    tested = None
    if not is_tied:
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
        opposite=tuple(
            name for name, a, b in zip(families, *sides, strict=True) if (a - 1) * (b - 1) < 0
        ),
    )


def _ratio(one: Comparison) -> float:
    assert one.ratio is not None
    return one.ratio.value


def _setting(one: Comparison) -> tuple[str, float, int]:
    return one.subject.dataset, one.subject.exposures, one.subject.n_people


def _words(setting: tuple[str, float, int]) -> str:
    dataset, exposures, n_people = setting
    return f"{dataset}, {exposures:g} exposures, N={n_people:,}"

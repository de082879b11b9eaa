"""Claims that state a ratio of capacities: what is measured, where it counts, and the verdict."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.claims.claim import Check, Outcome, Verdict
from analysis.comparison import Basis, Comparison
from analysis.groups import is_full_pool_demand

# The suggested pass band around a stated factor.
BAND = 1.25


def around(factor: float) -> tuple[float, float]:
    """The band of 25% around a stated ratio, the same for it and its inverse."""
    return factor / BAND, factor * BAND


@dataclass(frozen=True, kw_only=True)
class StatedRatio:
    """One ratio that the paper states, in its own setting."""

    name: str
    """What is compared, for sentences: `llama`."""
    find: Callable[[pd.DataFrame], Sequence[Comparison]]
    """Every comparison of this kind among usable rows, in whatever setting."""
    band: tuple[float, float]
    """Smallest and largest ratio at which the statement holds."""
    exposures: float
    """Exposures of the subject in the paper."""
    baseline_exposures: float | None = None
    """Exposures of the baseline; None if they are those of the subject."""
    datasets: tuple[str, ...] = ("bioS",)
    """Data sets of the subject in the paper; all with the paper's pools."""
    min_people: int = 50_000
    """Fewest people in the paper's figure."""
    min_params: int = 0
    """Fewest parameters of the models that the statement is about."""
    is_up_to: bool = False
    """Whether the paper states the largest loss only: the others may be smaller."""
    family: str | None = None
    """Architecture that the paper used for both sides, where they do not differ in it."""

    def is_papers(self, comparison: Comparison) -> bool:
        """Whether this is the setting of the paper: pools, people, exposures, sizes."""
        subject, baseline = comparison.subject, comparison.baseline
        wanted = self.baseline_exposures or self.exposures
        return (
            subject.dataset in self.datasets
            and is_full_pool_demand(subject.n_people, subject.demand_bits)
            and (subject.exposures, baseline.exposures) == (self.exposures, wanted)
            and subject.n_people >= self.min_people
            and subject.n_params[0] >= self.min_params
            and comparison.basis in (Basis.PEAKS, Basis.SAME_WEIGHTS)
            and not comparison.is_demand_limited
            and self.family in (None, subject.family)
        )

    @property
    def sizes(self) -> str:
        """Which people and models a test needs, in words."""
        models = f", peaks at {self.min_params:,} parameters or more" if self.min_params else ""
        return f"N from {self.min_people:,}{models}"


def check_ratios(*stated: StatedRatio) -> Check:
    """Every stated ratio lies in its band wherever the rows have the paper's setting.

    Holds only if every one was measured there; otherwise the reason says what is missing, and
    what was measured in other settings.
    """

    def check(rows: pd.DataFrame) -> Outcome:
        evidence = [_gather(one, rows) for one in stated]
        measured = [one for one in evidence if one.own]
        missing = [one for one in evidence if not one.own]
        numbers = {key: value for one in evidence for key, value in one.numbers.items()}
        parts = [one.sentence for one in measured]
        if not all(one.is_inside for one in measured):
            return Verdict.FAILS, "; ".join(parts), numbers
        if missing:
            parts = [_needs([one.stated for one in missing]), *parts, *_elsewhere(missing)]
            return Verdict.NOT_TESTED, "; ".join(parts), numbers
        return Verdict.HOLDS, "; ".join(parts), numbers

    return check


@dataclass(frozen=True, kw_only=True)
class _Evidence:
    """What the rows say of one stated ratio."""

    stated: StatedRatio
    found: list[Comparison]
    """In any setting."""
    own: list[Comparison]
    """In the paper's setting, the smallest ratio first."""

    @property
    def is_inside(self) -> bool:
        ratios, (low, high) = _ratios(self.own), self.stated.band
        largest = ratios[0] if self.stated.is_up_to else ratios[-1]
        return low <= ratios[0] and largest <= high

    @property
    def sentence(self) -> str:
        """`llama 0.78x of gpt2 at 100 exposures, N=500,000 (inside 0.62 to 0.96)`."""
        has_range = len(self.own) > 1 and not self.stated.is_up_to
        ends = [self.own[0], self.own[-1]] if has_range else self.own[:1]
        values = " to ".join(dict.fromkeys(f"{value:.2f}x" for value in _ratios(ends)))
        where = " and ".join(f"{c.subject.n_people:,}" for c in ends)
        side = "inside" if self.is_inside else "outside"
        low, high = self.stated.band
        return (
            f"{self.stated.name} {values} of {self.own[0].baseline.name} at "
            f"{_exposures(self.own[0])}, N={where} ({side} {low:.2f} to {high:.2f})"
        )

    @property
    def numbers(self) -> dict[str, float]:
        """Every ratio found, by what it is."""
        return {
            f"{self.stated.name} / {c.baseline.name}, {c.subject.dataset}, N={c.subject.n_people}, "
            f"{c.subject.exposures:g} exposures": round(ratio, 4)
            for c, ratio in zip(self.found, _ratios(self.found), strict=True)
        }


def _gather(stated: StatedRatio, rows: pd.DataFrame) -> _Evidence:
    found = [c for c in stated.find(rows) if c.ratio is not None]
    own = [c for c in found if stated.is_papers(c)]
    own.sort(key=lambda comparison: _ratios([comparison])[0])
    return _Evidence(stated=stated, found=found, own=own)


def _ratios(found: Sequence[Comparison]) -> list[float]:
    return [c.ratio.value for c in found if c.ratio is not None]


def _needs(missing: Sequence[StatedRatio]) -> str:
    """Names of what was not measured, grouped by what they need."""
    groups = []
    for sizes in dict.fromkeys(one.sizes for one in missing):
        own = [one for one in missing if one.sizes == sizes]
        names = ", ".join(dict.fromkeys(one.name for one in own))
        exposures = ", ".join(dict.fromkeys(f"{one.exposures:g}" for one in own))
        groups.append(f"{names} at {exposures} exposures, {sizes}")
    return f"not measured with the paper's full pools: {'; '.join(groups)}"


def _elsewhere(missing: Sequence[_Evidence]) -> list[str]:
    """What other settings show of the missing ratios, in one sentence; none if nothing."""
    shown = [(one.stated.name, _nearest(one)) for one in missing]
    texts = [_range(name, own) for name, own in shown if own]
    if not texts:
        return []
    sides = [c.subject for _, own in shown for c in own]
    is_full = any(is_full_pool_demand(side.n_people, side.demand_bits) for side in sides)
    where = "in other settings" if is_full else "in miniature"
    return [f"{where}: {', '.join(dict.fromkeys(texts))}"]


def _nearest(evidence: _Evidence) -> list[Comparison]:
    """Those limited by capacity, not by data, where there are any; of them those of the paper's
    family, where there are any, and of the exposures nearest to the paper's by their ratio.
    """
    found = [c for c in evidence.found if not c.is_demand_limited] or evidence.found
    found = [c for c in found if c.subject.family == evidence.stated.family] or found

    def distance(comparison: Comparison) -> float:
        ratio = comparison.subject.exposures / evidence.stated.exposures
        return max(ratio, 1 / ratio)

    nearest = min(map(distance, found), default=0.0)
    return [c for c in found if distance(c) == nearest]


def _range(name: str, found: Sequence[Comparison]) -> str:
    """`llama 0.86x of gpt2 [0.80, 0.93] at 100 exposures`, or the range of several."""
    ratios, first = _ratios(found), found[0]
    values = " to ".join(dict.fromkeys(f"{r:.2f}x" for r in (min(ratios), max(ratios))))
    interval = ""
    if len(ratios) == 1 and first.ratio and first.ratio.low and first.ratio.high:
        interval = f" [{first.ratio.low:.2f}, {first.ratio.high:.2f}]"
    caution = " (limited by the data)" if first.is_demand_limited else ""
    at = f"{_exposures(first)}{caution}"
    return f"{name} {values} of {first.baseline.name}{interval} at {at}"


def _exposures(comparison: Comparison) -> str:
    """Exposures of the subject, and of the baseline where they are others."""
    subject, baseline = comparison.subject.exposures, comparison.baseline.exposures
    return f"{subject:g} exposures" + ("" if subject == baseline else f" against {baseline:g}")

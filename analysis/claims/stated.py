"""Claims that state a ratio of capacities: what is measured, and where it counts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.claims.claim import Check, Outcome
from analysis.claims.judge import Part, Region, Unit, judge
from analysis.claims.scope import MIN_PARAMS
from analysis.comparison import Basis, Comparison
from analysis.groups import is_full_pool_demand
from analysis.peaks import Peaks
from analysis.runs import Run, group_by, runs_of

MAX_SHARE_OF_DEMAND = 0.8
"""Peak over R_max of the model there up to which a ratio of peaks is one of capacities. Beyond, the
data limit both sides: at 0.8, on a corner of sharpness 5, a tenth of difference shows as 7%.
"""


@dataclass(frozen=True, kw_only=True)
class StatedRatio:
    """One ratio that the paper states, in its own setting."""

    name: str
    """What is compared, for sentences: `llama`."""
    find: Callable[[Sequence[Run]], Sequence[Comparison]]
    """Every comparison of this kind among runs, in whatever setting."""
    region: Region
    """Where the ratio must lie."""
    exposures: float
    """Exposures of the subject in the paper."""
    baseline_exposures: float | None = None
    """Exposures of the baseline; None if they are those of the subject."""
    datasets: tuple[str, ...] = ("bioS",)
    """Data sets of the subject in the paper; all with the paper's pools."""
    min_people: int = 50_000
    """Fewest people in the paper's figure."""
    min_params: int = MIN_PARAMS
    """Fewest parameters of the models that the statement is about."""
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
            and (comparison.basis is Basis.SAME_WEIGHTS or _is_of_capacities(comparison))
            and self.family in (None, subject.family)
        )

    @property
    def sizes(self) -> str:
        """Which people and models a test needs, in words."""
        models = f", peaks at {self.min_params:,} parameters or more"
        return f"N from {self.min_people:,}{models if self.min_params > MIN_PARAMS else ''}"


def check_ratios(*stated: StatedRatio) -> Check:
    """Every stated ratio lies in its region wherever the rows have the paper's setting.

    Holds only if every one was measured there; otherwise the reason says what is missing, and
    what was measured in other settings.
    """

    def check(rows: pd.DataFrame) -> Outcome:
        runs = runs_of(rows)
        evidence = [_gather(one, runs) for one in stated]
        missing = [one for one in evidence if not one.own]
        elsewhere = _elsewhere(missing)
        return judge(
            [one.part for one in evidence if one.own],
            missing=_needs([one.stated for one in missing]) if missing else "",
            aside=elsewhere,
        )

    return check


def _is_of_capacities(comparison: Comparison) -> bool:
    shares = comparison.subject.share_of_demand, comparison.baseline.share_of_demand
    return comparison.basis is Basis.PEAKS and max(shares) <= MAX_SHARE_OF_DEMAND


@dataclass(frozen=True, kw_only=True)
class _Evidence:
    """What the rows say of one stated ratio."""

    stated: StatedRatio
    found: list[Comparison]
    """In any setting, within one run."""
    own: list[tuple[Comparison, Peaks]]
    """In the paper's setting."""

    @property
    def part(self) -> Part:
        first = self.own[0][0]
        return Part(
            name=f"{self.stated.name} of {first.baseline.name} at {_exposures(first)}",
            region=self.stated.region,
            units=tuple(
                Unit(
                    where=_where(c),
                    peaks=peaks,
                    pooled_with=(c.subject.exposures, c.basis, self._bits(c)),
                )
                for c, peaks in self.own
            ),
            unit_of_number="x",
        )

    def _bits(self, comparison: Comparison) -> str:
        """8 and 4 bits differ in how noisy they are."""
        return self.stated.name if comparison.basis is Basis.SAME_WEIGHTS else ""


def _gather(stated: StatedRatio, runs: Sequence[Run]) -> _Evidence:
    own = [(c, c.peaks) for c in stated.find(runs) if c.peaks is not None and stated.is_papers(c)]
    # Elsewhere runs are tuned and sized as each likes: a ratio across them is of their settings.
    each = group_by(runs, lambda run: run.cell[0]).values()
    found = [c for of_run in each for c in stated.find(of_run) if c.peaks is not None]
    own.sort(key=lambda pair: (pair[0].subject.n_people, pair[0].subject.sizes))
    return _Evidence(stated=stated, found=found, own=own)


def _where(comparison: Comparison) -> str:
    subject = comparison.subject
    model = f"{subject.sizes[0]}, " if comparison.basis is Basis.SAME_WEIGHTS else ""
    return f"{model}N={subject.n_people:,}"


def _needs(missing: Sequence[StatedRatio]) -> str:
    """Names of what was not measured, grouped by what they need."""
    groups = []
    for sizes in dict.fromkeys(one.sizes for one in missing):
        own = [one for one in missing if one.sizes == sizes]
        names = ", ".join(dict.fromkeys(one.name for one in own))
        exposures = ", ".join(dict.fromkeys(f"{one.exposures:g}" for one in own))
        groups.append(f"{names} at {exposures} exposures, {sizes}")
    return f"not measured with the paper's full pools: {'; '.join(groups)}"


def _elsewhere(missing: Sequence[_Evidence]) -> str:
    """What other settings show of the missing ratios, in one sentence; empty if nothing."""
    shown = [(one.stated.name, _nearest(one)) for one in missing]
    texts = [_range(name, own) for name, own in shown if own]
    if not texts:
        return ""
    sides = [c.subject for _, own in shown for c in own]
    is_full = any(is_full_pool_demand(side.n_people, side.demand_bits) for side in sides)
    where = "in other settings" if is_full else "in miniature"
    return f"{where}: {', '.join(dict.fromkeys(texts))}"


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
    estimates, first = [c.ratio for c in found if c.ratio is not None], found[0]
    ratios = [estimate.value for estimate in estimates]
    values = " to ".join(dict.fromkeys(f"{r:.2f}x" for r in (min(ratios), max(ratios))))
    interval = ""
    if len(estimates) == 1 and estimates[0].low is not None and estimates[0].high is not None:
        interval = f" [{estimates[0].low:.2f}, {estimates[0].high:.2f}]"
    caution = " (limited by the data)" if first.is_demand_limited else ""
    at = f"{_exposures(first)}{caution}"
    return f"{name} {values} of {first.baseline.name}{interval} at {at}"


def _exposures(comparison: Comparison) -> str:
    """Exposures of the subject, and of the baseline where they are others."""
    subject, baseline = comparison.subject.exposures, comparison.baseline.exposures
    return f"{subject:g} exposures" + ("" if subject == baseline else f" against {baseline:g}")

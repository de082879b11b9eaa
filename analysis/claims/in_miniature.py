"""The paper's claims asked of miniatures: models of ten to a hundred thousand parameters.

The statements are the paper's, judged by the same regions and the same intervals as at its own
sizes, run by run. A miniature agrees with a statement, differs from it, or leaves it open. None of
this decides the claim, which is about other sizes and other data.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import pandas as pd

from analysis.board import seed_hours_of
from analysis.claims.claim import Verdict
from analysis.claims.judge import Part, Unit, judge, pool_variances, seeds_needed
from analysis.claims.miniature_levels import levels_of
from analysis.claims.relative import IN_MINIATURE
from analysis.claims.stated import MAX_SHARE_OF_DEMAND, StatedRatio
from analysis.comparison import Basis, Comparison
from analysis.groups import optimizer_of
from analysis.load import load_results
from analysis.peaks import peaks_of_values
from analysis.runs import Run, runs_of
from analysis.seeds import committed_scatter, nearest_scatter

MAX_DISTANCE = 4.0
"""Exposures over the paper's, or their inverse, up to which a number stands beside a statement."""


class Word(StrEnum):
    """What a miniature says of a statement."""

    AGREES = "agrees"
    DIFFERS = "differs"
    OPEN = "open"
    ASIDE = "other exposures"


_WORDS = {Verdict.HOLDS: Word.AGREES, Verdict.FAILS: Word.DIFFERS}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one run says of one statement."""

    claim: str
    part: Part
    run: str
    exposures: float
    """Of the subject, in the run."""
    n_params: tuple[int, int]
    n_people: tuple[int, int]
    distance: float
    """Exposures over the paper's, or their inverse, whichever is above 1."""
    n_scattering: int
    """Models trained apart in one number: two in a ratio, none where weights were rounded."""
    seed_hours: float
    """What one seed more takes, of every model on both sides, on the machine of the run."""

    @property
    def word(self) -> Word:
        """By intervals of 95%, of this statement alone; at other exposures than the paper's it says
        nothing of the statement.
        """
        if self.distance != 1:
            return Word.ASIDE
        return _WORDS.get(judge([self.part]).verdict, Word.OPEN)

    @property
    def n_seeds(self) -> int:
        """Of models quantized after training: models."""
        return min(unit.peaks.n_seeds for unit in self.part.units)

    @property
    def n_needed(self) -> int:
        """Seeds that decide the statement, if the numbers stay where they are; MAX_SEEDS + 1: more
        than there is time for.
        """
        log_sd = nearest_scatter(self.exposures, committed_scatter()).log_sd
        return seeds_needed(self.part, self.n_scattering**0.5 * log_sd)

    @property
    def hours_needed(self) -> float:
        """Of training, for the seeds that are missing."""
        return max(0, self.n_needed - self.n_seeds) * self.seed_hours


def read_answers(directories: Iterable[Path]) -> list[Answer]:
    """What runs in miniature say, by claim: of each statement those at the paper's exposures, or
    where there are none those within a factor of MAX_DISTANCE. Raises `ResultsError` where a run
    cannot be read.
    """
    found = [one for directory in directories for one in _answers_of(directory)]
    measured = {(one.claim, one.part.name) for one in found if one.distance == 1}
    shown = [
        one
        for one in found
        if one.distance == 1
        or (one.distance <= MAX_DISTANCE and (one.claim, one.part.name) not in measured)
    ]
    return sorted(_without_copies(shown), key=lambda one: _place(one.claim))


def _place(claim: str) -> tuple[float, str]:
    """By number and letter; what another paper says comes last."""
    number = re.match(r"\d+", claim)
    return (float(number[0]) if number else math.inf, claim)


def _without_copies(answers: Iterable[Answer]) -> list[Answer]:
    """Cells that one run took over from another count once, in the first."""
    found: dict[tuple[object, ...], Answer] = {}
    for one in answers:
        values = tuple(unit.peaks.value for unit in one.part.units)
        found.setdefault((one.claim, one.part.name, values), one)
    return list(found.values())


def _answers_of(directory: Path) -> list[Answer]:
    used = load_results([directory]).used
    if used.empty:
        return []
    hours = seed_hours_of(used)
    found = [*_levels(used, directory.name, hours), *_ratios(used, directory.name, hours)]
    parts = pool_variances([one.part for one in found])
    return [replace(one, part=part) for one, part in zip(found, parts, strict=True)]


def _ratios(used: pd.DataFrame, name: str, hours: Mapping[str, float]) -> Iterator[Answer]:
    runs = runs_of(used)
    for claim, statements in IN_MINIATURE.items():
        for stated in statements:
            settings: dict[tuple[float, int | None], list[Comparison]] = {}
            for one in stated.find(runs):
                if _counts(one, stated):
                    # Rounded weights scatter from model to model, whatever these know.
                    people = None if one.basis is Basis.SAME_WEIGHTS else one.subject.n_people
                    settings.setdefault((one.subject.exposures, people), []).append(one)
            for (exposures, people), own in settings.items():
                wanted = stated.exposures
                part, models = _part(own, stated), _models(runs, own)
                n_shared = part.units[0].peaks.n_seeds if people is None else 1
                yield Answer(
                    claim=claim,
                    part=part,
                    run=name,
                    exposures=exposures,
                    n_params=_ends(n for c in own for n in c.subject.n_params),
                    n_people=_ends(c.subject.n_people for c in own),
                    distance=max(exposures / wanted, wanted / exposures),
                    n_scattering=0 if people is None else 2,
                    seed_hours=_hours_of(models, hours) / n_shared,
                )


def _counts(comparison: Comparison, stated: StatedRatio) -> bool:
    """Whether it is a ratio of capacities, and not the paper's own."""
    if comparison.peaks is None or stated.is_papers(comparison):
        return False
    if stated.baseline_exposures not in (None, comparison.baseline.exposures):
        return False
    if stated.family not in (None, comparison.subject.family):
        return False
    shares = comparison.subject.share_of_demand, comparison.baseline.share_of_demand
    is_of_weights = comparison.basis is Basis.SAME_WEIGHTS
    return is_of_weights or max(shares) <= MAX_SHARE_OF_DEMAND


def _part(own: Sequence[Comparison], stated: StatedRatio) -> Part:
    first = own[0]
    kind = optimizer_of(first.subject.family)
    peaks = [c.peaks for c in own if c.peaks is not None]
    if first.basis is Basis.SAME_WEIGHTS:
        models: dict[tuple[object, ...], float] = {}
        for c in own:
            side = c.subject
            if c.ratio is not None:
                models.setdefault((side.n_people, side.family, side.sizes), c.ratio.value)
        peaks, kind = [peaks_of_values([*models.values()])], stated.name
    pooled_with = first.subject.exposures, first.basis, kind
    return Part(
        name=f"{stated.name} of {first.baseline.name}",
        region=stated.region,
        units=tuple(Unit(where="", peaks=one, pooled_with=pooled_with) for one in peaks),
        unit_of_number="x",
    )


def _levels(used: pd.DataFrame, name: str, hours: Mapping[str, float]) -> Iterator[Answer]:
    for level in levels_of(used):
        yield Answer(
            claim=level.claim,
            part=level.part,
            run=name,
            exposures=level.exposures,
            n_params=_ends(run.n_params for run in level.runs),
            n_people=_ends(run.n_people for run in level.runs),
            distance=1.0,
            n_scattering=1,
            seed_hours=_hours_of(level.runs, hours),
        )


def _models(runs: Sequence[Run], comparisons: Sequence[Comparison]) -> list[Run]:
    """The trained models of both sides."""
    sides = {
        (side.dataset, side.family, side.exposures, side.n_people)
        for one in comparisons
        for side in (one.subject, one.baseline)
    }
    return [
        run
        for run in runs
        if run.quantization == "none"
        and (run.dataset, run.family, run.exposures, run.n_people) in sides
    ]


def _hours_of(runs: Sequence[Run], hours: Mapping[str, float]) -> float:
    """One seed more of each model."""
    models: dict[tuple[object, ...], list[float]] = {}
    for run in runs:
        key = run.dataset, run.family, run.exposures, run.n_people, run.size
        models.setdefault(key, []).append(hours.get(run.cell[1], 0.0))
    return sum(sum(own) / len(own) for own in models.values())


def _ends(values: Iterable[int]) -> tuple[int, int]:
    found = list(values)
    return min(found), max(found)

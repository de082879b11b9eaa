"""Capacity for useful knowledge when most of training is about other people (Figure 8)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.comparison import Comparison, compare
from analysis.runs import Run, group_by, unquantized

# `bioS-mini-junk7x1K-token`: table, tokens of junk for each useful one, junk people, domain token;
# behind them other tables and whether the biographies are mixed.
JUNK = re.compile(
    r"(?P<table>.+?)-junk(?P<ratio>[^x]+)x(?P<people>\d+[KM]?)(?P<token>-token)?"
    r"(?P<parts>\+.+?)?(?P<mixed>-mixed)?"
)
SCALES = {"": 1, "K": 10**3, "M": 10**6}


@dataclass(frozen=True, kw_only=True, order=True)
class JunkCase:
    """What stands around the useful biographies."""

    ratio: float
    """Tokens of junk for each useful token."""
    people: str
    """Junk people, for instance 100M."""
    token: bool
    """Whether useful biographies carry a token of their own."""
    mixed: bool
    """Whether windows hold both."""

    @property
    def n_people(self) -> int:
        """Junk people (N')."""
        digits = self.people.rstrip("KM")
        return int(digits) * SCALES[self.people[len(digits) :]]

    def is_repeated(self, n_people: float) -> bool:
        """Whether a junk person appears more often than one of the `n_people` useful ones."""
        return self.ratio * n_people > self.n_people

    @property
    def label(self) -> str:
        """For legends, for instance `7:1 junk, 100M people, token`."""
        words = [f"{self.ratio:g}:1 junk", f"{self.people} people"]
        return ", ".join([*words, *["token"] * self.token, *["mixed"] * self.mixed])


def parse_junk(dataset: str) -> tuple[str, JunkCase | None]:
    """The data set without its junk, and the junk; None where there is none.

    `bioS-mini-junk7x1K-token` -> `bioS-mini`, 7:1 junk of 1,000 people with token.
    """
    match = JUNK.fullmatch(dataset)
    if match is None:
        return dataset, None
    case = JunkCase(
        ratio=float(match["ratio"]),
        people=match["people"],
        token=match["token"] is not None,
        mixed=match["mixed"] is not None,
    )
    # Other tables are mixed, or not, without junk too.
    tables = match["parts"] + (match["mixed"] or "") if match["parts"] else ""
    return match["table"] + tables, case


@dataclass(frozen=True, kw_only=True)
class JunkPoint:
    """Useful capacity in one case, relative to that without junk."""

    case: JunkCase | None
    """None for the cells without junk themselves."""
    family: str
    comparison: Comparison
    """The baseline is without junk, at one number of exposures for all points, as in the paper."""
    same_exposures: Comparison | None
    """The same against no junk at as many exposures; None where there are no such cells."""

    def to_record(self) -> dict[str, object]:
        """One flat line of a table."""
        same = self.same_exposures.ratio if self.same_exposures else None
        return {
            "family": self.family,
            "junk": self.case.label if self.case else "none",
            **self.comparison.to_record(),
            "relative_to_same_exposures": same and same.value,
        }


def compare_junk(rows: pd.DataFrame, reference: float | None = None) -> list[JunkPoint]:
    """Every case with junk, and those without, against the cells without junk.

    Same table, family and people, and the same run directory where it has any without junk; one
    point for each case and exposures. The cells without junk are those at `reference` exposures, or
    else at the fewest. Empty where there are no cells without junk, or none with it.
    """
    return compare_junk_runs(unquantized(rows), reference)


def compare_junk_runs(runs: Sequence[Run], reference: float | None = None) -> list[JunkPoint]:
    """The same from unquantized runs."""
    tables: dict[tuple[str, str, int], list[tuple[JunkCase | None, Run]]] = {}
    for table, case, run in [(*parse_junk(run.dataset), run) for run in runs]:
        tables.setdefault((table, run.family, run.n_people), []).append((case, run))
    return [
        point
        for (_, family, _), cells in sorted(tables.items(), key=lambda item: item[0])
        for point in _points(family, cells, reference)
    ]


def _points(
    family: str, cells: list[tuple[JunkCase | None, Run]], reference: float | None
) -> list[JunkPoint]:
    with_junk = [(case, run) for case, run in cells if case is not None]
    controls = [run for case, run in cells if case is None]
    # Cells of another run may have been tuned or measured otherwise.
    directories = {run.cell[0] for _, run in with_junk}
    beside = [run for run in controls if run.cell[0] in directories]
    without = _by_exposures(beside or controls)
    if not with_junk or not without:
        return []
    baseline = without[reference if reference in without else min(without)]

    def point(case: JunkCase | None, own: list[Run]) -> JunkPoint:
        names = (case.label if case else "no junk", "no junk")
        same = without.get(own[0].exposures)
        return JunkPoint(
            case=case,
            family=family,
            comparison=compare(names, own, baseline),
            same_exposures=None if same is None else compare(names, own, same),
        )

    found = [point(None, own) for own in without.values()]
    for case in sorted({case for case, _ in with_junk}):
        its = _by_exposures([run for other, run in with_junk if other == case])
        found += [point(case, own) for own in its.values()]
    return found


def _by_exposures(runs: list[Run]) -> dict[float, list[Run]]:
    """The runs by exposures, fewest first."""
    return dict(sorted(group_by(runs, lambda run: run.exposures).items()))

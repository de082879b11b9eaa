"""Capacity for useful knowledge when most of training is about other people (Figure 8)."""

import re
from dataclasses import dataclass

import pandas as pd

from analysis.comparison import Comparison, compare
from analysis.groups import families_of, split_by

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
    """The baseline is without junk, at the fewest exposures that there are, as in the paper."""
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


def compare_junk(rows: pd.DataFrame) -> list[JunkPoint]:
    """Every case with junk, and those without, against the cells without junk.

    Same table, family and people; one point for each case and exposures. Empty where there are no
    cells without junk, or none with it.
    """
    plain = rows[rows["quantization"] == "none"]
    parsed = [parse_junk(dataset) for dataset in plain["dataset"]]
    plain = plain.assign(
        family=families_of(plain),
        table=pd.Series([table for table, _ in parsed], index=plain.index, dtype=object),
        case=pd.Series([case for _, case in parsed], index=plain.index, dtype=object),
    )
    points = []
    for (_, family, _), cells in plain.groupby(["table", "family", "n_people"]):
        points += _points(str(family), cells)
    return points


def _points(family: str, cells: pd.DataFrame) -> list[JunkPoint]:
    has_junk = cells["case"].notna()
    if not has_junk.any() or has_junk.all():
        return []
    without = split_by(cells[~has_junk], "exposures")
    reference = without[min(without)]

    def point(case: JunkCase | None, own: pd.DataFrame) -> JunkPoint:
        names = (case.label if case else "no junk", "no junk")
        same = without.get(own["exposures"].iloc[0])
        return JunkPoint(
            case=case,
            family=family,
            comparison=compare(names, own, reference),
            same_exposures=None if same is None else compare(names, own, same),
        )

    found = [point(None, own) for own in without.values()]
    for case in sorted(set(cells.loc[has_junk, "case"])):
        its = cells[[other == case for other in cells["case"]]]
        found += [point(case, own) for own in split_by(its, "exposures").values()]
    return found

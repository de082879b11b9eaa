"""A claim, and what comes of it: a verdict with the numbers that it rests on."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import pandas as pd


class Verdict(StrEnum):
    HOLDS = "holds"
    FAILS = "does not hold"
    NOT_TESTED = "not tested"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The verdict on one claim, with what it rests on."""

    claim: str
    """Short name, for instance 1a."""
    statement: str
    verdict: Verdict
    reason: str
    """The numbers and the criterion; or what is missing for a test."""
    numbers: dict[str, float]
    """Named quantities behind the verdict, in the units that their names say."""

    def to_json(self) -> dict[str, object]:
        return {
            "claim": self.claim,
            "statement": self.statement,
            "verdict": str(self.verdict),
            "reason": self.reason,
            "numbers": self.numbers,
        }


Outcome = tuple[Verdict, str, dict[str, float]]
Check = Callable[[pd.DataFrame], Outcome]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim of the paper and how it is tested."""

    name: str
    statement: str
    check: Check
    """From usable rows of any kind to an outcome; it picks the rows that it is about."""

    def judge(self, used_rows: pd.DataFrame) -> Finding:
        """The verdict; `not tested` where the rows cannot speak to the claim."""
        verdict, reason, numbers = self.check(used_rows)
        return Finding(
            claim=self.name,
            statement=self.statement,
            verdict=verdict,
            reason=reason,
            numbers=numbers,
        )

"""A claim, and what comes of it: a verdict with the numbers that it rests on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import pandas as pd


class Verdict(StrEnum):
    HOLDS = "holds"
    FAILS = "does not hold"
    UNDECIDED = "undecided"
    """Measured, but the numbers are too few or too noisy to say."""
    NOT_MEASURED = "not measured"
    """The rows are not about the claim, or about a part of it only."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a check makes of the rows."""

    verdict: Verdict
    reason: str
    """The numbers and the criterion; or what is missing."""
    decided_by: str = ""
    """What would decide the claim; empty where it is decided."""
    numbers: dict[str, float] = field(default_factory=dict)
    """Named quantities behind the verdict, in the units that their names say."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The verdict on one claim, with what it rests on."""

    claim: str
    """Short name, for instance 1a."""
    statement: str
    outcome: Outcome
    contradiction: str
    """Where the sources contradict the claim, or each other about it; may be empty."""

    @property
    def verdict(self) -> Verdict:
        return self.outcome.verdict

    @property
    def reason(self) -> str:
        return self.outcome.reason

    @property
    def numbers(self) -> dict[str, float]:
        return self.outcome.numbers

    def to_json(self) -> dict[str, object]:
        return {
            "claim": self.claim,
            "statement": self.statement,
            "verdict": str(self.verdict),
            "reason": self.reason,
            "decided_by": self.outcome.decided_by,
            "contradiction": self.contradiction,
            "numbers": self.outcome.numbers,
        }


Check = Callable[[pd.DataFrame], Outcome]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim of the paper and how it is tested."""

    name: str
    statement: str
    check: Check
    """From usable rows of any kind to an outcome; it picks the rows that it is about."""
    contradiction: str = ""
    """Where the sources contradict the claim, or each other about it."""

    def judge(self, used_rows: pd.DataFrame) -> Finding:
        """The verdict; `not measured` where the rows cannot speak to the claim."""
        return Finding(
            claim=self.name,
            statement=self.statement,
            outcome=self.check(used_rows),
            contradiction=self.contradiction,
        )

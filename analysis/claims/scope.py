"""The rows that a claim about one kind of model is about."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from analysis.claims.claim import Outcome, Verdict
from analysis.groups import families_of, has_full_pools

MIN_PARAMS = 200_000
"""GPT2-1-2, the paper's smallest shape, has 198,528 parameters without its embedding (64 per head)
and 617,728 with it. Miniatures, whose heads are narrower, lie below.
"""
MIN_PEOPLE = 10_000
"""Fewest people in the paper (Figure 1, 1000 exposures)."""
# `bioD-K6-C1-D50-L1-T2000` and nothing behind it: full pools, no junk, nothing else.
FULL_BIOD = re.compile(r"bioD-K\d+-C\d+-D\d+-L\d+-T\d+")


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The rows that a claim is about."""

    datasets: tuple[str, ...]
    """Data sets; `bioD` stands for bioD of any numbers."""
    exposures: int
    min_people: int = MIN_PEOPLE
    """Fewest people in the paper."""

    def select(self, rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
        """Usable rows of unquantized GPT-2 in scope; where none, also the reason."""
        chosen = rows[rows["quantization"] == "none"]
        steps: list[tuple[Callable[[pd.DataFrame], pd.Series], str]] = [
            (self._in_datasets, self._why_no_rows(chosen)),
            (lambda rows: families_of(rows) == "gpt2", "no gpt2 rows among them"),
            (
                lambda rows: rows["exposures"] == self.exposures,
                f"no rows at {self.exposures} exposures (found: {{exposures}})",
            ),
            (
                lambda rows: rows["n_params"] >= MIN_PARAMS,
                f"miniatures: the paper's models have {MIN_PARAMS:,} parameters or more",
            ),
            (
                lambda rows: _is_biod(rows) | has_full_pools(rows),
                "the pools are not the paper's (miniature or own): the claim is about full ones",
            ),
            (
                lambda rows: _is_biod(rows) | (rows["n_people"] >= self.min_people),
                f"fewer than {self.min_people:,} people, the fewest of the paper",
            ),
        ]
        for is_wanted, reason in steps:
            wanted = chosen[is_wanted(chosen)]
            if wanted.empty:
                return wanted, reason.replace("{exposures}", _exposures_of(chosen))
            chosen = wanted
        return chosen, ""

    def _why_no_rows(self, rows: pd.DataFrame) -> str:
        """No finished rows of these data sets; or only some with other pools, and which."""
        wanted = " or ".join(self.datasets)
        kin = sorted({d for d in rows["dataset"] if d.split("-")[0] in self.datasets})
        if kin:
            found = ", ".join(kin[:3]) + (", ..." if len(kin) > 3 else "")
            return f"{found}: other pools or data than the paper's, which is full {wanted}"
        return f"no finished rows of {wanted}"

    def _in_datasets(self, rows: pd.DataFrame) -> pd.Series:
        wanted = [
            name in self.datasets or ("bioD" in self.datasets and bool(FULL_BIOD.fullmatch(name)))
            for name in rows["dataset"]
        ]
        return pd.Series(wanted, index=rows.index, dtype=bool)


def within(
    scope: Scope, check: Callable[[pd.DataFrame], Outcome]
) -> Callable[[pd.DataFrame], Outcome]:
    """The check on the rows in scope; not measured, with the reason, where there are none."""

    def checked(rows: pd.DataFrame) -> Outcome:
        chosen, missing = scope.select(rows)
        if missing:
            return Outcome(verdict=Verdict.NOT_MEASURED, reason=missing, decided_by=missing)
        return check(chosen)

    return checked


def _is_biod(rows: pd.DataFrame) -> pd.Series:
    """Identified by its name, which says all of its numbers; the pools of others by demand."""
    return rows["dataset"].str.startswith("bioD")


def _exposures_of(rows: pd.DataFrame) -> str:
    return ", ".join(f"{exposures:g}" for exposures in sorted(rows["exposures"].unique()))

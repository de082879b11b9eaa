"""The rows that a claim about one kind of model is about."""

from dataclasses import dataclass

import pandas as pd

from analysis.claims.claim import Check, Outcome, Verdict
from analysis.groups import AROUND, families_of, has_full_pools


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The rows that a claim is about."""

    datasets: tuple[str, ...]
    """Data sets; a trailing * matches any ending but other data around them; a lone * any."""
    exposures: int | None = None
    """Exposures; None for any."""
    family: str | None = "gpt2"
    """Architecture family; None for any."""
    needs_full_pools: bool = False
    """Whether the claim is about the paper's own pools only."""

    def select(self, rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
        """Usable unquantized rows in scope; where none, also the reason."""
        chosen = rows[rows["quantization"] == "none"]
        steps = [(self._in_datasets(chosen), self._why_no_rows(chosen))]
        if self.family is not None:
            steps.append((families_of(rows) == self.family, f"no {self.family} rows among them"))
        if self.exposures is not None:
            at = rows["exposures"] == self.exposures
            steps.append((at, f"no rows at {self.exposures} exposures{_exposures_of(chosen)}"))
        if self.needs_full_pools:
            reason = (
                "the pools are not the paper's (miniature or own): the claim is about full ones"
            )
            steps.append((has_full_pools(rows), reason))
        for mask, reason in steps:
            chosen = chosen[mask.reindex(chosen.index)]
            if chosen.empty:
                return chosen, reason
        return chosen, ""

    def _why_no_rows(self, rows: pd.DataFrame) -> str:
        """No finished rows of these data sets; or only some with other pools, and which."""
        wanted = " or ".join(name.removesuffix("*") for name in self.datasets)
        kin = sorted({d for d in rows["dataset"] if d.split("-")[0] in self.datasets})
        if kin:
            found = ", ".join(kin[:3]) + (", ..." if len(kin) > 3 else "")
            return f"{found}: other pools or data than the paper's, which is full {wanted}"
        return f"no finished rows of {wanted}"

    def _in_datasets(self, rows: pd.DataFrame) -> pd.Series:
        prefixes = tuple(name[:-1] for name in self.datasets if name.endswith("*"))
        wanted = [
            name in self.datasets
            or (name.startswith(prefixes) and not ("" not in prefixes and AROUND.search(name)))
            for name in rows["dataset"]
        ]
        return pd.Series(wanted, index=rows.index, dtype=bool)


def within(scope: Scope, check: Check) -> Check:
    """The check on the rows in scope; not tested, with the reason, where there are none."""

    def checked(rows: pd.DataFrame) -> Outcome:
        chosen, missing = scope.select(rows)
        return (Verdict.NOT_TESTED, missing, {}) if missing else check(chosen)

    return checked


def _exposures_of(rows: pd.DataFrame) -> str:
    found = sorted(rows["exposures"].unique())
    return f" (found: {', '.join(f'{e:g}' for e in found)})" if found else ""

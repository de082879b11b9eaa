"""What the measured rows say about each claim of arXiv 2404.05405 that they can speak to.

A claim is data: what it says, which rows it is about, and the check that turns them into a
verdict. To add one, add a `Claim` to `CLAIMS`. Bands are suggested pass bands, wider than the
paper's wording, because the paper's own figure leaves its wording here and there; each verdict
prints the numbers it rests on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import pandas as pd

from analysis.groups import Peak, family_of, find_peaks, has_full_pools, row_of_largest

# Demanded bits per parameter up to which Result 1(b) says that a model stores nearly everything.
SATURATED_MAX_RATIO = 1.8
SATURATED_RATIO_BAND = 0.95
# Stored bits are a lower bound of what a model holds only in expectation over the tables of
# people, so a single table may exceed its demand by a little; a relative 0.5% is far beyond that
# scatter for N >= 1000.
BOUND_TOLERANCE = 0.005


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
class Scope:
    """The rows that a claim is about."""

    datasets: tuple[str, ...]
    """Data sets; a trailing * matches any ending."""
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
            names = zip(rows["arch"], rows["model"], strict=True)
            families = pd.Series([family_of(a, m) for a, m in names], index=rows.index)
            steps.append((families == self.family, f"no {self.family} rows among them"))
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
            found = ", ".join(kin)
            return f"{found}: pools other than the paper's, and the claim is about full {wanted}"
        return f"no finished rows of {wanted}"

    def _in_datasets(self, rows: pd.DataFrame) -> pd.Series:
        prefixes = tuple(name[:-1] for name in self.datasets if name.endswith("*"))
        wanted = [name in self.datasets or name.startswith(prefixes) for name in rows["dataset"]]
        return pd.Series(wanted, index=rows.index, dtype=bool)


def _exposures_of(rows: pd.DataFrame) -> str:
    found = sorted(rows["exposures"].unique())
    return f" (found: {', '.join(f'{e:g}' for e in found)})" if found else ""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim of the paper and how it is tested."""

    name: str
    statement: str
    scope: Scope
    check: Check

    def judge(self, used_rows: pd.DataFrame) -> Finding:
        """The verdict on the rows that are in scope; `not tested` where there are none."""
        chosen, missing = self.scope.select(used_rows)
        outcome = (Verdict.NOT_TESTED, missing, {}) if missing else self.check(chosen)
        verdict, reason, numbers = outcome
        return Finding(
            claim=self.name,
            statement=self.statement,
            verdict=verdict,
            reason=reason,
            numbers=numbers,
        )


def check_peaks(low: float, high: float) -> Check:
    """Every peak lies in the band [low, high] bits per parameter.

    A data set whose models all demanded less than `low`, or that even the smallest model stored
    in full, cannot show a peak and is left out of the verdict, by name.
    """

    def check(rows: pd.DataFrame) -> Outcome:
        peaks = find_peaks(rows)
        untestable = [p for p in peaks if p.ratio < low and _cannot_reach(p, low)]
        tested = [p for p in peaks if p not in untestable]
        numbers = {f"peak_ratio_{_who(p)}": round(p.ratio, 4) for p in peaks}
        left_out = ""
        if untestable:
            names = ", ".join(
                f"{_who(p)} (largest R_max {p.largest_max_ratio:.2f})" for p in untestable
            )
            left_out = f"; not testable, the smallest model is too big: {names}"
        if not tested:
            return Verdict.NOT_TESTED, left_out.removeprefix("; "), numbers
        outside = [p for p in tested if not low <= p.ratio <= high]
        shown = ", ".join(f"{p.ratio:.2f} at {_who(p)}" for p in outside or tested)
        verdict = Verdict.FAILS if outside else Verdict.HOLDS
        what = "peaks outside" if outside else "all peaks inside"
        return verdict, f"{what} {low:g} to {high:g} bits per parameter: {shown}{left_out}", numbers

    return check


def over_several_settings(check: Check) -> Check:
    """A check of a claim about all kinds of data: one kind can refute it, but not show it."""

    def checked(rows: pd.DataFrame) -> Outcome:
        verdict, reason, numbers = check(rows)
        if verdict is Verdict.HOLDS and rows["dataset"].nunique() == 1:
            return Verdict.NOT_TESTED, f"one data set says little of all: {reason}", numbers
        return verdict, reason, numbers

    return checked


def _cannot_reach(peak: Peak, low: float) -> bool:
    """Whether no model of this data set could have shown a ratio of `low`."""
    return peak.largest_max_ratio < low or peak.is_demand_limited


def _who(peak: Peak) -> str:
    dataset = "" if peak.group.dataset == "bioS" else f"{peak.group.dataset} "
    return f"{dataset}N={peak.n_people:,}"


def check_saturation(rows: pd.DataFrame) -> Outcome:
    """R / R_max is at least the band for every model with R_max up to 1.8."""
    small = rows[rows["max_capacity_ratio"] <= SATURATED_MAX_RATIO]
    if small.empty:
        least = rows["max_capacity_ratio"].min()
        reason = f"no model with R_max up to {SATURATED_MAX_RATIO} (smallest: {least:.2f})"
        return Verdict.NOT_TESTED, reason, {}
    shares = small["capacity_ratio"] / small["max_capacity_ratio"]
    n_below = int((shares < SATURATED_RATIO_BAND).sum())
    worst = row_of_largest(small.assign(missing=1 - shares), "missing")
    numbers = {"n_models": float(len(small)), "smallest_share": round(float(shares.min()), 4)}
    reason = (
        f"{len(small) - n_below} of {len(small)} models reach {SATURATED_RATIO_BAND:.0%} of R_max; "
        f"smallest share {shares.min():.3f} ({worst['model']}, N={worst['n_people']:,.0f}, "
        f"R_max {worst['max_capacity_ratio']:.2f})"
    )
    return (Verdict.FAILS if n_below else Verdict.HOLDS), reason, numbers


def check_ceiling(ceiling: float, remark: str) -> Check:
    """No model stores more than `ceiling` bits per parameter."""

    def check(rows: pd.DataFrame) -> Outcome:
        top = row_of_largest(rows, "capacity_ratio")
        ratio = float(top["capacity_ratio"])
        who = f"{top['model']}, N={top['n_people']:,.0f}"
        if rows["max_capacity_ratio"].max() <= ceiling:
            reason = f"no model demands more than {ceiling:g} bits per parameter"
            return Verdict.NOT_TESTED, reason, {"largest_ratio": round(ratio, 4)}
        verdict = Verdict.HOLDS if ratio <= ceiling else Verdict.FAILS
        suffix = f"; {remark}" if verdict is Verdict.FAILS else ""
        return (
            verdict,
            f"largest R is {ratio:.2f} ({who}){suffix}",
            {"largest_ratio": round(ratio, 4)},
        )

    return check


def check_bound(rows: pd.DataFrame) -> Outcome:
    """Stored bits never exceed what there is to know."""
    shares = rows["stored_bits"] / rows["demand_bits"]
    over = rows[shares > 1 + BOUND_TOLERANCE]
    numbers = {"n_rows": float(len(rows)), "largest_share_of_demand": round(float(shares.max()), 6)}
    if over.empty:
        reason = f"largest share of the demand stored is {shares.max():.4f}, over {len(rows)} rows"
        return Verdict.HOLDS, reason, numbers
    cells = ", ".join(over["cell_id"].head(3)) + (" ..." if len(over) > 3 else "")
    reason = (
        f"{len(over)} of {len(rows)} rows store more than there is: a measuring error ({cells})"
    )
    return Verdict.FAILS, reason, numbers


BIOS_1000 = Scope(datasets=("bioS",), exposures=1000, needs_full_pools=True)
CLAIMS = (
    Claim(
        name="1a",
        statement="1000 exposures, GPT2 on bioS: every N peaks at about 2 bit/parameter or more",
        scope=BIOS_1000,
        check=check_peaks(1.9, 2.8),
    ),
    Claim(
        name="1b",
        statement="1000 exposures, GPT2 on bioS: at R_max up to 1.8, R is close to R_max",
        scope=BIOS_1000,
        check=check_saturation,
    ),
    Claim(
        name="1c",
        statement="1000 exposures, GPT2 on bioS: no model stores more than 2.3 bits per parameter",
        scope=BIOS_1000,
        check=check_ceiling(2.3, "the published figure itself reaches 2.72, at N=500,000"),
    ),
    Claim(
        name="2",
        statement="1000 exposures, bioS_simple and bioR: peaks at about 2 as well, slightly lower",
        scope=Scope(datasets=("bioS_simple", "bioR"), exposures=1000),
        check=check_peaks(1.5, 2.8),
    ),
    Claim(
        name="3",
        statement="1000 exposures, bioD of any K, C, D, L, T: peaks at about 2 bits per parameter",
        scope=Scope(datasets=("bioD*",), exposures=1000),
        check=over_several_settings(check_peaks(1.9, 2.8)),
    ),
    Claim(
        name="4",
        statement="100 exposures, GPT2 on bioS: every N peaks at 1 bit per parameter or more",
        scope=Scope(datasets=("bioS",), exposures=100, needs_full_pools=True),
        check=check_peaks(1.0, 1.8),
    ),
    Claim(
        name="bound",
        statement="Every row: stored bits do not exceed the entropy of the data (R <= R_max)",
        scope=Scope(datasets=("*",), family=None),
        check=check_bound,
    ),
)


def judge_claims(used_rows: pd.DataFrame) -> list[Finding]:
    """A finding for every claim, in the paper's order; rows are those of `Results.used`."""
    return [claim.judge(used_rows) for claim in CLAIMS]

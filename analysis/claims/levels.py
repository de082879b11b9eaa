"""Checks of how much is stored: peaks, saturation, the ceiling, and the bound by entropy."""

import pandas as pd

from analysis.claims.claim import Check, Outcome, Verdict
from analysis.groups import Peak, find_peaks, row_of_largest

# Demanded bits per parameter up to which Result 1(b) says that a model stores nearly everything.
SATURATED_MAX_RATIO = 1.8
SATURATED_RATIO_BAND = 0.95
# Stored bits are a lower bound of what a model holds only in expectation over the tables of
# people, so a single table may exceed its demand by a little; a relative 0.5% is far beyond that
# scatter for N >= 1000.
BOUND_TOLERANCE = 0.005


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

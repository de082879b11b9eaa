"""Checks of how much is stored: peaks, saturation, the ceiling, and the bound by entropy."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.claims.claim import Check, Outcome, Verdict
from analysis.claims.judge import Part, Region, Unit, judge
from analysis.peaks import measure_peaks, peak_runs, peaks_of_values
from analysis.runs import Run, by_seed, group_by, unquantized

# Demanded bits per parameter up to which Result 1(b) says that a model stores nearly everything.
SATURATED_MAX_RATIO = 1.8
SATURATED_RATIO_BAND = 0.95
# Stored bits are a lower bound of what a model holds only in expectation over the tables of
# people, so a single table may exceed its demand by a little; a relative 0.5% is far beyond that
# scatter for N >= 1000.
BOUND_TOLERANCE = 0.005
# Demand over capacity from which a model shows its capacity: on a corner of the usual sharpness
# (s about 5) R is then within 2.5% of c.
REACH = 1.5


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """All models trained on one data set of one number of people."""

    runs: list[Run]

    @property
    def name(self) -> str:
        return self.runs[0].dataset

    @property
    def where(self) -> str:
        return f"N={self.runs[0].n_people:,}"

    @property
    def largest_max_ratio(self) -> float:
        """Largest R_max: no peak can be higher."""
        return max(run.max_ratio for run in self.runs)

    @property
    def max_ratio_at_peak(self) -> float:
        """Largest R_max of the models at the peak; of all where no seed has every model."""
        best = peak_runs(*by_seed(self.runs)).values() or self.runs
        return max(run.max_ratio for run in best)

    def unit(self) -> Unit | None:
        """Its peak; None where no seed has every model."""
        peaks = measure_peaks(self.runs)
        return None if peaks is None else Unit(where=self.where, peaks=peaks)


def check_peaks(
    region: Region,
    *,
    datasets: Sequence[str] = (),
    min_people: int = 1,
    min_datasets: int = 1,
) -> Check:
    """Every peak lies in the region, in bits per parameter; only its low end is read.

    `datasets` must all be there; each needs `min_people` numbers of people, and in all there must
    be `min_datasets`: less can refute a claim about all of them, but not show it. A data set whose
    model at the peak is too big to show one as high as the region is left out, by name.
    """
    low = region.low
    assert low is not None, "a claim about peaks has a lowest one"

    def check(rows: pd.DataFrame) -> Outcome:
        own = data_sets(rows)
        testable = [one for one in own if can_show(one, low)]
        units = [(one, unit) for one in testable if (unit := one.unit()) is not None]
        names = list(dict.fromkeys(one.name for one, _ in units))
        found = {name: [unit for one, unit in units if one.name == name] for name in names}
        parts = [
            Part(name=f"peak of {name}", region=region, units=tuple(found[name])) for name in names
        ]
        lacking = [name for name in datasets if name not in found]
        too_few = [
            f"{name} at {min_people} numbers of people (now {len(found[name])})"
            for name in names
            if len(found[name]) < min_people
        ]
        if len(names) < min_datasets:
            too_few.append(f"one data set says little of all: {min_datasets} are needed")
        too_few += [
            f"a seed that has every model at {one.where}" for one in testable if not one.unit()
        ]
        return judge(
            parts,
            missing=f"not measured: {', '.join(lacking)}" if lacking else "",
            aside=_left_out([one for one in own if one not in testable]),
            too_few="; ".join(too_few),
        )

    return check


def check_saturation(rows: pd.DataFrame) -> Outcome:
    """R / R_max is at least the band for every model with R_max up to 1.8."""
    part = saturation_of(rows)
    if part is None:
        least = rows["max_capacity_ratio"].min()
        return judge(
            [], missing=f"a model with R_max up to {SATURATED_MAX_RATIO} (smallest: {least:.2f})"
        )
    return judge([part], too_few=_too_few(rows))


def saturation_of(rows: pd.DataFrame) -> Part | None:
    """R / R_max of every model with R_max up to 1.8; None where there is none."""
    (runs,) = by_seed(unquantized(rows))
    models = group_by(runs, lambda run: (run.n_people, run.size))
    small = [own for own in models.values() if own[0].max_ratio <= SATURATED_MAX_RATIO]
    if not small:
        return None
    units = [
        Unit(
            where=f"gpt2-{own[0].size}, N={own[0].n_people:,}, R_max {own[0].max_ratio:.2f}",
            peaks=peaks_of_values(_shares(own)),
        )
        for own in small
    ]
    region = Region(
        low=SATURATED_RATIO_BAND, criterion=f"at least {SATURATED_RATIO_BAND:g} of the demand"
    )
    name = f"R / R_max of {len(units)} model{'s' * (len(units) > 1)}"
    return Part(name=name, region=region, units=tuple(units))


def _shares(own: Sequence[Run]) -> list[float]:
    """R / R_max of one model in each seed; of several runs of one seed, their mean."""
    seeds = group_by(own, lambda run: run.replicate).values()
    return [sum(run.ratio / run.max_ratio for run in runs) / len(runs) for runs in seeds]


def check_ceiling(ceiling: float) -> Check:
    """No model stores more than `ceiling` bits per parameter; data sets whose models could not,
    because of the data, say nothing.
    """
    region = Region(high=ceiling, criterion=f"at most {ceiling:g}")

    def check(rows: pd.DataFrame) -> Outcome:
        own = [one for one in data_sets(rows) if can_show(one, ceiling)]
        if not own:
            needed = REACH * ceiling
            return judge(
                [], missing=f"no model at a peak demands {needed:.3g} bits per parameter or more"
            )
        units = tuple(unit for one in own if (unit := one.unit()) is not None)
        parts = [Part(name="largest R", region=region, units=units)] if units else []
        return judge(
            parts, missing="" if units else "a seed that has every model", too_few=_too_few(rows)
        )

    return check


def check_bound(rows: pd.DataFrame) -> Outcome:
    """Stored bits never exceed the demand."""
    if rows.empty:
        return judge([], missing="no finished rows")
    shares = rows["stored_bits"] / rows["demand_bits"]
    over = rows[shares > 1 + BOUND_TOLERANCE]
    numbers = {"n_rows": float(len(rows)), "largest_share_of_demand": round(float(shares.max()), 6)}
    if over.empty:
        reason = f"largest share of the demand stored is {shares.max():.4f}, over {len(rows)} rows"
        return Outcome(verdict=Verdict.HOLDS, reason=reason, numbers=numbers)
    cells = ", ".join(over["cell_id"].head(3)) + (" ..." if len(over) > 3 else "")
    reason = (
        f"{len(over)} of {len(rows)} rows store more than there is: a measuring error ({cells})"
    )
    return Outcome(verdict=Verdict.FAILS, reason=reason, numbers=numbers)


def data_sets(rows: pd.DataFrame) -> list[DataSet]:
    """Unquantized rows by data set and number of people."""
    groups = group_by(unquantized(rows), lambda run: (run.dataset, run.n_people))
    return [DataSet(runs=runs) for _, runs in sorted(groups.items())]


def can_show(one: DataSet, low: float) -> bool:
    """Whether the model at the peak demands enough to show a capacity of `low`, or shows it as it
    is; where no seed has every model, whether one of them demands enough.

    A model that demands little more than it can hold stores less than its capacity, so that a peak
    below `low` says nothing there; and what demands much and stores little does not speak for it.
    """
    unit = one.unit()
    is_there = unit is not None and unit.peaks.value >= low
    return is_there or one.max_ratio_at_peak >= REACH * low


def _left_out(too_big: Sequence[DataSet]) -> str:
    if not too_big:
        return ""
    names = ", ".join(
        f"{one.name} {one.where} (R_max {one.max_ratio_at_peak:.2f})" for one in too_big
    )
    return f"not testable, the data limit the model at the peak: {names}"


def _too_few(rows: pd.DataFrame) -> str:
    """A claim about every number of people is not shown at one of them."""
    n = rows["n_people"].nunique()
    return "" if n > 1 else "a second number of people"

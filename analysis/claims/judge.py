"""From measured parts of a claim to a verdict, by intervals.

A claim is a conjunction of conditions, each "this number is at least (at most) that bound". It
holds if every condition is shown at an error of ERROR; no correction is due, because all of them
must be. It does not hold if the opposite of some condition is shown, and there Holm's correction
over the conditions is due, because the more of them there are the likelier one looks broken by
chance. So at most ERROR of claims that are false are said to hold, and at most ERROR of true ones
not to; what neither can be said of is undecided.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from analysis.claims.claim import Outcome, Verdict
from analysis.multiple_tests import holm
from analysis.peaks import Peaks
from analysis.pooling import moderate_peaks
from analysis.seeds import MAX_SEEDS, miss_probability, seeds_to_resolve_all

ERROR = 0.025
"""Of each side, so that a verdict is that of a 95% interval."""
MIN_SEEDS = 3
"""Two seeds that agree by chance would decide a claim; a third makes that rare."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """Where a number must lie for a statement to be true, both ends included."""

    low: float | None = None
    high: float | None = None
    of: Literal["all", "lowest"] = "all"
    """`all`: every number; `lowest`: the lowest of them ("up to 1.3 times lower")."""
    criterion: str
    """What must hold and its margin, in words, for instance `at least 0.9: no loss within 10%`."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One number that a statement is about."""

    where: str
    """Of which data or model, for instance `N=500,000`."""
    peaks: Peaks
    pooled_with: object = None
    """Units of equal value are about equally noisy: their variances are pooled."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One statement of a claim, with all numbers that it is about; there is at least one."""

    name: str
    """For sentences: `llama of gpt2 at 100 exposures`."""
    region: Region
    units: tuple[Unit, ...]
    unit_of_number: str = ""
    """What stands behind a number: x for ratios."""


@dataclass(frozen=True, kw_only=True)
class _Condition:
    part: Part
    unit: Unit
    error_if_true: float
    """Probability of such numbers at most, were the condition false."""
    error_if_false: float
    """Probability of such numbers at most, were the condition true."""
    bound: float
    is_met: bool
    """Whether the number is on the right side, however surely."""
    n_if_true: int
    """Models among which the peak was chosen that `error_if_true` pays for."""
    n_if_false: int
    """Likewise `error_if_false`."""


def judge(
    parts: Sequence[Part], *, missing: str = "", aside: str = "", too_few: str = ""
) -> Outcome:
    """The verdict on the conjunction of the parts.

    `missing` says which parts of the claim were not measured: without them it can fail, but not
    hold. `too_few` says why even all of them would not show it. `aside` is added to the reason.
    """
    if not parts:
        reason = "; ".join(filter(None, [missing, aside]))
        return Outcome(verdict=Verdict.NOT_MEASURED, reason=reason, decided_by=missing)
    parts = pool_variances(parts)
    conditions = [condition for part in parts for condition in _conditions(part)]
    broken = holm([condition.error_if_false for condition in conditions])
    failed = [c for c, error in zip(conditions, broken, strict=True) if error <= ERROR]
    is_shown = all(condition.error_if_true <= ERROR for condition in conditions)
    numbers = {key: value for part in parts for key, value in _numbers(part).items()}
    if failed:
        names = {condition.part.name for condition in failed}
        shown = [_sentence(part, failed) for part in parts if part.name in names]
        return Outcome(verdict=Verdict.FAILS, reason="; ".join(shown), numbers=numbers)
    reason = "; ".join(filter(None, [missing, *map(_sentence, parts), aside]))
    if missing:
        return Outcome(
            verdict=Verdict.NOT_MEASURED, reason=reason, decided_by=missing, numbers=numbers
        )
    if is_shown and not too_few:
        return Outcome(verdict=Verdict.HOLDS, reason=reason, numbers=numbers)
    decided_by = "; ".join(filter(None, ["" if is_shown else _what_decides(conditions), too_few]))
    return Outcome(verdict=Verdict.UNDECIDED, reason=reason, decided_by=decided_by, numbers=numbers)


def seeds_needed(part: Part, log_sd: float) -> int:
    """Seeds of every model at which the part is decided, if its numbers stay where they are and as
    noisy: at least MIN_SEEDS. `log_sd` stands for the scatter, over seeds, of what has too few.
    """
    return max(MIN_SEEDS, _decider(_conditions(part), log_sd)[0])


def pool_variances(parts: Sequence[Part]) -> list[Part]:
    """The parts in their order, with variances pooled among units that are about equally noisy.

    A number that several parts ask for counts once. What was pooled is not pooled again.
    """
    units = [unit for part in parts for unit in part.units]
    distinct = {_identity(unit): unit for unit in units}
    better = moderate_peaks(
        [unit.peaks for unit in distinct.values()], [unit.pooled_with for unit in distinct.values()]
    )
    pooled = {
        key: Unit(where=unit.where, peaks=peaks, pooled_with=object())
        for (key, unit), peaks in zip(distinct.items(), better, strict=True)
        if peaks is not None
    }
    return [
        Part(
            name=part.name,
            region=part.region,
            units=tuple(replace(pooled[_identity(u)], where=u.where) for u in part.units),
            unit_of_number=part.unit_of_number,
        )
        for part in parts
    ]


def _identity(unit: Unit) -> tuple[object, ...]:
    """Equal for the same number measured by the same seeds."""
    peaks = unit.peaks
    # The variance of one seed is not a number, and no two of these are equal.
    return unit.pooled_with, peaks.value, repr(peaks.spread), peaks.n_seeds


def _conditions(part: Part) -> list[_Condition]:
    """What the part demands, one bound of one number each.

    "The lowest is at most b" is one condition: some number is (Bonferroni's correction over them),
    and it is broken only if every one of them is above.
    """
    region, found = part.region, []
    if region.low is not None:
        found += [_at_least(part, unit, region.low) for unit in part.units]
    if region.high is not None:
        below = [_at_most(part, unit, region.high) for unit in part.units]
        if region.of == "lowest":
            lowest = min(below, key=lambda condition: condition.error_if_true)
            below = [
                _Condition(
                    part=part,
                    unit=lowest.unit,
                    error_if_true=min(1.0, len(below) * lowest.error_if_true),
                    error_if_false=max(condition.error_if_false for condition in below),
                    bound=region.high,
                    is_met=any(condition.is_met for condition in below),
                    n_if_true=len(below) * lowest.n_if_true,
                    n_if_false=max(condition.n_if_false for condition in below),
                )
            ]
        found += below
    return found


def _at_least(part: Part, unit: Unit, bound: float) -> _Condition:
    peaks = unit.peaks
    is_enough = peaks.n_seeds >= MIN_SEEDS
    return _Condition(
        part=part,
        unit=unit,
        error_if_true=peaks.tail_at_least(bound) if is_enough else 1.0,
        error_if_false=peaks.tail_at_most(bound) if is_enough else 1.0,
        bound=bound,
        is_met=peaks.value >= bound,
        n_if_true=peaks.n_models,
        n_if_false=peaks.n_baselines,
    )


def _at_most(part: Part, unit: Unit, bound: float) -> _Condition:
    reverse = _at_least(part, unit, bound)
    return replace(
        reverse,
        error_if_true=reverse.error_if_false,
        error_if_false=reverse.error_if_true,
        is_met=unit.peaks.value <= bound,
        n_if_true=reverse.n_if_false,
        n_if_false=reverse.n_if_true,
    )


def _sentence(part: Part, failed: Sequence[_Condition] = ()) -> str:
    """`llama of gpt2 at 100 exposures 0.78x [0.70, 0.87] at N=500,000 (0.62 to 0.96: ...)`.

    Of several numbers the lowest and the highest; of a part that failed those that break it.
    """
    units = {id(c.unit): c.unit for c in failed if c.part is part}.values() or part.units
    ordered = sorted(units, key=lambda unit: unit.peaks.value)
    ends = ordered[:1] if len(ordered) == 1 else [ordered[0], ordered[-1]]
    if part.region.of == "lowest":
        ends = ordered[:1]
    shown = " to ".join(f"{_number(unit, part)} at {unit.where}" for unit in ends)
    side = "outside" if failed else "needed"
    return f"{part.name} {shown} ({side}: {part.region.criterion})"


def _number(unit: Unit, part: Part) -> str:
    found = unit.peaks.interval()
    value = f"{found.value:.3g}{part.unit_of_number}"
    if found.low is None or found.high is None:
        return f"{value} ({'one seed' if unit.peaks.n_seeds < 2 else 'copies of one number'})"
    return f"{value} [{found.low:.3g}, {found.high:.3g}]"


def _numbers(part: Part) -> dict[str, float]:
    """Every number, and the ends of its interval where it has one."""
    numbers = {}
    for unit in part.units:
        found, name = unit.peaks.interval(), f"{part.name}, {unit.where}"
        ends = {name: found.value, f"{name}, low": found.low, f"{name}, high": found.high}
        numbers |= {
            key: round(value, 4)
            for key, value in ends.items()
            if value is not None and math.isfinite(value)
        }
    return numbers


def _what_decides(conditions: Sequence[_Condition]) -> str:
    """More seeds, how many, and of what; or that no affordable number of them will do."""
    open_ones = [c for c in conditions if c.error_if_true > ERROR]
    few = [c for c in open_ones if c.unit.peaks.n_seeds < MIN_SEEDS]
    if few:
        now = min(condition.unit.peaks.n_seeds for condition in few)
        return f"at least {MIN_SEEDS} seeds of every model (now {now})"
    copies = [c for c in open_ones if not c.unit.peaks.has_scatter]
    if copies:
        what = f"{copies[0].part.name} at {copies[0].unit.where}"
        return f"seeds that were trained apart: {what} is the same in all to the last digit"
    n_seeds, worst = _decider(conditions)
    what = f"{worst.part.name} at {worst.unit.where}"
    if n_seeds > MAX_SEEDS:
        bound = f"{worst.bound:.3g}{worst.part.unit_of_number}"
        return f"{what} is too close to {bound} for {MAX_SEEDS} seeds to tell"
    now = worst.unit.peaks.n_seeds
    return f"about {n_seeds} seeds (now {now}), if {what} stays where it is and as noisy"


def _decider(conditions: Sequence[_Condition], log_sd: float = math.nan) -> tuple[int, _Condition]:
    """Seeds that decide, and the condition that they decide: the first to be broken of those that
    are not met, where Holm's correction asks the most of it; else all of them must be shown at
    once, and the condition is the one that takes the most.
    """
    broken = [c for c in conditions if not c.is_met]
    if broken:
        needed = [
            (_more(c, seeds_to_resolve_all([_gap(c, log_sd, c.n_if_false * len(conditions))])), c)
            for c in broken
        ]
        return min(needed, key=lambda pair: pair[0])
    gaps = [_gap(condition, log_sd, condition.n_if_true) for condition in conditions]
    n_seeds = seeds_to_resolve_all(gaps)
    missed = [miss_probability(*gap, n_seeds) for gap in gaps]
    worst = conditions[missed.index(max(missed))]
    return _more(worst, n_seeds), worst


def _more(condition: _Condition, n_seeds: int) -> int:
    """Of what is not decided by as many as there are."""
    return max(n_seeds, condition.unit.peaks.n_seeds + 1)


def _gap(condition: _Condition, log_sd: float, n_choices: int) -> tuple[float, float, float]:
    """How far the number is from the bound, how much it scatters from seed to seed, and the level
    at which it must be seen, for it was chosen among so many.
    """
    peaks, bound = condition.unit.peaks, condition.bound
    if peaks.is_log:
        gap = abs(math.log(peaks.value / bound)) if bound > 0 else math.inf
    else:
        gap = abs(peaks.value - bound)
    sd = math.sqrt(peaks.variance_at_peak) if peaks.has_scatter else log_sd
    return gap, sd, 1 - 2 * ERROR / n_choices

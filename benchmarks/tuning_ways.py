"""Ways of spending fewer trials on a cell than a full study of six, judged by the trials of one."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kcap_ray.config.cell import Cell

N_TRIALS = 6
N_PROBES = 5


@dataclass(frozen=True, kw_only=True)
class Studied:
    """A cell of the full study."""

    cell: Cell
    flops: float
    """Of one trial."""
    max_ratio: float
    ratios: Sequence[float]
    """R of the trials, in their order."""
    is_costly: bool
    probes: Sequence[Sequence[float]]
    """Of each trial, R after each fifth of its training; empty where that was not measured."""
    by_rule: float | None
    """R at the rule's point, of the second sweep; None in a cell that is not costly."""
    fresh: tuple[float, float] | None
    """R on fresh seeds, at the point that the full study chose and at the one of the second sweep;
    None without fresh seeds.
    """

    @property
    def full(self) -> float:
        return max(self.ratios)


Way = Callable[[Studied], tuple[float, float]]
"""Of a cell: the R that is reported, and the trials that it costs."""


def first(*numbers: int) -> Way:
    """The best of these trials of the full study, in every cell."""
    return lambda one: (max(one.ratios[n] for n in numbers), len(numbers))


def second_best(one: Studied) -> tuple[float, float]:
    """What the full study would have found without its best trial: how much of that is luck."""
    return sorted(one.ratios)[-2], N_TRIALS


def in_costly(way: Way) -> Way:
    """A full study in the cells that are not costly."""
    return lambda one: way(one) if one.is_costly else (one.full, N_TRIALS)


def by_rule(*others: int) -> Way:
    """The trial at the rule's point, and these of the full study."""

    def way(one: Studied) -> tuple[float, float]:
        assert one.by_rule is not None, f"{one.cell.cell_id} has no trial at the rule's point"
        return max(one.by_rule, *(one.ratios[n] for n in others), -1.0), 1 + len(others)

    return way


def halving(*rungs: tuple[int, int]) -> Way:
    """Successive halving: (fifths of the training, how many go on), ..."""

    def way(one: Studied) -> tuple[float, float]:
        going, before, cost = list(range(N_TRIALS)), 0, 0.0
        for fifths, n_next in rungs:
            cost += len(going) * (fifths - before) / N_PROBES
            by_probe = sorted(going, key=lambda n: -one.probes[n][fifths - 1])
            going, before = by_probe[:n_next], fifths
        cost += len(going) * (N_PROBES - before) / N_PROBES
        return max(one.ratios[n] for n in going), cost

    return way


# Trial 0 is at the cell's own point, 1 at the neighbour's best, 2 and 3 are spread over the ranges
# (a scrambled Halton sequence), 4 and 5 are proposed by TPE.
WAYS: dict[str, Way] = {
    "rule, 1 trial in costly cells": in_costly(by_rule()),
    "rule and own point, 2 trials in costly cells": in_costly(by_rule(0)),
    "own point alone in costly cells": in_costly(first(0)),
    "own point and neighbour's best in costly cells": in_costly(first(0, 1)),
    "own point alone in every cell": first(0),
    "two spread points in every cell (random search)": first(2, 3),
    "own and one spread point in every cell": first(0, 2),
    "own and two spread points in every cell": first(0, 2, 3),
    "the full study without its best trial": second_best,
    "successive halving 6 > 1 at a fifth": halving((1, 1)),
    "successive halving 6 > 3 > 1 at one and two fifths": halving((1, 3), (2, 1)),
}


def judge(cells: Sequence[Studied], way: Way) -> dict[str, Any]:
    """Cost and losses of one way."""
    found = {one.cell.cell_id: way(one) for one in cells}
    whole = N_TRIALS * sum(one.flops for one in cells)
    cost = sum(found[one.cell.cell_id][1] * one.flops for one in cells) / whole
    lost = {one.cell.cell_id: 100 * (1 - found[one.cell.cell_id][0] / one.full) for one in cells}
    costly = [lost[one.cell.cell_id] for one in cells if one.is_costly]
    return {
        "cost": round(cost, 4),
        "costly_cells": _summary(costly),
        "all_cells": _summary(list(lost.values())),
        "lost_percent": {name: round(value, 3) for name, value in lost.items()},
    }


def _summary(lost: Sequence[float]) -> dict[str, float]:
    """Of losses in percent, which are below 0 where R is higher: a gain is no loss, however large,
    and is given beside the losses.
    """
    return {
        "cells": len(lost),
        "median_percent": round(statistics.median(lost), 3),
        "worst_percent": round(max(lost), 3),
        "largest_gain_percent": round(max(0.0, -min(lost)), 3),
        "mean_percent": round(statistics.fmean(lost), 3),
        "within_3_percent": sum(value <= 3 for value in lost),
        "differ_by_at_most_3_percent": sum(abs(value) <= 3 for value in lost),
    }


def judge_fresh(cells: Sequence[Studied]) -> dict[str, Any]:
    """Losses of costly cells on fresh seeds, where both runs have them."""
    costly = [(one.cell.cell_id, one.fresh) for one in cells if one.is_costly and one.fresh]
    lost = {name: 100 * (1 - second / first) for name, (first, second) in costly}
    return {
        "costly_cells": _summary(list(lost.values())),
        "same_point": sum(first == second for _, (first, second) in costly),
        "lost_percent": {name: round(value, 3) for name, value in lost.items()},
        "R": {name: [round(value, 4) for value in both] for name, both in costly},
    }

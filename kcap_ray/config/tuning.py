"""How learning rate and weight decay are chosen: the ranges that are searched, and for how long."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from kcap_ray.config.errors import check

Side = Literal["low", "high"]

EDGE_SHARE = 0.1
"""Of a range, on the scale that it is searched on: its outer tenth is its edge."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """A range that tuning searches; logarithmic unless said otherwise."""

    low: float
    """Lowest value that is tried."""
    high: float
    """Highest value that is tried."""
    log: bool = True
    """Whether it is searched on a logarithmic scale, for which `low` must be above 0."""

    def __post_init__(self) -> None:
        ok = self.low <= self.high and (self.low > 0 or not self.log)
        check(ok, f"range: low {self.low}, high {self.high}: needs 0 < low <= high when log")

    def at(self, share: float) -> float:
        """The value at a share of the way from low to high, which is 0 to 1."""
        if self.log:
            return self.low * (self.high / self.low) ** share
        return self.low + (self.high - self.low) * share

    def clip(self, value: float) -> float:
        """The nearest value inside the range."""
        return min(max(value, self.low), self.high)

    def share_of(self, value: float) -> float:
        """Inverse of `at`; nan for a range of one value."""
        if self.low == self.high:
            return math.nan
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def side_of(self, value: float) -> Side | None:
        """The end of the range in whose outer tenth the value is; None inside, and at zero, which
        nothing is below.
        """
        share = self.share_of(value)
        if share <= EDGE_SHARE and self.low > 0:
            return "low"
        return "high" if share >= 1 - EDGE_SHARE else None


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """How learning rate and weight decay are chosen for a cell."""

    trials: int = 1
    """Points tried; the first is the cell's own `train.lr` and `train.weight_decay`. They are a
    sequence: with a larger number the search goes on.
    """
    lr: Range | None = None
    """Learning rates searched; None keeps `train.lr`."""
    weight_decay: Range | None = None
    """Weight decays searched; None keeps `train.weight_decay`."""
    fused: int | None = None
    """Most trials in one program, where the device has memory for all and is not
    faster with fewer at a time; None lets the size of the cell decide. Changes no point.
    """
    warm_start: bool = True
    """Try the best point of the neighbouring cell (one step back on the first axis) as the second.
    """
    widen: int = 0
    """Further trials at most, beyond a range's end, while the best point lies in its outer tenth.
    """
    costly_flops: float | None = None
    """Floating-point operations of a trial, as planned, above which a cell is costly; None: none
    is.
    """
    costly_trials: int = 1
    """Trials of a costly cell in place of `trials`. The first is where a rule puts it that is
    fitted to the trials of the sweep's other cells, the second is the cell's own point, and further
    ones are spread over the ranges and proposed, as in a full study. With a larger number the
    search goes on, also where that makes the cell one with a full study, which without that
    history would begin at the own point and try the neighbour's best.
    """
    is_costly: bool = False
    """Whether the cell is costly, so that `trials` is that of one. No key of a sweep file."""
    guide_trials: int | None = None
    """Of a costly cell, the `trials` of one that is not: as many trials of each of the others the
    rule is fitted to, however many more an earlier run made. No key of a sweep file.
    """
    confirm_seeds: int = 0
    """Fresh seeds with which the best point is trained again after the search; the result is the
    mean over them. 0: the result is the best trial itself, which flatters it.
    """

    @property
    def n_runs(self) -> int:
        """Training runs at most: of the search, beyond the edges, and with fresh seeds."""
        return self.trials + (self.widen if self.ranges else 0) + self.confirm_seeds

    @property
    def ranges(self) -> dict[str, Range]:
        """What is searched: name of the hyperparameter -> its range; nothing for a single trial at
        the own point.
        """
        is_searched = self.trials > 1 or self.is_costly
        found = {"lr": self.lr, "weight_decay": self.weight_decay} if is_searched else {}
        return {name: own for name, own in found.items() if own is not None}

    @property
    def follows_neighbour(self) -> bool:
        """Whether other cells' results change what is tried: a single trial is the own point,
        except in a costly cell.
        """
        return self.warm_start and (self.trials > 1 or self.is_costly)

    def as_costly(self) -> "TuneConfig":
        """The same of a costly cell: fewer trials, and none beyond the ranges."""
        if self.trials <= self.costly_trials:
            return self
        return replace(
            self,
            trials=self.costly_trials,
            widen=0,
            is_costly=True,
            guide_trials=self.trials,
        )

    def __post_init__(self) -> None:
        check(self.trials >= 1, f"tune.trials: got {self.trials}; at least 1 is needed")
        check(self.fused is None or self.fused >= 1, f"tune.fused: got {self.fused}; at least 1")
        for name in ("widen", "confirm_seeds"):
            value = getattr(self, name)
            check(value >= 0, f"tune.{name}: got {value}; 0 for none, or more")
        check(self.costly_trials >= 1, f"tune.costly_trials: got {self.costly_trials}; at least 1")
        check(
            self.costly_flops is None or self.costly_flops >= 0,
            f"tune.costly_flops: got {self.costly_flops}; a number of operations, or null",
        )
        searched = self.lr is not None or self.weight_decay is not None
        check(
            self.trials == 1 or searched,
            f"tune.trials is {self.trials}, but neither tune.lr nor tune.weight_decay has a range",
        )


def sides_of(ranges: Mapping[str, Range], values: Mapping[str, float]) -> dict[str, Side]:
    """Which of the values lie at an edge of their range, and at which: {"lr": "high"}."""
    sides: dict[str, Side] = {}
    for name, found in ranges.items():
        side = found.side_of(values[name])
        if side is not None:
            sides[name] = side
    return sides


def edge_text(sides: Mapping[str, Side]) -> str:
    """The same as the results have it: `lr high, wd low`; empty for none."""
    short = {"lr": "lr", "weight_decay": "wd"}
    return ", ".join(f"{short[name]} {side}" for name, side in sides.items())

"""How learning rate and weight decay are chosen: the ranges that are searched, and for how long."""

from dataclasses import dataclass

from kcap_ray.config.errors import check


@dataclass(frozen=True, kw_only=True)
class Range:
    """A range that tuning searches; logarithmic unless said otherwise."""

    low: float
    high: float
    log: bool = True

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
    """Trials at most that are trained as one program, where the device has room for all and is not
    faster with fewer at a time; None lets the size of the cell decide. Changes no point.
    """
    warm_start: bool = True
    """Try the best point of the neighbouring cell (one step back on the first axis) as the second.
    """

    @property
    def follows_neighbour(self) -> bool:
        """Whether a neighbouring cell's result changes what is tried: a single trial is the own
        point.
        """
        return self.warm_start and self.trials > 1

    def __post_init__(self) -> None:
        check(self.trials >= 1, f"tune.trials: got {self.trials}; at least 1 is needed")
        check(self.fused is None or self.fused >= 1, f"tune.fused: got {self.fused}; at least 1")
        searched = self.lr is not None or self.weight_decay is not None
        check(
            self.trials == 1 or searched,
            f"tune.trials is {self.trials}, but neither tune.lr nor tune.weight_decay has a range",
        )

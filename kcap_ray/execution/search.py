"""Which points of learning rate and weight decay a cell tries: one Optuna study per cell, asked for
several at once.

The only file that imports optuna. A study is a pure function of the cell, of the neighbour's best
point and of the results told so far: after a restart the finished trials are told again, and the
same points follow.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kcap_ray.config.cell import Cell, Range
from kcap_ray.training.point import Point

N_FIRST_POINTS = 4
"""Trials before TPE proposes any: with fewer results it would only guess."""


@dataclass(frozen=True, kw_only=True)
class Hint:
    """The best point of a neighbouring cell."""

    point: Point
    n_steps: int
    """Steps of the run in which it was best."""


class CellStudy:
    """The search over one cell's learning rate and weight decay; larger `capacity_ratio` is better.

    First the cell's own point (the paper's values), then the neighbour's best, then points spread
    evenly over the ranges, and from the fifth on what Optuna's TPE proposes.
    """

    def __init__(self, cell: Cell, *, n_steps: int, hint: Hint | None) -> None:
        self.cell, self.n_steps, self.hint = cell, n_steps, hint
        self.n_asked = 0
        self._trials: list[Any] = []
        # A single trial needs no search, and so no Optuna.
        self._study = (
            _new_study(self._first_points(), _seed(cell)) if cell.tune.trials > 1 else None
        )

    def _first_points(self) -> list[dict[str, float]]:
        points = [{"lr": self.cell.train.lr, "weight_decay": self.cell.train.weight_decay}]
        if self.hint is not None:
            # The optimum follows 1 / (lr * weight_decay * steps): the neighbour's, at this length.
            decay = self.hint.point.weight_decay * self.hint.n_steps / self.n_steps
            points.append({"lr": self.hint.point.lr, "weight_decay": decay})
        ranges = _ranges(self.cell)
        clipped = [
            {name: found.clip(point[name]) for name, found in ranges.items()} for point in points
        ]
        return clipped + _spread_points(ranges, N_FIRST_POINTS - len(points), seed=_seed(self.cell))

    def ask(self, n_points: int) -> list[Point]:
        """The next points, at most as many as the cell still has trials."""
        own = Point(lr=self.cell.train.lr, weight_decay=self.cell.train.weight_decay)
        n_points = min(n_points, self.cell.tune.trials - self.n_asked)
        self.n_asked += n_points
        if self._study is None:
            return [own] * n_points
        points = []
        for _ in range(n_points):
            trial = self._study.ask(_distributions(self.cell))
            self._trials.append(trial)
            lr = trial.params.get("lr", own.lr)
            points.append(
                Point(lr=lr, weight_decay=trial.params.get("weight_decay", own.weight_decay))
            )
        return points

    def tell(self, first_trial: int, capacity_ratios: Sequence[float | None]) -> None:
        """Results of the trials from `first_trial` on, in order; None for one without a number."""
        if self._study is None:
            return
        from optuna.trial import TrialState

        for index, ratio in enumerate(capacity_ratios, start=first_trial):
            state = TrialState.FAIL if ratio is None else TrialState.COMPLETE
            self._study.tell(self._trials[index], ratio, state=state)

    @property
    def is_exhausted(self) -> bool:
        """Whether all trials of the cell have been asked for."""
        return self.n_asked >= self.cell.tune.trials


def _ranges(cell: Cell) -> dict[str, Range]:
    ranges = {"lr": cell.tune.lr, "weight_decay": cell.tune.weight_decay}
    return {name: found for name, found in ranges.items() if found is not None}


def _seed(cell: Cell) -> int:
    # Each cell searches at points of its own, so that a sweep as a whole covers the ranges.
    return zlib.crc32(cell.cell_id.encode())


def _spread_points(ranges: dict[str, Range], n_points: int, *, seed: int) -> list[dict[str, float]]:
    """Points of a scrambled Halton sequence: few random ones would often lie close together."""
    from scipy.stats import qmc

    unit = qmc.Halton(d=len(ranges), rng=seed).random(n_points)
    return [
        {name: found.at(float(u)) for (name, found), u in zip(ranges.items(), row, strict=True)}
        for row in unit
    ]


def _distributions(cell: Cell) -> dict[str, Any]:
    from optuna.distributions import FloatDistribution

    return {
        name: FloatDistribution(found.low, found.high, log=found.log)
        for name, found in _ranges(cell).items()
    }


def _new_study(first_points: list[dict[str, float]], seed: int) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=N_FIRST_POINTS)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for point in first_points:
        study.enqueue_trial(point)
    return study

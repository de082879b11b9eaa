"""Which points of learning rate and weight decay a cell tries: one Optuna study per cell, asked for
several at once.

The only file that imports optuna. The points of a study are a sequence: a pure function of the
cell's search seed, of the neighbour's best point and of the results told so far, whatever the
number of trials and however many are asked for at once. After a restart, or when there are to be
more trials, the finished ones are reported to the study again, and the sequence goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kcap_ray.config.cell import Cell, Range
from kcap_ray.training.point import Point

N_FIRST_POINTS = 4
"""Trials before TPE proposes any: with fewer results it would only guess."""


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """The best point of a neighbouring cell."""

    point: Point
    n_steps: int
    """Steps of the run in which it was best."""


@dataclass(frozen=True, kw_only=True)
class _Result:
    ratio: float | None
    point: Point | None


class CellStudy:
    """The search over one cell's learning rate and weight decay; larger `capacity_ratio` is better.

    First the cell's own point (the paper's values), then the neighbour's best, then points spread
    evenly over the ranges, and from the fifth on what Optuna's TPE proposes.
    """

    def __init__(
        self, cell: Cell, *, n_steps: int, warm_start: WarmStart | None, trial_batch_size: int = 1
    ) -> None:
        """`trial_batch_size`: consecutive points chosen without the results of one another."""
        self.cell, self.n_steps, self.warm_start = cell, n_steps, warm_start
        self.trial_batch_size = trial_batch_size
        self.n_asked = 0
        self._trials: list[Any] = []
        self._results: dict[int, _Result] = {}
        self._n_told = 0
        # A single trial needs no search, and so no Optuna.
        self._study = (
            _new_study(self._first_points(), cell.search_seed) if cell.tune.trials > 1 else None
        )

    def _first_points(self) -> list[dict[str, float]]:
        points = [{"lr": self.cell.train.lr, "weight_decay": self.cell.train.weight_decay}]
        if self.warm_start is not None:
            # The optimum follows 1 / (lr * weight_decay * steps): the neighbour's, at this length.
            decay = self.warm_start.point.weight_decay * self.warm_start.n_steps / self.n_steps
            points.append({"lr": self.warm_start.point.lr, "weight_decay": decay})
        ranges = _ranges(self.cell)
        clipped = [
            {name: found.clip(point[name]) for name, found in ranges.items()} for point in points
        ]
        n_spread = N_FIRST_POINTS - len(points)
        return clipped + _spread_points(ranges, n_spread, seed=self.cell.search_seed)

    def ask(self, n_points: int) -> list[Point]:
        """The next points, at most as many as the cell still has trials, and as its round."""
        own = Point(lr=self.cell.train.lr, weight_decay=self.cell.train.weight_decay)
        left = self.trial_batch_size - self.n_asked % self.trial_batch_size
        n_points = min(n_points, left, self.cell.tune.trials - self.n_asked)
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

    def tell(
        self,
        first_trial: int,
        capacity_ratios: Sequence[float | None],
        points: Sequence[Point] | None = None,
    ) -> None:
        """Results of the trials from `first_trial` on, in order; None for one without a number.
        `points`: where they were, if that may be elsewhere than was asked for, as it may in a run
        that another version began.
        """
        if self._study is None:
            return
        for index, ratio in enumerate(capacity_ratios):
            point = points[index] if points is not None else None
            self._results[first_trial + index] = _Result(ratio=ratio, point=point)
        # The results of a round come in together, or a larger number of trials would know more.
        size = self.trial_batch_size
        while all(index in self._results for index in range(self._n_told, self._n_told + size)):
            for index in range(self._n_told, self._n_told + size):
                self._tell_optuna(self._trials[index], self._results[index])
            self._n_told += size

    def _tell_optuna(self, trial: Any, result: "_Result") -> None:
        from optuna.trial import TrialState, create_trial

        assert self._study is not None, "only a search is told results"
        ranges = _ranges(self.cell)
        params = trial.params
        if result.point is not None:
            params = {name: getattr(result.point, name) for name in ranges}
        if result.ratio is None or params == trial.params:
            state = TrialState.FAIL if result.ratio is None else TrialState.COMPLETE
            self._study.tell(trial, result.ratio, state=state)
            return
        self._study.tell(trial, state=TrialState.FAIL)
        if all(found.low <= params[name] <= found.high for name, found in ranges.items()):
            self._study.add_trial(
                create_trial(
                    params=params, distributions=_distributions(self.cell), value=result.ratio
                )
            )

    @property
    def is_exhausted(self) -> bool:
        """Whether all trials of the cell have been asked for."""
        return self.n_asked >= self.cell.tune.trials


def _ranges(cell: Cell) -> dict[str, Range]:
    ranges = {"lr": cell.tune.lr, "weight_decay": cell.tune.weight_decay}
    return {name: found for name, found in ranges.items() if found is not None}


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

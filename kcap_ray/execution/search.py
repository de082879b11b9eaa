"""Which points of learning rate and weight decay a cell tries: one Optuna study per cell, asked for
several at once.

The points of a study are a sequence: a pure function of the cell's search seed, of the neighbour's
best point and of the results told so far, whatever the number of trials and however many are asked
for at once. After a restart, or when there are to be more trials, the finished ones are reported to
the study again, and the sequence goes on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from kcap_ray.config.cell import Cell, Range
from kcap_ray.planning.jobs import N_FIRST_POINTS
from kcap_ray.training.point import Point

NEAR = 1.1
"""A point whose learning rate and weight decay are both within this factor of another's is no other
point: of two in six, one would be a trial lost.
"""

_MAX_PROPOSALS = 16
"""Proposals of TPE in a row that may lie near earlier points, before a spread one is taken."""

_N_SPREAD = 64
"""Points of the sequence of spread ones that are looked at for one that is not near another."""


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """The best point of a neighbouring cell."""

    point: Point
    n_steps: int
    """Steps of the run in which it was best."""


@dataclass(frozen=True, kw_only=True)
class _Result:
    ratio: float | None
    point: Point


class CellStudy:
    """The search over one cell's learning rate and weight decay; larger `capacity_ratio` is better.

    First the cell's own point (the paper's values), then the neighbour's best, then points spread
    evenly over the ranges, and from the fifth on what Optuna's TPE proposes. A costly cell, or one
    that was costly when it began, begins at the point of the rule that other cells' trials give,
    and its own point is the second, before the spread ones. None is near an earlier one, as far as
    the ranges have room: such a proposal is left out, and the next taken.
    Of the first ones only the second hangs on the neighbour: where that has no result, or a point
    near another's, a spread one stands there.
    """

    def __init__(
        self,
        cell: Cell,
        *,
        n_steps: int,
        warm_start: WarmStart | None,
        trial_batch_size: int = 1,
        has_neighbour: bool = False,
        began_by_rule: bool = False,
    ) -> None:
        """`trial_batch_size`: consecutive points chosen without the results of one another.
        `has_neighbour`: whether there is one, with a result or without. `began_by_rule`: whether
        the search began at a rule's point, though the cell may no longer be costly.
        """
        self.cell, self.n_steps, self.warm_start = cell, n_steps, warm_start
        self.trial_batch_size = trial_batch_size
        self.n_asked = 0
        self._trials: list[Any] = []
        self._points: list[Point] = []
        self._results: dict[int, _Result] = {}
        self._n_told = 0
        # A single trial at the own point needs no search, and so no Optuna.
        self._has_neighbour = has_neighbour or warm_start is not None
        self._begins_by_rule = began_by_rule or cell.tune.is_costly
        self._study = self._new_study() if cell.tune.ranges else None

    @property
    def _own(self) -> Point:
        return Point(lr=self.cell.train.lr, weight_decay=self.cell.train.weight_decay)

    def _new_study(self) -> Any:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(
            seed=self.cell.search_seed, n_startup_trials=N_FIRST_POINTS
        )
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for point in self._first_points():
            study.enqueue_trial({name: getattr(point, name) for name in self.cell.tune.ranges})
        return study

    def _first_points(self) -> list[Point]:
        first = [self._clipped(self._own)]
        start = self.warm_start
        if start is not None and self._begins_by_rule:
            # Where there may be no second trial, the first is the one that is thought best.
            first.insert(0, self._clipped(start.point))
            if _is_near_any(first[1], first[:1]):
                first[1] = self._spread_from(first[:1])
            while len(first) < N_FIRST_POINTS:
                first.append(self._spread_from(first))
            return first
        while len(first) < N_FIRST_POINTS - self._has_neighbour:
            first.append(self._spread_from(first))
        if not self._has_neighbour:
            return first
        return [first[0], self._second(first), *first[1:]]

    def _second(self, others: Sequence[Point]) -> Point:
        """The neighbour's best point at this cell's length, unless it is near one of these."""
        if self.warm_start is not None:
            # The optimum follows 1 / (lr * weight_decay * steps): the neighbour's, at this length.
            decay = self.warm_start.point.weight_decay * self.warm_start.n_steps / self.n_steps
            point = self._clipped(Point(lr=self.warm_start.point.lr, weight_decay=decay))
            if not _is_near_any(point, others):
                return point
        return self._spread_from(others)

    def _clipped(self, point: Point) -> Point:
        """The own point, with what is searched of this one, inside of the ranges."""
        ranges = self.cell.tune.ranges
        values = {name: found.clip(getattr(point, name)) for name, found in ranges.items()}
        return replace(self._own, **values)

    def _spread_from(self, points: Sequence[Point]) -> Point:
        """The first spread point that is near none of these; where there is none, the farthest."""
        ranges = self.cell.tune.ranges
        spread = [
            replace(self._own, **values)
            for values in _spread_points(ranges, _N_SPREAD, seed=self.cell.search_seed)
        ]
        far = (point for point in spread if not _is_near_any(point, points))
        return next(far, None) or max(
            spread, key=lambda point: min(_distance(point, other) for other in points)
        )

    def ask(self, n_points: int) -> list[Point]:
        """The next points, at most as many as the cell still has trials, and as its round."""
        left = self.trial_batch_size - self.n_asked % self.trial_batch_size
        n_points = min(n_points, left, self.cell.tune.trials - self.n_asked)
        self.n_asked += n_points
        if self._study is None:
            return [self._own] * n_points
        return [self._next() for _ in range(n_points)]

    def _next(self) -> Point:
        """The next point that is near none before it."""
        from optuna.trial import TrialState

        assert self._study is not None, "a single trial asks for no points"
        trial, point = self._proposal()
        for _ in range(_MAX_PROPOSALS):
            if not _is_near_any(point, self._points):
                break
            self._study.tell(trial, state=TrialState.FAIL)
            trial, point = self._proposal()
        if _is_near_any(point, self._points):
            point = self._spread_from(self._points)
        self._trials.append(trial)
        self._points.append(point)
        return point

    def _proposal(self) -> tuple[Any, Point]:
        assert self._study is not None, "a single trial asks for no points"
        trial = self._study.ask(_distributions(self.cell))
        return trial, replace(self._own, **trial.params)

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
            number = first_trial + index
            if points is not None:
                self._points[number] = points[index]
            self._results[number] = _Result(ratio=ratio, point=self._points[number])
        # The results of a round come in together, or a larger number of trials would know more.
        size = self.trial_batch_size
        while all(index in self._results for index in range(self._n_told, self._n_told + size)):
            for index in range(self._n_told, self._n_told + size):
                self._tell_optuna(self._trials[index], self._results[index])
            self._n_told += size

    def _tell_optuna(self, trial: Any, result: "_Result") -> None:
        from optuna.trial import TrialState, create_trial

        assert self._study is not None, "only a search is told results"
        ranges = self.cell.tune.ranges
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


def _is_near_any(point: Point, others: Sequence[Point]) -> bool:
    return any(_distance(point, other) < math.log(NEAR) for other in others)


def _distance(a: Point, b: Point) -> float:
    """How far apart two points are: the larger of the distances on their logarithms."""
    return max(
        _log_ratio(a.lr, b.lr),
        _log_ratio(a.weight_decay, b.weight_decay),
    )


def _log_ratio(a: float, b: float) -> float:
    """|log(a / b)|; 0 for equal ones, which may be 0."""
    if a == b:
        return 0.0
    return abs(math.log(a / b)) if a > 0 and b > 0 else math.inf


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
        for name, found in cell.tune.ranges.items()
    }

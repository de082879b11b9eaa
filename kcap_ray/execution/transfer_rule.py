"""Where the best learning rate and weight decay of a cell lie, by those of other cells: a rule over
size, steps, batch and people, fitted to finished trials.

The logarithm of R falls off as a paraboloid around the best point,

    log R = h_cell - a (x - x*)^2 - b (y - y*)^2,  x = log lr,  y = log(lr * weight_decay * steps),
    x* = x_0 + s . f,  y* = y_0 + t . f,

with f the logarithms of parameters, steps, tokens of a step and people, and a height h of every
cell. y has the steps in it since the average of weights that decoupled decay makes spans 1 / (lr *
weight_decay) steps (Wang and Aitchison, arXiv 2405.13698). Fitted are the twelve other numbers, as
the most probable ones under `PRIOR`: few trials say little of some.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kcap_ray.config.cell import Range
from kcap_ray.training.point import Point

if TYPE_CHECKING:
    import numpy as np

NOISE = 0.1
"""Standard deviation of log R between trials at the same distance from the best point. Seeds at
one point scatter by 6 to 44% of R in small cells, by 14% in the median of 15 models
(docs/results/laptop_architectures, first trials).
"""

WORST = math.log(0.2)
"""log(R / best R) of a trial that learnt nothing, or less than that: how much less says nothing of
where the best point is.
"""

N_FEATURES = 4

SLOPE_LR = (-0.5, 0.0, 0.0, 0.0)
"""Expected slopes s of x*: the best rate of Adam goes as 1 / width (Yang et al., arXiv 2203.03466),
and parameters as its square.
"""
SLOPE_SD = 0.3
"""How far slopes of x* and y* may be from the expected ones; of y* those are 0."""

CURVATURES = (0.2, 0.05)
"""Expected a and b: a factor e from the best rate costs 20%, from the best decay 5%."""
CURVATURE_SD = 1.0
"""How far their logarithms may be off."""

CENTRE_SD = 1.0
"""How far x_0 and y_0 may be from the guides' own points, on a logarithm."""

DIGITS = 4
"""Significant digits of a point that the rule gives: machines differ in the last ones."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What the best point of a cell depends on."""

    n_params: int
    steps: int
    batch_tokens: int
    n_people: int

    @property
    def features(self) -> tuple[float, ...]:
        """Their logarithms, shape (4,)."""
        sizes = (self.n_params, self.steps, self.batch_tokens, self.n_people)
        return tuple(map(math.log, sizes))


@dataclass(frozen=True, kw_only=True)
class Guide:
    """A finished cell: its own point, and what its trials found."""

    setup: Setup
    own: Point
    """Inside of the ranges that are searched: the rule is expected to lie near."""
    trials: tuple[tuple[Point, float | None], ...]
    """Points and their R; None where a trial diverged."""


@dataclass(frozen=True, kw_only=True)
class TransferRule:
    """The fitted rule; call `point` for a cell."""

    centre: tuple[float, ...]
    """Features at which x_0 and y_0 are: the mean over the guides."""
    x_0: float
    y_0: float
    slope_lr: tuple[float, ...]
    slope_product: tuple[float, ...]
    curvatures: tuple[float, float]

    def point(self, setup: Setup, ranges: dict[str, Range], own: Point) -> Point:
        """The best point of a cell inside of its ranges; what is not searched is its own."""
        offsets = [f - c for f, c in zip(setup.features, self.centre, strict=True)]
        x = self.x_0 + _dot(self.slope_lr, offsets)
        y = self.y_0 + _dot(self.slope_product, offsets)
        lr = ranges["lr"].clip(math.exp(x)) if "lr" in ranges else own.lr
        decay = own.weight_decay
        if "weight_decay" in ranges:
            decay = ranges["weight_decay"].clip(math.exp(y) / (lr * setup.steps))
        return Point(lr=_rounded(lr), weight_decay=_rounded(decay))


def fit_rule(guides: Sequence[Guide]) -> TransferRule | None:
    """The rule that these cells' trials make most probable; None without a cell with a result."""
    import numpy as np
    from scipy.optimize import least_squares

    found = [guide for guide in guides if _best(guide) is not None]
    if not found:
        return None
    features_CF = np.array([guide.setup.features for guide in found])
    centre_F = features_CF.mean(axis=0)
    x_T, y_T, u_T, cell_T = _observed(found)
    f_TF = (features_CF - centre_F)[cell_T]
    start = _prior_means(found)
    means_T = _Means(cell_T)

    def residuals(theta: "np.ndarray") -> "np.ndarray":
        a, b = np.exp(theta[2:4])
        s, t = theta[4 : 4 + N_FEATURES], theta[4 + N_FEATURES :]
        dip_T = a * (x_T - theta[0] - f_TF @ s) ** 2 + b * (y_T - theta[1] - f_TF @ t) ** 2
        # The height of a cell that fits best is the mean of what is left.
        left_T = u_T + dip_T
        return np.concatenate([(left_T - means_T(left_T)) / NOISE, (theta - start) / _SDS])

    theta = least_squares(residuals, start, method="trf", x_scale="jac").x
    return TransferRule(
        centre=tuple(map(float, centre_F)),
        x_0=float(theta[0]),
        y_0=float(theta[1]),
        slope_lr=tuple(map(float, theta[4 : 4 + N_FEATURES])),
        slope_product=tuple(map(float, theta[4 + N_FEATURES :])),
        curvatures=(math.exp(theta[2]), math.exp(theta[3])),
    )


_SDS = (CENTRE_SD, CENTRE_SD, CURVATURE_SD, CURVATURE_SD, *[SLOPE_SD] * (2 * N_FEATURES))


class _Means:
    """Mean over the trials of a cell, for every trial."""

    def __init__(self, cell_T: "np.ndarray") -> None:
        import numpy as np

        self._cell_T, self._n_C = cell_T, np.bincount(cell_T)

    def __call__(self, values_T: "np.ndarray") -> "np.ndarray":
        import numpy as np

        return (np.bincount(self._cell_T, weights=values_T) / self._n_C)[self._cell_T]


def _observed(guides: Sequence[Guide]) -> tuple["np.ndarray", ...]:
    """x, y, log(R / best R), not below `WORST`, and number of the cell of every trial."""
    import numpy as np

    rows = []
    for number, guide in enumerate(guides):
        best = _best(guide)
        assert best is not None, "a cell without a result says nothing"
        for point, ratio in guide.trials:
            fraction = 0.0 if ratio is None else ratio / best
            u = max(WORST, math.log(fraction)) if fraction > 0 else WORST
            rows.append((math.log(point.lr), _product(point, guide.setup.steps), u, number))
    x_T, y_T, u_T, cell_T = np.array(rows).T
    return x_T, y_T, u_T, cell_T.astype(int)


def _prior_means(guides: Sequence[Guide]) -> "np.ndarray":
    import numpy as np

    x_0 = np.mean([math.log(guide.own.lr) for guide in guides])
    y_0 = np.mean([_product(guide.own, guide.setup.steps) for guide in guides])
    a, b = CURVATURES
    slopes = (*SLOPE_LR, *[0.0] * N_FEATURES)
    return np.array([x_0, y_0, math.log(a), math.log(b), *slopes])


def _best(guide: Guide) -> float | None:
    """Largest R of the trials; None if there is none above 0."""
    ratios = [ratio for _, ratio in guide.trials if ratio is not None and ratio > 0]
    return max(ratios, default=None)


def _product(point: Point, steps: int) -> float:
    return math.log(max(point.lr * point.weight_decay * steps, 1e-12))


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")

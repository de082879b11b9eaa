"""Robust least squares of the capacity law, for many weightings of the same points at once.

Shape letters: B weightings (bootstrap resamples), N points. Parameters are (log c, log s).

Residuals are r = log R_measured - log R_law, that is relative errors. The cost is Huber's, of
width `HUBER_WIDTH` in units of r, minimised by iteratively reweighted Levenberg-Marquardt steps.
With two parameters each step is a 2x2 solve, so all resamples of a bootstrap advance together.
"""

import math
from dataclasses import dataclass

import numpy as np

from analysis.law import Floats, log_ratio

# A relative error of 5% is where a point starts to count less: above the seed-to-seed scatter of
# a tuned cell, below the error of a cell that failed to train.
HUBER_WIDTH = 0.05
# Below 0.5 the corner is wider than two decades of R_max, above 100 it is sharper than a 1% error
# can show.
SHARPNESS_RANGE = (0.5, 100.0)


@dataclass(frozen=True, kw_only=True)
class Solution:
    """Parameters for every weighting."""

    log_capacity_B: Floats
    log_sharpness_B: Floats
    is_converged_B: np.ndarray
    cost_B: Floats
    """Huber cost, in squared residuals."""


def solve(
    *,
    log_max_ratio_N: Floats,
    log_ratio_N: Floats,
    weight_BN: Floats,
    start: tuple[float, float],
    free_sharpness: bool = True,
    tolerance: float = 1e-11,
    max_steps: int = 200,
) -> Solution:
    """Minimise the Huber cost from `start` for every row of weights.

    Sharpness stays where it starts if not free. A step of less than `tolerance` in both natural
    logs ends the search.
    """
    x_N, y_N = log_max_ratio_N, log_ratio_N
    lower, upper = _bounds(x_N, y_N)
    theta_B2 = np.tile(np.asarray(start, dtype=float), (len(weight_BN), 1))
    cost_B = _cost(theta_B2, x_N, y_N, weight_BN)
    damping_B = np.full(len(weight_BN), 1e-3)
    arrived_B = np.zeros(len(weight_BN), dtype=bool)
    for _ in range(max_steps):
        step_B2 = _step(theta_B2, x_N, y_N, weight_BN, damping_B, free_sharpness)
        trial_B2 = np.clip(theta_B2 + step_B2, lower, upper)
        trial_cost_B = _cost(trial_B2, x_N, y_N, weight_BN)
        better_B = trial_cost_B <= cost_B
        moved_B = np.abs(trial_B2 - theta_B2).max(axis=1)
        theta_B2 = np.where(better_B[:, None], trial_B2, theta_B2)
        cost_B = np.where(better_B, trial_cost_B, cost_B)
        damping_B = np.clip(np.where(better_B, damping_B / 10, damping_B * 10), 1e-12, 1e12)
        arrived_B = moved_B < tolerance
        if arrived_B.all():
            break
    return Solution(
        log_capacity_B=theta_B2[:, 0],
        log_sharpness_B=theta_B2[:, 1],
        is_converged_B=arrived_B,
        cost_B=cost_B,
    )


def best_start(log_max_ratio_N: Floats, log_ratio_N: Floats) -> tuple[float, float]:
    """The point of a coarse grid with the smallest cost, so that no local valley is entered."""
    low, high = float(log_ratio_N.min()), float(log_ratio_N.max())
    capacities = np.linspace(low - 0.5, high + 0.7, 40)
    sharpnesses = np.log([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    grid_B2 = np.stack(np.meshgrid(capacities, sharpnesses), axis=-1).reshape(-1, 2)
    weight_BN = np.ones((len(grid_B2), len(log_ratio_N)))
    best = grid_B2[_cost(grid_B2, log_max_ratio_N, log_ratio_N, weight_BN).argmin()]
    return float(best[0]), float(best[1])


def residuals(
    log_max_ratio_N: Floats, log_ratio_N: Floats, log_capacity: float, log_sharpness: float
) -> Floats:
    """Natural log of measured R over the law's R; about the relative error; shape N."""
    law_N = log_ratio(log_max_ratio_N, np.asarray(log_capacity), np.asarray(log_sharpness))
    return log_ratio_N - law_N


def sharpness_error(
    log_max_ratio_N: Floats, log_ratio_N: Floats, log_capacity: float, log_sharpness: float
) -> float:
    """Gauss-Newton standard error of log s; infinite where the points do not constrain it."""
    theta_B2 = np.array([[log_capacity, log_sharpness]])
    by_capacity_N, by_sharpness_N = (d[0] for d in _gradients(theta_B2, log_max_ratio_N))
    residual_N = residuals(log_max_ratio_N, log_ratio_N, log_capacity, log_sharpness)
    variance = float(residual_N @ residual_N) / max(len(residual_N) - 2, 1)
    cross = float(by_capacity_N @ by_sharpness_N)
    capacity_square = float(by_capacity_N @ by_capacity_N)
    left = float(by_sharpness_N @ by_sharpness_N)
    if capacity_square > 0:
        left -= cross**2 / capacity_square
    return math.sqrt(variance / left) if left > 1e-12 else math.inf


def _bounds(x_N: Floats, y_N: Floats) -> tuple[Floats, Floats]:
    lower = np.array([y_N.min() - 3.0, math.log(SHARPNESS_RANGE[0])])
    upper = np.array([max(x_N.max(), y_N.max()) + 3.0, math.log(SHARPNESS_RANGE[1])])
    return lower, upper


def _residual_BN(theta_B2: Floats, x_N: Floats, y_N: Floats) -> Floats:
    return y_N - log_ratio(x_N, theta_B2[:, :1], theta_B2[:, 1:])


def _cost(theta_B2: Floats, x_N: Floats, y_N: Floats, weight_BN: Floats) -> Floats:
    """Huber: r^2/2 up to the width w, then w|r| - w^2/2."""
    size_BN = np.abs(_residual_BN(theta_B2, x_N, y_N))
    inside_BN = np.minimum(size_BN, HUBER_WIDTH)
    return (weight_BN * inside_BN * (size_BN - inside_BN / 2)).sum(axis=1)


def _gradients(theta_B2: Floats, x_N: Floats) -> tuple[Floats, Floats]:
    """Derivatives of log R by log c and by log s.

    With p = c^-s / (R_max^-s + c^-s): d/dlog c = p, and d/dlog s = entropy(p) / s.
    """
    log_capacity_B1, sharpness_B1 = theta_B2[:, :1], np.exp(theta_B2[:, 1:])
    gap_BN = sharpness_B1 * (x_N - log_capacity_B1)
    log_p_BN, log_q_BN = -np.logaddexp(0.0, -gap_BN), -np.logaddexp(0.0, gap_BN)
    p_BN, q_BN = np.exp(log_p_BN), np.exp(log_q_BN)
    return p_BN, -(p_BN * log_p_BN + q_BN * log_q_BN) / sharpness_B1


def _step(
    theta_B2: Floats,
    x_N: Floats,
    y_N: Floats,
    weight_BN: Floats,
    damping_B: Floats,
    free_sharpness: bool,
) -> Floats:
    """One damped Gauss-Newton step of the reweighted problem, shape (B, 2)."""
    residual_BN = _residual_BN(theta_B2, x_N, y_N)
    a_BN, b_BN = _gradients(theta_B2, x_N)
    if not free_sharpness:
        b_BN = np.zeros_like(b_BN)
    huber_BN = HUBER_WIDTH / np.maximum(np.abs(residual_BN), HUBER_WIDTH)
    w_BN = weight_BN * huber_BN
    aa_B, bb_B = (w_BN * a_BN**2).sum(axis=1), (w_BN * b_BN**2).sum(axis=1)
    ab_B = (w_BN * a_BN * b_BN).sum(axis=1)
    ar_B, br_B = (w_BN * a_BN * residual_BN).sum(axis=1), (w_BN * b_BN * residual_BN).sum(axis=1)
    aa_B, bb_B = aa_B * (1 + damping_B) + 1e-15, bb_B * (1 + damping_B) + 1e-15
    determinant_B = np.maximum(aa_B * bb_B - ab_B**2, 1e-30)
    step_B2 = np.stack([bb_B * ar_B - ab_B * br_B, aa_B * br_B - ab_B * ar_B], axis=1)
    # A tenth of a decade at a time in c, a factor e in s: the law is far from linear further out.
    return np.clip(step_B2 / determinant_B[:, None], [-0.25, -1.0], [0.25, 1.0])

"""Robust least squares of the capacity law, for many sets of measurements at once.

Shape letters: B sets of measurements (or weightings of one set) at the same R_max, N cells,
G groups of cells that have a capacity each; P = G + 1 parameters, log c of each group and log s,
which all groups share.

Residuals are r = log R_measured - log R_law, that is relative errors. Minimised is

    sum_i w_i rho(r_i) + k (log s - log s_0)^2,

rho Huber's loss in squared residuals (r^2 up to a width h, 2 h |r| - h^2 beyond), k the pull of
the corner towards the usual sharpness s_0, by iteratively reweighted Levenberg-Marquardt steps.
The normal matrix is an arrow (groups share nothing but s), so a step needs no linear solver.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from analysis.law import Floats, log_ratio

# A relative error of 5% is where a point starts to count less: above the seed-to-seed scatter of
# a tuned cell, below the error of a cell that failed to train. A larger scatter widens it.
HUBER_WIDTH = 0.05
# Below 0.5 the corner is wider than two decades of R_max, above 100 it is sharper than a 1% error
# can show.
SHARPNESS_RANGE = (0.5, 100.0)
# The published points at 1000 exposures have 4.8 (analysis/published); a standard deviation of a
# factor e leaves the corner free wherever cells tell anything of it.
USUAL_SHARPNESS, USUAL_LOG_SD = 5.0, 1.0
LOG_SHARPNESS_RANGE = np.log(SHARPNESS_RANGE)


@dataclass(frozen=True, kw_only=True)
class Cells:
    """What is fitted."""

    log_max_ratio_N: Floats
    log_ratio_BN: Floats
    weight_BN: Floats
    group_NG: Floats
    """1 where a cell belongs to a group, else 0."""
    width_B: Floats
    """Width of Huber's loss, in natural logs of R."""
    pull_B: Floats
    """Weight k of (log s - log s_0)^2."""

    @property
    def n_groups(self) -> int:
        return self.group_NG.shape[1]

    def with_groups(self, label_N: np.ndarray) -> "Cells":
        """The same cells, with a capacity for each label."""
        labels, index_N = np.unique(label_N, return_inverse=True)
        return replace(self, group_NG=np.eye(len(labels))[index_N])


def cells_of(log_max_ratio_N: Floats, log_ratio_BN: Floats, *, width: float = HUBER_WIDTH) -> Cells:
    """Cells of one capacity, equal weights, and next to no pull on the corner."""
    y_BN = np.atleast_2d(log_ratio_BN)
    n_sets, n_cells = y_BN.shape
    return Cells(
        log_max_ratio_N=log_max_ratio_N,
        log_ratio_BN=y_BN,
        weight_BN=np.ones_like(y_BN),
        group_NG=np.ones((n_cells, 1)),
        width_B=np.full(n_sets, width),
        pull_B=np.full(n_sets, 1e-9),
    )


@dataclass(frozen=True, kw_only=True)
class Solution:
    """Parameters for every set of measurements."""

    theta_BP: Floats
    """log c of each group, then log s."""
    cost_B: Floats
    """What is minimised, in squared residuals."""
    is_converged_B: np.ndarray = field(repr=False)

    @property
    def log_capacity_BG(self) -> Floats:
        return self.theta_BP[:, :-1]

    @property
    def log_sharpness_B(self) -> Floats:
        return self.theta_BP[:, -1]


def solve(
    cells: Cells,
    start_BP: Floats,
    *,
    free_capacity: bool = True,
    free_sharpness: bool = True,
    tolerance: float = 1e-9,
    max_steps: int = 100,
) -> Solution:
    """The minimum reached from `start_BP`; what is not free stays where it starts.

    A step of less than `tolerance` in all natural logs ends the search.
    """
    free_P = np.array([free_capacity] * cells.n_groups + [free_sharpness], dtype=float)
    lower_P, upper_P = _bounds(cells)
    theta_BP = np.array(start_BP, dtype=float)
    cost_B = cost(cells, theta_BP)
    damping_B = np.full(len(theta_BP), 1e-3)
    arrived_B = np.zeros(len(theta_BP), dtype=bool)
    for _ in range(max_steps):
        step_BP = _step(cells, theta_BP, damping_B, free_P) * free_P
        trial_BP = np.where(free_P > 0, np.clip(theta_BP + step_BP, lower_P, upper_P), theta_BP)
        trial_cost_B = cost(cells, trial_BP)
        better_B = trial_cost_B <= cost_B
        arrived_B |= np.abs(trial_BP - theta_BP).max(axis=1) < tolerance
        theta_BP = np.where(better_B[:, None], trial_BP, theta_BP)
        cost_B = np.where(better_B, trial_cost_B, cost_B)
        damping_B = np.clip(np.where(better_B, damping_B / 10, damping_B * 10), 1e-12, 1e12)
        if arrived_B.all():
            break
    return Solution(theta_BP=theta_BP, cost_B=cost_B, is_converged_B=arrived_B)


def best_start(cells: Cells) -> Floats:
    """The point of a coarse grid with the smallest cost, so that no local valley is entered.

    All groups start from the same capacity. Shape (B, P).
    """
    low, high = _capacity_span(cells)
    capacities = np.linspace(low - 0.5, high + 0.7, 32)
    best_B, start_BP = np.full(len(cells.log_ratio_BN), np.inf), np.empty(0)
    for log_sharpness in np.log([1.0, 2.5, 6.0, 16.0, 60.0]):
        for log_capacity in capacities:
            one_P = np.array([*[log_capacity] * cells.n_groups, log_sharpness])
            theta_BP = np.tile(one_P, (len(best_B), 1))
            start_BP = theta_BP if start_BP.size == 0 else start_BP
            cost_B = cost(cells, theta_BP)
            start_BP = np.where((cost_B < best_B)[:, None], theta_BP, start_BP)
            best_B = np.minimum(best_B, cost_B)
    return start_BP


def residuals(cells: Cells, theta_BP: Floats) -> Floats:
    """Natural log of measured R over the law's R; about the relative error; shape (B, N)."""
    log_capacity_BN = theta_BP[:, :-1] @ cells.group_NG.T
    return cells.log_ratio_BN - log_ratio(cells.log_max_ratio_N, log_capacity_BN, theta_BP[:, -1:])


def cost(cells: Cells, theta_BP: Floats) -> Floats:
    """Huber's loss of all cells and the pull on the corner; shape B."""
    size_BN = np.abs(residuals(cells, theta_BP))
    inside_BN = np.minimum(size_BN, cells.width_B[:, None])
    loss_B = (cells.weight_BN * inside_BN * (2 * size_BN - inside_BN)).sum(axis=1)
    return loss_B + cells.pull_B * (theta_BP[:, -1] - math.log(USUAL_SHARPNESS)) ** 2


def robust_weights(cells: Cells, residual_BN: Floats) -> Floats:
    """Weights of an ordinary least squares that has the same minimum; shape (B, N)."""
    width_B1 = cells.width_B[:, None]
    return cells.weight_BN * width_B1 / np.maximum(np.abs(residual_BN), width_B1)


def gradients(cells: Cells, theta_BP: Floats) -> tuple[Floats, Floats]:
    """Derivatives of log R by log c and by log s, each of shape (B, N).

    With p = c^-s / (R_max^-s + c^-s): d/dlog c = p, and d/dlog s = entropy(p) / s. So p says how
    much a cell tells of c: 0 for a saturated one, 1/2 at R_max = c, 1 far beyond.
    """
    log_capacity_BN = theta_BP[:, :-1] @ cells.group_NG.T
    sharpness_B1 = np.exp(theta_BP[:, -1:])
    gap_BN = sharpness_B1 * (cells.log_max_ratio_N - log_capacity_BN)
    log_p_BN, log_q_BN = -np.logaddexp(0.0, -gap_BN), -np.logaddexp(0.0, gap_BN)
    p_BN, q_BN = np.exp(log_p_BN), np.exp(log_q_BN)
    return p_BN, -(p_BN * log_p_BN + q_BN * log_q_BN) / sharpness_B1


def _capacity_span(cells: Cells) -> tuple[float, float]:
    """Smallest and largest R among cells, but for those far below all others (censored ones)."""
    y_BN = cells.log_ratio_BN
    usual_BN = y_BN > np.median(y_BN, axis=1, keepdims=True) - 7.0
    return float(y_BN[usual_BN].min()), float(y_BN[usual_BN].max())


def _bounds(cells: Cells) -> tuple[Floats, Floats]:
    low, high = _capacity_span(cells)
    top = max(float(cells.log_max_ratio_N.max()), high) + 3.0
    ones_G = np.ones(cells.n_groups)
    lower_P = np.append((low - 3.0) * ones_G, LOG_SHARPNESS_RANGE[0])
    return lower_P, np.append(top * ones_G, LOG_SHARPNESS_RANGE[1])


def _step(cells: Cells, theta_BP: Floats, damping_B: Floats, free_P: Floats) -> Floats:
    """One damped Gauss-Newton step of the reweighted problem, by elimination of the groups.

    Of the normal equations [A_g, d_g; d_g, S] [x_g; y] = [a_g; b] the groups follow from y:
    y = (b - sum d_g a_g / A_g) / (S - sum d_g^2 / A_g), x_g = (a_g - d_g y) / A_g.
    """
    residual_BN = residuals(cells, theta_BP)
    p_BN, b_BN = gradients(cells, theta_BP)
    p_BN, b_BN = p_BN * free_P[0], b_BN * free_P[-1]
    w_BN = robust_weights(cells, residual_BN)
    grown_B = 1 + damping_B
    square_BG = (w_BN * p_BN**2) @ cells.group_NG * grown_B[:, None] + 1e-14
    cross_BG = (w_BN * p_BN * b_BN) @ cells.group_NG
    right_BG = (w_BN * p_BN * residual_BN) @ cells.group_NG
    from_usual_B = theta_BP[:, -1] - math.log(USUAL_SHARPNESS)
    square_B = ((w_BN * b_BN**2).sum(axis=1) + cells.pull_B) * grown_B + 1e-14
    right_B = (w_BN * b_BN * residual_BN).sum(axis=1) - cells.pull_B * from_usual_B
    left_B = np.maximum(square_B - (cross_BG**2 / square_BG).sum(axis=1), 1e-14)
    # A quarter in log c, a factor e^0.7 in s at a time: the law is far from linear further out.
    by_s_B = np.clip((right_B - (cross_BG * right_BG / square_BG).sum(axis=1)) / left_B, -0.7, 0.7)
    by_c_BG = np.clip((right_BG - cross_BG * by_s_B[:, None]) / square_BG, -0.25, 0.25)
    return np.column_stack([by_c_BG, by_s_B])

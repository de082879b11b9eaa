"""Capacity from the cells of one group: value, clusters, interval or bound, for many sets at once.

Shape letters as in `solver`: B sets of measurements at the same R_max, N cells.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from analysis.intervals import Spread, cluster_spread, profile_end
from analysis.law import Floats, log_ratio
from analysis.solver import (
    HUBER_WIDTH,
    USUAL_LOG_SD,
    Cells,
    Solution,
    best_start,
    cells_of,
    gradients,
    residuals,
    robust_weights,
    solve,
)

# Share of a change of c that shows in a cell's R, from which the cell counts as informative: its
# R_max is at least c.
INFORMATIVE = 0.5
# Below, Student's quantile passes 5 and rests on the normality of two or three cells.
MIN_DEGREES = 1.9
# Without degrees of freedom for an interval c is still told where some cell demands this much
# more, in natural logs: a fifth.
CLEAR_DEMAND = 0.2
# Cells of different levels (people, shapes) are pooled only where a test at this level sees no
# difference: Bancroft and Han, Int. Stat. Rev. 45 (1977) 117, on when pooling after a test keeps
# the size of intervals.
POOLING_LEVEL = 0.25
MIN_LEVELS = 2  # of people or shapes, to tell that c varies between them; two leave no interval


@dataclass(frozen=True, kw_only=True)
class Inference:
    """What the cells say of c, for every set of measurements."""

    cells: Cells
    found: Solution
    spread: Spread
    """Of the clusters with the widest interval."""
    cluster_B: np.ndarray
    """Name of those clusters."""
    scatter_B: Floats
    """Robust standard deviation of the informative cells' residuals."""
    n_informative_B: np.ndarray
    """Cells with R_max of at least c."""
    low_B: Floats
    """Lower end of log c."""
    high_B: Floats
    """Upper end of log c; inf where the cells do not demand that much."""
    has_interval_B: np.ndarray
    """Whether the degrees of freedom support an interval and both ends are reached."""
    is_reached_B: np.ndarray
    """Whether some cell demands more than any plausible c; if not, `low_B` is a one-sided bound."""

    def at_demand(self, log_max_ratio_M: Floats) -> tuple[Floats, Floats]:
        """The law's gradients by log c and log s at other R_max, each of shape (B, M)."""
        ones_M1 = np.ones((len(log_max_ratio_M), 1))
        other = replace(self.cells, log_max_ratio_N=log_max_ratio_M, group_NG=ones_M1)
        return gradients(other, self.found.theta_BP)


def infer(
    log_max_ratio_N: Floats,
    log_ratio_BN: Floats,
    clusters: Mapping[str, np.ndarray],
    *,
    level: float = 0.95,
) -> Inference:
    """Fit every set, and find the ends of log c.

    `clusters` names labels of the cells: `cell` (the same for repeated seeds) must be there;
    others (people, shape) count where they have `MIN_LEVELS` levels and c differs between them. Of
    one or two levels, c and its interval are theirs: how it varies beyond is not known.
    """
    cells, found, scatter_B = fit_robustly(log_max_ratio_N, log_ratio_BN)
    spread, cluster_B = _widest(cells, found, scatter_B, clusters, level)
    log_capacity_B = found.theta_BP[:, 0]
    top_B = np.full(len(log_capacity_B), log_max_ratio_N.max())
    quantile_B = spread.quantile((1 + level) / 2)
    high_B, is_closed_B = profile_end(cells, found, spread, quantile_B, top_B)
    is_closed_B &= log_capacity_B < top_B
    low_B, _ = profile_end(cells, found, spread, quantile_B, log_capacity_B - 3.0)
    has_degrees_B = spread.degrees_B >= MIN_DEGREES
    clears_B = log_capacity_B < top_B - CLEAR_DEMAND
    is_reached_B = np.where(has_degrees_B, is_closed_B, clears_B)
    p_BN, _ = gradients(cells, found.theta_BP)
    return Inference(
        cells=cells,
        found=found,
        spread=spread,
        cluster_B=cluster_B,
        scatter_B=scatter_B,
        n_informative_B=(p_BN > INFORMATIVE).sum(axis=1),
        low_B=np.where(is_reached_B, low_B, _bound(cells, found, spread, level)),
        high_B=np.where(is_reached_B, high_B, np.inf),
        has_interval_B=is_reached_B & has_degrees_B,
        is_reached_B=is_reached_B,
    )


def _bound(cells: Cells, found: Solution, spread: Spread, level: float) -> Floats:
    """What log c exceeds: the lower one-sided limit of the law's R at the largest R_max.

    The law only grows with R_max, and towards c, so no trust in its extrapolation is needed.
    """
    top = int(cells.log_max_ratio_N.argmax())
    p_BN, by_sharpness_BN = gradients(cells, found.theta_BP)
    error_BN = spread.error_of_ratio(p_BN[:, [top]], by_sharpness_BN[:, [top]])
    log_capacity_B1, log_sharpness_B1 = found.theta_BP[:, :1], found.theta_BP[:, 1:]
    at_top_B1 = log_ratio(cells.log_max_ratio_N[[top]], log_capacity_B1, log_sharpness_B1)
    return (at_top_B1 - spread.quantile(level)[:, None] * error_BN)[:, 0]


def fit_robustly(
    log_max_ratio_N: Floats, log_ratio_BN: Floats, weight_BN: Floats | None = None
) -> tuple[Cells, Solution, Floats]:
    """The law of every set, Huber's width and the corner's pull set by the cells' own scatter,
    which is the third value. Cells of weight 0 count nowhere; without weights all count alike.
    """
    cells = cells_of(log_max_ratio_N, log_ratio_BN)
    if weight_BN is not None:
        cells = replace(cells, weight_BN=weight_BN)
    found = solve(cells, best_start(cells))
    # Once: a width that follows the residuals which it allows can run away with far cells.
    scatter_B = informative_scatter(cells, found)
    cells = replace(
        cells,
        width_B=np.maximum(HUBER_WIDTH, 2 * scatter_B),
        pull_B=(scatter_B / USUAL_LOG_SD) ** 2 + 1e-12,
    )
    found = solve(cells, found.theta_BP)
    return cells, found, informative_scatter(cells, found)


def informative_scatter(cells: Cells, found: Solution) -> Floats:
    """Scatter of log R among the cells that tell of c, by the median of absolute residuals.

    1.48 times the median is the standard deviation of normal noise; the factor for few cells
    makes up for the capacity that was fitted to them. Shape B.
    """
    residual_BN = np.abs(residuals(cells, found.theta_BP))
    p_BN, _ = gradients(cells, found.theta_BP)
    told_BN = (p_BN > INFORMATIVE) & (cells.weight_BN > 0)
    n_B = told_BN.sum(axis=1)
    told_BN |= (n_B < 2)[:, None]  # none: all cells speak
    n_B = told_BN.sum(axis=1)
    median_B = np.nanmedian(np.where(told_BN, residual_BN, np.nan), axis=1)
    return 1.4826 * median_B * (1 + 1.5 / np.maximum(n_B - 1, 1))


def level_test(
    cells: Cells, found: Solution, label_N: np.ndarray
) -> tuple[Floats, Floats, Solution]:
    """F and p of one c for all against a c for each label, the corner held; and the latter fit.

    F = ((S_0 - S_1) / (G - 1)) / (S_1 / (n - G)) with S the costs of the informative cells, and n
    and G their number and that of their labels: the extra sum of squares, Seber and Wild,
    Nonlinear Regression (1989), section 5.7. Only the informative cells are fitted: a label of
    saturated ones would fit their noise by a c of its own, for which G - 1 does not pay.
    """
    p_BN, _ = gradients(cells, found.theta_BP)
    told_BN = p_BN > INFORMATIVE
    own = replace(cells, weight_BN=cells.weight_BN * told_BN)
    together = solve(own, found.theta_BP, free_sharpness=False)
    apart = own.with_groups(label_N)
    start_BP = np.column_stack(
        [np.repeat(together.theta_BP[:, :1], apart.n_groups, axis=1), together.theta_BP[:, 1]]
    )
    split = solve(apart, start_BP, free_sharpness=False)
    n_B = told_BN.sum(axis=1)
    n_groups_B = ((told_BN @ apart.group_NG) > 0).sum(axis=1)
    above_B, below_B = np.maximum(n_groups_B - 1, 1), np.maximum(n_B - n_groups_B, 0)
    gain_B = np.maximum(together.cost_B - split.cost_B, 0.0)
    rest_B = np.maximum(_weighted_squares(apart, split), 1e-12)
    is_testable_B = (n_groups_B > 1) & (below_B > 0)
    f_B = np.where(is_testable_B, gain_B / above_B / (rest_B / np.maximum(below_B, 1)), np.nan)
    p_B = np.where(is_testable_B, special.fdtrc(above_B, np.maximum(below_B, 1), f_B), np.nan)
    return f_B, p_B, split


def _weighted_squares(cells: Cells, found: Solution) -> Floats:
    residual_BN = residuals(cells, found.theta_BP)
    return (robust_weights(cells, residual_BN) * residual_BN**2).sum(axis=1)


def _widest(
    cells: Cells,
    found: Solution,
    scatter_B: Floats,
    clusters: Mapping[str, np.ndarray],
    level: float,
) -> tuple[Spread, np.ndarray]:
    """The spread by cells, or by people or shapes where these make it wider."""
    chosen = cluster_spread(cells, found, clusters["cell"], scatter_B**2)
    name_B = np.full(len(scatter_B), "cell", dtype=object)
    n_cells = len(np.unique(clusters["cell"]))
    for name, label_N in clusters.items():
        if name == "cell" or not MIN_LEVELS <= len(np.unique(label_N)) < n_cells:
            continue
        _, p_B, _ = level_test(cells, found, label_N)
        other = cluster_spread(cells, found, label_N, scatter_B**2)
        differs_B = ~(p_B > POOLING_LEVEL)
        wider_B = differs_B & (other.reach(level) > chosen.reach(level))
        name_B[wider_B] = name
        chosen = chosen.or_where(wider_B, other)
    return chosen, name_B

"""Intervals of a fitted capacity: cluster-robust variance, small-sample degrees, profile.

Shape letters as in `solver`: B sets of measurements, N cells, P parameters; K clusters.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from analysis.law import Floats
from analysis.solver import (
    LOG_SHARPNESS_RANGE,
    Cells,
    Solution,
    gradients,
    residuals,
    robust_weights,
    solve,
)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How far the fitted log c and log s may be from the truth."""

    covariance_B22: Floats
    """Of (log c, log s)."""
    degrees_B2: Floats
    """Degrees of freedom of the two variances."""
    naive_B2: Floats
    """The two variances for independent cells of variance 1."""

    @property
    def degrees_B(self) -> Floats:
        """Of log c."""
        return self.degrees_B2[:, 0]

    @property
    def variance_B(self) -> Floats:
        """Of log c."""
        return self.covariance_B22[:, 0, 0]

    def quantile(self, level: float) -> Floats:
        """Student's quantile, of at least one degree of freedom."""
        return special.stdtrit(np.maximum(self.degrees_B, 1.0), level)

    def reach(self, level: float) -> Floats:
        """Half the width of a linear interval of log c."""
        return self.quantile((1 + level) / 2) * np.sqrt(self.variance_B)

    def sharpness_reach(self, level: float) -> Floats:
        """Half the width of a linear interval of log s."""
        quantile_B = special.stdtrit(np.maximum(self.degrees_B2[:, 1], 1.0), (1 + level) / 2)
        return quantile_B * np.sqrt(self.covariance_B22[:, 1, 1])

    def or_where(self, where_B: np.ndarray, other: "Spread") -> "Spread":
        """This one, but the other's variances and degrees where asked for."""
        return Spread(
            covariance_B22=np.where(
                where_B[:, None, None], other.covariance_B22, self.covariance_B22
            ),
            degrees_B2=np.where(where_B[:, None], other.degrees_B2, self.degrees_B2),
            naive_B2=self.naive_B2,
        )

    def error_of_ratio(self, p_BN: Floats, by_sharpness_BN: Floats) -> Floats:
        """Standard error of the law's log R, from its gradients by log c and log s."""
        gradient_BN2 = np.stack([p_BN, by_sharpness_BN], axis=2)
        return np.sqrt(
            np.einsum("bni,bij,bnj->bn", gradient_BN2, self.covariance_B22, gradient_BN2)
        )


def cluster_spread(
    cells: Cells, found: Solution, cluster_N: np.ndarray, prior_variance_B: Floats
) -> Spread:
    """Variance of log c where whole clusters of cells are off together.

    CR2, the bias-reduced sandwich: V = m' sum_k (X_k' A_k e_k)(X_k' A_k e_k)' m with
    A_k = (I - H_kk)^(-1/2), and its degrees of freedom by Satterthwaite's rule: Bell and
    McCaffrey, Survey Methodology 28 (2002) 169; Imbens and Kolesar, Rev. Econ. Stat. 98 (2016)
    701. X holds the law's gradients, weighted as Huber's loss does. Saturated cells have no
    gradient by c, so they add no degrees. `prior_variance_B` is the variance of a cell, with
    which the pull on the corner counts.
    """
    residual_BN = residuals(cells, found.theta_BP)
    root_BN = np.sqrt(robust_weights(cells, residual_BN))
    x_BN2 = np.stack(gradients(cells, found.theta_BP), axis=2) * root_BN[:, :, None]
    e_BN = residual_BN * root_BN
    square_B22 = np.einsum("bni,bnj->bij", x_BN2, x_BN2)
    square_B22[:, 1, 1] += cells.pull_B
    square_B22 += 1e-14 * np.eye(2)
    inverse_B22 = np.linalg.inv(square_B22)
    influence_BN2 = x_BN2 @ inverse_B22
    hat_BNN = influence_BN2 @ np.swapaxes(x_BN2, 1, 2)
    adjusted_BNK2 = _adjusted(hat_BNN, influence_BN2, cluster_N)
    score_BK2 = np.einsum("bnki,bn->bki", adjusted_BNK2, e_BN)
    covariance_B22 = np.swapaxes(score_BK2, 1, 2) @ score_BK2
    pulled_B = cells.pull_B * prior_variance_B
    covariance_B22 += np.einsum("bi,bj,b->bij", inverse_B22[:, 1], inverse_B22[:, 1], pulled_B)
    return Spread(
        covariance_B22=covariance_B22,
        degrees_B2=np.column_stack([_degrees(hat_BNN, adjusted_BNK2[..., i]) for i in range(2)]),
        naive_B2=np.diagonal(inverse_B22, axis1=1, axis2=2),
    )


def _degrees(hat_BNN: Floats, adjusted_BNK: Floats) -> Floats:
    """Satterthwaite's degrees: tr(Q)^2 / tr(Q^2) with Q the covariance of the clusters' scores."""
    spread_BNK = adjusted_BNK - hat_BNN @ adjusted_BNK
    gram_BKK = np.swapaxes(spread_BNK, 1, 2) @ spread_BNK
    trace_B = np.trace(gram_BKK, axis1=1, axis2=2)
    return trace_B**2 / np.maximum((gram_BKK**2).sum(axis=(1, 2)), 1e-300)


def _adjusted(hat_BNN: Floats, influence_BN2: Floats, cluster_N: np.ndarray) -> Floats:
    """A_k times the influence of the cells of cluster k, zero elsewhere; shape (B, N, K, 2)."""
    labels, index_N = np.unique(cluster_N, return_inverse=True)
    adjusted_BNK2 = np.zeros((*influence_BN2.shape[:2], len(labels), 2))
    for k in range(len(labels)):
        own = np.flatnonzero(index_N == k)
        block_Bkk = np.eye(len(own)) - hat_BNN[:, own[:, None], own]
        value_Bk, vector_Bkk = np.linalg.eigh((block_Bkk + np.swapaxes(block_Bkk, 1, 2)) / 2)
        # A cluster that alone decides a parameter leaves no residual there: no eigenvalue.
        root_Bk = np.where(value_Bk > 1e-8, 1 / np.sqrt(np.maximum(value_Bk, 1e-8)), 0.0)
        along_Bk2 = np.swapaxes(vector_Bkk, 1, 2) @ influence_BN2[:, own] * root_Bk[:, :, None]
        adjusted_BNK2[:, own, k] = vector_Bkk @ along_Bk2
    return adjusted_BNK2


def profile_end(
    cells: Cells, found: Solution, spread: Spread, quantile_B: Floats, limit_B: Floats
) -> tuple[Floats, np.ndarray]:
    """Where the adjusted profile of log c reaches `quantile_B`, between the fit and `limit_B`.

    The profile is the cost with log c held and s free, less its minimum. It is rescaled to the
    curvature that the cluster-robust variance implies (Chandler and Bate, Biometrika 94 (2007)
    167, "vertical" adjustment), so its signed root is compared with Student's quantile. Returns
    the ends, and whether each was reached; where not, the end is the limit.
    """
    scale_B = spread.naive_B2[:, 0] / np.maximum(spread.variance_B, 1e-30)

    def root(at_B: Floats) -> Floats:
        return _profile_root(cells, found, at_B, scale_B) - quantile_B

    near_B, far_B = found.theta_BP[:, 0].copy(), limit_B.astype(float).copy()
    at_near_B, at_far_B = -quantile_B.copy(), root(far_B)
    is_reached_B = at_far_B >= 0
    # Illinois, from the linear end: the signed root is nearly a straight line in log c.
    linear_B = quantile_B * np.sqrt(spread.variance_B) / np.maximum(np.abs(far_B - near_B), 1e-12)
    share_B, before_B = np.clip(linear_B, 0.02, 0.98), np.zeros(len(near_B))
    for _ in range(14):
        try_B = near_B + share_B * (far_B - near_B)
        value_B = root(try_B)
        beyond_B = value_B >= 0
        side_B = np.where(beyond_B, 1.0, -1.0)
        halved_B = np.where(side_B == before_B, 0.5, 1.0)
        at_near_B = np.where(beyond_B, at_near_B * halved_B, value_B)
        at_far_B = np.where(beyond_B, value_B, at_far_B * halved_B)
        near_B, far_B = np.where(beyond_B, near_B, try_B), np.where(beyond_B, try_B, far_B)
        close_B = (np.abs(value_B) < 1e-3) | (np.abs(far_B - near_B) < 1e-5) | ~is_reached_B
        slope_B = np.maximum(at_far_B - at_near_B, 1e-12)
        share_B, before_B = np.clip(-at_near_B / slope_B, 0.01, 0.99), side_B
        if close_B.all():
            break
    end_B = near_B + share_B * (far_B - near_B)
    return np.where(is_reached_B, end_B, limit_B), is_reached_B


def _profile_root(cells: Cells, found: Solution, at_B: Floats, scale_B: Floats) -> Floats:
    """Root of the rescaled profile at these values of log c, from three corners; shape B."""
    low, high = LOG_SHARPNESS_RANGE
    n_sets = len(at_B)
    corners = (found.log_sharpness_B, np.full(n_sets, low + 0.7), np.full(n_sets, high - 2.3))
    start_BP = np.column_stack([np.tile(at_B, 3), np.concatenate(corners)])
    thrice = replace(
        cells,
        log_ratio_BN=np.tile(cells.log_ratio_BN, (3, 1)),
        weight_BN=np.tile(cells.weight_BN, (3, 1)),
        width_B=np.tile(cells.width_B, 3),
        pull_B=np.tile(cells.pull_B, 3),
    )
    held = solve(thrice, start_BP, free_capacity=False, tolerance=1e-4, max_steps=12)
    best_B = held.cost_B.reshape(3, n_sets).min(axis=0)
    return np.sqrt(np.maximum(best_B - found.cost_B, 0.0) * scale_B)

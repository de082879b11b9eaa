"""Whether the cells follow one law: by people, shape and R_max, and cell by cell."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from scipy import special

from analysis.inference import INFORMATIVE, Inference, fit_robustly, level_test
from analysis.law import Floats
from analysis.multiple_tests import holm
from analysis.solver import Cells, gradients, residuals

SIGNIFICANT = 0.01  # after Holm's correction, over the tests of one fit
MAX_DELETED = 40  # cells up to which one of them bends the law, so that it is left out
MIN_SHOWN_SCATTER = 0.01  # a relative error of 1%: closer cells than that are not told apart


@dataclass(frozen=True, kw_only=True)
class LackOfFit:
    """One test of a common law."""

    by: str
    """What distinguishes the cells: people, shape or R_max."""
    f: float
    degrees: tuple[int, int]
    p: float
    """After Holm's correction."""
    detail: str
    """In words, with the capacities or the slope."""

    @property
    def is_significant(self) -> bool:
        return self.p < SIGNIFICANT

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def lack_of_fit(found: Inference, clusters: Mapping[str, np.ndarray]) -> tuple[LackOfFit, ...]:
    """Every test that these cells allow, of the first set of measurements."""
    tests = [_by_label(found, name, clusters[name]) for name in clusters if name != "cell"]
    done = [
        test for test in [*tests, _by_demand(found, clusters.get("people"))] if test is not None
    ]
    adjusted = holm([test.p for test in done])
    return tuple(
        LackOfFit(by=t.by, f=t.f, degrees=t.degrees, p=p, detail=t.detail)
        for t, p in zip(done, adjusted, strict=True)
    )


def outliers(found: Inference) -> np.ndarray:
    """Which cells are further from the law than the scatter of the others allows; shape N.

    Student's t, Holm over the cells. Of few cells each is held against the law of all others,
    which it would bend: the deletion residual over its error, with one degree less than the others
    have informative cells. Of many, the law of all is that of the others.
    """
    if len(found.cells.log_max_ratio_N) <= MAX_DELETED:
        t_N, degrees_N = _deletion_residuals(found.cells)
    else:
        residual_N = residuals(found.cells, found.found.theta_BP)[0]
        t_N = residual_N / max(float(found.scatter_B[0]), MIN_SHOWN_SCATTER)
        degrees_N = np.full(len(t_N), max(int(found.n_informative_B[0]) - 2, 1))
    p_N = 2 * special.stdtr(degrees_N, -np.abs(t_N))
    return np.array(holm(p_N.tolist())) < SIGNIFICANT


def _deletion_residuals(cells: Cells) -> tuple[Floats, np.ndarray]:
    """Each cell's residual from the law of the others over its standard error, and the degrees.

    The error is s sqrt(1 + h) with s the scatter of the others and h the variance of their law
    there, for cells of variance 1 (Cook and Weisberg, Residuals and Influence in Regression
    (1982), section 2.2.1).
    """
    n = len(cells.log_max_ratio_N)
    y_NN, kept_NN = np.tile(cells.log_ratio_BN[:1], (n, 1)), 1 - np.eye(n)
    others, found, scatter_N = fit_robustly(cells.log_max_ratio_N, y_NN, kept_NN)
    p_NN, by_sharpness_NN = gradients(others, found.theta_BP)
    x_NN2 = np.stack([p_NN, by_sharpness_NN], axis=2)
    square_N22 = np.einsum("bn,bni,bnj->bij", kept_NN, x_NN2, x_NN2)
    square_N22[:, 1, 1] += others.pull_B
    own_N2 = x_NN2[np.arange(n), np.arange(n)]
    square_N22 += 1e-14 * np.eye(2)  # of a cell that alone tells c the others know nothing
    h_N = np.einsum("bi,bij,bj->b", own_N2, np.linalg.inv(square_N22), own_N2)
    error_N = np.maximum(scatter_N, MIN_SHOWN_SCATTER) * np.sqrt(1 + h_N)
    n_told_N = ((p_NN > INFORMATIVE) * kept_NN).sum(axis=1)
    residual_N = np.diagonal(residuals(others, found.theta_BP))
    return residual_N / error_N, np.maximum(n_told_N - 1, 1)


def _by_label(found: Inference, name: str, label_N: np.ndarray) -> LackOfFit | None:
    """One c for all against a c for each label; None where too few cells tell."""
    f_B, p_B, split = level_test(found.cells, found.found, label_N)
    if not np.isfinite(p_B[0]):
        return None
    told_N = _told(found)
    own, n_told = np.unique(label_N[told_N]), int(told_N.sum())
    capacity_G = np.exp(split.log_capacity_BG[0])
    all_labels = np.unique(label_N).tolist()
    shown = {label: float(capacity_G[all_labels.index(label)]) for label in own}
    low, high = min(shown, key=lambda k: shown[k]), max(shown, key=lambda k: shown[k])
    return LackOfFit(
        by=name,
        f=float(f_B[0]),
        degrees=(len(own) - 1, n_told - len(own)),
        p=float(p_B[0]),
        detail=f"c from {shown[low]:.3g} ({low}) to {shown[high]:.3g} ({high})",
    )


def _by_demand(found: Inference, people_N: np.ndarray | None) -> LackOfFit | None:
    """Whether R still changes with R_max where the law is flat.

    The slope of the residuals within each number of people, so that people whose c differs do
    not hide it.
    """
    told_N = _told(found)
    x_N = found.cells.log_max_ratio_N[told_N]
    width = float(found.cells.width_B[0])
    residual_N = np.clip(residuals(found.cells, found.found.theta_BP)[0][told_N], -width, width)
    labels = np.zeros(len(x_N)) if people_N is None else people_N[told_N]
    groups = np.unique(labels)
    for label in groups:
        own_N = labels == label
        x_N = np.where(own_N, x_N - x_N[own_N].mean(), x_N)
        residual_N = np.where(own_N, residual_N - residual_N[own_N].mean(), residual_N)
    degrees = len(x_N) - len(groups) - 1
    if degrees < 2 or np.ptp(x_N) < np.log(1.2) or found.scatter_B[0] < 1e-6:
        return None
    slope = float(x_N @ residual_N / (x_N @ x_N))
    rest = float(((residual_N - slope * x_N) ** 2).sum())
    f = slope**2 * float(x_N @ x_N) / max(rest / degrees, 1e-12)
    return LackOfFit(
        by="R_max",
        f=f,
        degrees=(1, degrees),
        p=float(special.fdtrc(1, degrees, f)),
        detail=f"beyond the corner R goes as R_max to the power {slope:+.2f} off the law",
    )


def _told(found: Inference) -> np.ndarray:
    p_BN, _ = gradients(found.cells, found.found.theta_BP)
    return p_BN[0] > INFORMATIVE

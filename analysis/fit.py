"""Fit the capacity law to measured cells: intervals, and a status where there is no fit."""

import math
from dataclasses import asdict, dataclass, field
from enum import StrEnum

import numpy as np
import pandas as pd
from scipy import special

from analysis.estimate import Estimate, from_draws
from analysis.groups import GroupKey, split_groups
from analysis.law import CapacityLaw, Floats, log_ratio
from analysis.solver import SHARPNESS_RANGE, best_start, residuals, sharpness_error, solve

MIN_POINTS = 3  # two parameters, and one point to tell whether they fit
SATURATED_RATIO = 0.95  # of R_max: the suggested pass band for "stores all there is"
MIN_KEPT_DRAWS = 0.8  # of all bootstrap resamples must be fittable for an interval
MAX_MEDIAN_RESIDUAL = 0.15  # relative; beyond it the cells bend in another way than the law
MAX_LOG_SHARPNESS_ERROR = 1.0  # a standard error of a factor e: the corner's shape is then unknown


class FitStatus(StrEnum):
    """What came of a fit."""

    OK = "ok"
    SHARPNESS_NOT_IDENTIFIED = "sharpness not identified"
    TOO_FEW_POINTS = "too few points"
    NO_POSITIVE_POINTS = "no positive points"
    CAPACITY_NOT_IDENTIFIED = "capacity not identified"
    POOR_FIT = "poor fit"


@dataclass(frozen=True, kw_only=True)
class CapacityFit:
    """The law of one group of cells, or why there is none."""

    group: GroupKey
    status: FitStatus
    reason: str
    """Why the status is not ok, or a caution; empty if there is nothing to say."""
    n_points: int
    """Cells fitted: status ok and stored bits above zero."""
    n_excluded: int
    """Usable cells left out because a logarithm of zero or negative bits does not exist."""
    capacity: Estimate | None = None
    """Capacity c, in bits per parameter."""
    sharpness: Estimate | None = None
    """Sharpness s of the corner, no unit; None where the cells do not tell it."""
    log_rms: float | None = None
    """Root mean square of the relative residuals (0.02 is about 2%)."""
    draws_B2: Floats = field(default_factory=lambda: np.empty((0, 2)), repr=False, compare=False)
    """Bootstrap resamples of (c, s)."""

    @property
    def law(self) -> CapacityLaw | None:
        """The fitted law; a hard minimum where the sharpness is not identified."""
        if self.capacity is None:
            return None
        sharpness = self.sharpness.value if self.sharpness else math.inf
        return CapacityLaw(capacity=self.capacity.value, sharpness=sharpness)

    def band(self, max_ratio: Floats) -> tuple[Floats, Floats] | None:
        """Pointwise interval of the law's R, at the level of `capacity`, if there is one."""
        if self.capacity is None or self.capacity.low is None:
            return None
        log_c_B1, log_s_B1 = np.log(self.draws_B2[:, :1]), np.log(self.draws_B2[:, 1:])
        ratios_BN = np.exp(log_ratio(np.log(max_ratio), log_c_B1, log_s_B1))
        tail = _tail(self.capacity.level, self.n_points, n_parameters=2 if self.sharpness else 1)
        low, high = np.quantile(ratios_BN, [tail, 1 - tail], axis=0)
        return low, high

    def to_json(self) -> dict[str, object]:
        """Plain values that json can write; absent numbers are None."""
        return {
            "group": self.group.to_json(),
            "status": str(self.status),
            "reason": self.reason,
            "n_points": self.n_points,
            "n_excluded": self.n_excluded,
            "capacity_bits_per_param": asdict(self.capacity) if self.capacity else None,
            "sharpness": asdict(self.sharpness) if self.sharpness else None,
            "log_rms": self.log_rms,
        }


def fit_groups(
    rows: pd.DataFrame, *, level: float = 0.95, n_resamples: int = 1_000, seed: int = 0
) -> list[CapacityFit]:
    """One fit for every data set, family, exposures and quantization among the usable rows."""
    return [
        fit_capacity(
            key,
            max_ratio_N=group["max_capacity_ratio"].to_numpy(float),
            ratio_N=group["capacity_ratio"].to_numpy(float),
            level=level,
            n_resamples=n_resamples,
            seed=seed,
        )
        for key, group in split_groups(rows)
    ]


def fit_capacity(
    group: GroupKey,
    *,
    max_ratio_N: Floats,
    ratio_N: Floats,
    level: float = 0.95,
    n_resamples: int = 1_000,
    seed: int = 0,
) -> CapacityFit:
    """Fit the law to cells of R_max and R, by robust least squares on log R.

    Intervals are percentiles over resampled cells, widened for few cells (see `_tail`).
    """
    positive_N = ratio_N > 0
    n_points, n_excluded = int(positive_N.sum()), int((~positive_N).sum())
    x_N, y_N = np.log(max_ratio_N[positive_N]), np.log(ratio_N[positive_N])

    point = None
    refusal = _why_unsuitable(x_N, y_N, n_excluded)
    if refusal is None:
        point = _fit_point(x_N, y_N)
        refusal = _why_refused(x_N, y_N, point)
    if point is None or refusal is not None:
        assert refusal is not None, "a fit is refused with a reason"
        return CapacityFit(
            group=group,
            status=refusal[0],
            reason=refusal[1],
            n_points=n_points,
            n_excluded=n_excluded,
        )
    log_capacity, log_sharpness, is_sharp = point
    draws_B2, kept_frac = _bootstrap(x_N, y_N, point, n_resamples=n_resamples, seed=seed)
    tail = _tail(level, n_points, n_parameters=2 if is_sharp else 1)
    has_interval = kept_frac >= MIN_KEPT_DRAWS
    capacity_B, sharpness_B = draws_B2.T if has_interval else (None, None)
    residual_N = residuals(x_N, y_N, log_capacity, log_sharpness)
    sharpness = from_draws(math.exp(log_sharpness), sharpness_B, tail, level)
    return CapacityFit(
        group=group,
        status=FitStatus.OK if is_sharp else FitStatus.SHARPNESS_NOT_IDENTIFIED,
        reason=_cautions(is_sharp=is_sharp, kept_frac=kept_frac),
        n_points=n_points,
        n_excluded=n_excluded,
        capacity=from_draws(math.exp(log_capacity), capacity_B, tail, level),
        sharpness=sharpness if is_sharp else None,
        log_rms=float(np.sqrt((residual_N**2).mean())),
        draws_B2=draws_B2 if has_interval else np.empty((0, 2)),
    )


def _why_unsuitable(x_N: Floats, y_N: Floats, n_excluded: int) -> tuple[FitStatus, str] | None:
    """Status and reason where the points cannot determine a capacity at all."""
    if len(y_N) == 0 and n_excluded:
        return FitStatus.NO_POSITIVE_POINTS, f"all {n_excluded} cells store zero or negative bits"
    if len(y_N) < MIN_POINTS:
        dropped = f" ({n_excluded} more store zero or negative bits)" if n_excluded else ""
        return FitStatus.TOO_FEW_POINTS, f"{len(y_N)} cell(s){dropped}; {MIN_POINTS} are needed"
    if (y_N - x_N).min() > math.log(SATURATED_RATIO):
        return (
            FitStatus.CAPACITY_NOT_IDENTIFIED,
            f"every cell stores over {SATURATED_RATIO:.0%} of what there is: capacity is above "
            f"{math.exp(y_N.max()):.3g} bits per parameter; add smaller models or more people",
        )
    return None


def _why_refused(
    x_N: Floats, y_N: Floats, point: tuple[float, float, bool] | None
) -> tuple[FitStatus, str] | None:
    """Status and reason where the best fit is no description of the points."""
    if point is None:
        return FitStatus.POOR_FIT, "no law of this form follows the cells"
    if x_N.max() < point[0]:
        return (
            FitStatus.CAPACITY_NOT_IDENTIFIED,
            f"no cell demands as much as the extrapolated {math.exp(point[0]):.3g} bits per "
            f"parameter; largest R_max is {math.exp(x_N.max()):.3g}: add smaller models or more "
            "people",
        )
    if np.median(np.abs(residuals(x_N, y_N, point[0], point[1]))) > MAX_MEDIAN_RESIDUAL:
        return (
            FitStatus.POOR_FIT,
            f"half of the cells are over {MAX_MEDIAN_RESIDUAL:.0%} away from any law of this form; "
            f"largest R is {math.exp(y_N.max()):.3g}",
        )
    return None


def _fit_point(x_N: Floats, y_N: Floats) -> tuple[float, float, bool] | None:
    """(log c, log s, whether s is identified) of the best fit; None where there is none.

    Where s is not identified the corner is taken as hard as the range allows, and c fitted again.
    """
    one_1N = np.ones((1, len(x_N)))
    points = {"log_max_ratio_N": x_N, "log_ratio_N": y_N, "weight_BN": one_1N}
    start = best_start(x_N, y_N)
    found = solve(**points, start=start)
    log_capacity, log_sharpness = float(found.log_capacity_B[0]), float(found.log_sharpness_B[0])
    low, high = np.log(SHARPNESS_RANGE)
    error = sharpness_error(x_N, y_N, log_capacity, log_sharpness)
    is_inside = low < log_sharpness < high
    if found.is_converged_B[0] and is_inside and error <= MAX_LOG_SHARPNESS_ERROR:
        return log_capacity, log_sharpness, True
    hard = solve(**points, start=(float(np.median(y_N)), float(high)), free_sharpness=False)
    # Two standard errors in one parameter: beyond that the hard minimum is no stand-in.
    limit = found.cost_B[0] * (1 + 4 / max(len(x_N) - 2, 1)) + 1e-12
    if not hard.is_converged_B[0] or (log_sharpness <= low and hard.cost_B[0] > limit):
        return None
    return float(hard.log_capacity_B[0]), float(high), False


def _bootstrap(
    x_N: Floats, y_N: Floats, point: tuple[float, float, bool], *, n_resamples: int, seed: int
) -> tuple[Floats, float]:
    """(c, s) of resampled cells, shape (kept, 2), and the share of resamples that could be fitted.

    A resample without any capacity-limited cell says nothing of c and is left out.
    """
    n = len(x_N)
    rng = np.random.default_rng([seed, n])
    weight_BN = rng.multinomial(n, np.full(n, 1 / n), size=n_resamples).astype(float)
    found = solve(
        log_max_ratio_N=x_N,
        log_ratio_N=y_N,
        weight_BN=weight_BN,
        start=point[:2],
        free_sharpness=point[2],
        # Far below the spread of the resamples; a few that hop between two ends of a flat valley
        # stop there.
        tolerance=1e-5,
        max_steps=50,
    )
    limited_B = np.where(weight_BN > 0, y_N - x_N, np.inf).min(axis=1) <= math.log(SATURATED_RATIO)
    reach_B = np.where(weight_BN > 0, x_N, -np.inf).max(axis=1) >= found.log_capacity_B
    kept_B = limited_B & reach_B
    draws_B2 = np.exp(np.stack([found.log_capacity_B, found.log_sharpness_B], axis=1))
    return draws_B2[kept_B], float(kept_B.mean())


def _tail(level: float, n_points: int, *, n_parameters: int) -> float:
    """Share of resamples to cut from each end for an interval of `level`.

    Plain percentiles are too narrow for few points; the normal tail is replaced by Student's with
    the degrees of freedom left, and widened by sqrt(n / (n - p)): Hesterberg, "What Teachers
    Should Know about the Bootstrap", 2015, section 5.1 (there for a mean, p of 1).
    """
    left = n_points - n_parameters
    quantile = special.stdtrit(left, (1 - level) / 2) * math.sqrt(n_points / left)
    return float(special.ndtr(quantile))


def _cautions(*, is_sharp: bool, kept_frac: float) -> str:
    parts = []
    if not is_sharp:
        parts.append("too few cells near the corner to tell its sharpness; a hard minimum is used")
    if kept_frac < MIN_KEPT_DRAWS:
        parts.append(f"no interval: {1 - kept_frac:.0%} of resamples do not identify the capacity")
    return "; ".join(parts)

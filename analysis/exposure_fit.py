"""Fit capacity against exposures, from the capacities of groups that differ only in exposures."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from analysis.estimate import Estimate, from_draws
from analysis.fit import MIN_KEPT_DRAWS, MIN_POINTS, CapacityFit, FitStatus
from analysis.law import ExposureLaw, Floats


@dataclass(frozen=True, kw_only=True)
class ExposureFit:
    """Capacity against exposures, for one data set and family; or why there is none."""

    group: str
    status: FitStatus
    reason: str
    n_points: int
    """Exposures settings with a fitted capacity."""
    limit: Estimate | None = None
    """Bits per parameter after endless training."""
    half_exposures: Estimate | None = None
    """Exposures at which half of the limit is reached."""

    @property
    def law(self) -> ExposureLaw | None:
        if self.limit is None or self.half_exposures is None:
            return None
        return ExposureLaw(limit=self.limit.value, half_exposures=self.half_exposures.value)

    def to_json(self) -> dict[str, object]:
        """Plain values that json can write; absent numbers are None."""
        return {
            "group": self.group,
            "status": str(self.status),
            "reason": self.reason,
            "n_points": self.n_points,
            "limit_bits_per_param": asdict(self.limit) if self.limit else None,
            "half_exposures": asdict(self.half_exposures) if self.half_exposures else None,
        }


def fit_exposures(fits: Sequence[CapacityFit]) -> list[ExposureFit]:
    """Capacity against exposures, for every other part of the key that has several exposures."""
    labels = dict.fromkeys(fit.group.label_without_exposures for fit in fits)
    series = [[f for f in fits if f.group.label_without_exposures == label] for label in labels]
    return [_fit_exposure_series(group) for group in series if len(group) > 1]


def _fit_exposure_series(fits: Sequence[CapacityFit]) -> ExposureFit:
    """Least squares on 1/c = 1/c_limit + (E_half/c_limit) / E, each point weighted by c.

    Weighting by c makes the residuals relative ones. Resamples of the groups are combined as
    independent, which they are: no cell is in two groups.
    """
    fitted = [fit for fit in fits if fit.capacity is not None]
    label = fits[0].group.label_without_exposures

    def without_fit(status: FitStatus, reason: str) -> ExposureFit:
        return ExposureFit(group=label, status=status, reason=reason, n_points=len(fitted))

    if len(fitted) < MIN_POINTS:
        reason = f"{len(fitted)} exposures setting(s) with a capacity; {MIN_POINTS} are needed"
        return without_fit(FitStatus.TOO_FEW_POINTS, reason)
    exposures_E = np.array([fit.group.exposures for fit in fitted])
    capacity_E = np.array([fit.capacity.value for fit in fitted if fit.capacity])
    limit, half = (float(v[0]) for v in _saturation(exposures_E, capacity_E[None, :]))
    if not (limit > 0 and half > 0):
        reason = "capacity does not level off within these exposures; add larger ones"
        return without_fit(FitStatus.CAPACITY_NOT_IDENTIFIED, reason)
    level = fitted[0].capacity.level if fitted[0].capacity else 0.95
    limits_B, halves_B, caution = _exposure_draws(fitted, exposures_E)
    tail = (1 - level) / 2
    return ExposureFit(
        group=label,
        status=FitStatus.OK,
        reason=caution,
        n_points=len(fitted),
        limit=from_draws(limit, limits_B, tail, level),
        half_exposures=from_draws(half, halves_B, tail, level),
    )


def _exposure_draws(
    fitted: Sequence[CapacityFit], exposures_E: Floats
) -> tuple[Floats | None, Floats | None, str]:
    """Resampled (c_limit, E_half); None and a reason where they do not support an interval."""
    n_draws = min(len(fit.draws_B2) for fit in fitted)
    if n_draws == 0:
        return None, None, "no interval: a capacity among them has none"
    rng = np.random.default_rng(0)
    columns = [rng.permutation(fit.draws_B2[:, 0])[:n_draws] for fit in fitted]
    limits_B, halves_B = _saturation(exposures_E, np.stack(columns, axis=1))
    kept_B = (limits_B > 0) & (halves_B > 0)
    if kept_B.mean() < MIN_KEPT_DRAWS:
        return None, None, "no interval: the resamples do not agree that capacity levels off"
    return limits_B[kept_B], halves_B[kept_B], ""


def _saturation(exposures_E: Floats, capacity_BE: Floats) -> tuple[Floats, Floats]:
    """(c_limit, E_half), each of shape B, by weighted linear regression of 1/c on 1/E."""
    x_E, y_BE, w_BE = 1 / exposures_E, 1 / capacity_BE, capacity_BE**2
    total_B = w_BE.sum(axis=1)
    x_mean_B, y_mean_B = (w_BE * x_E).sum(axis=1) / total_B, (w_BE * y_BE).sum(axis=1) / total_B
    dx_BE = x_E - x_mean_B[:, None]
    slope_B = (w_BE * dx_BE * (y_BE - y_mean_B[:, None])).sum(axis=1) / (w_BE * dx_BE**2).sum(
        axis=1
    )
    intercept_B = y_mean_B - slope_B * x_mean_B
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 / intercept_B, slope_B / intercept_B

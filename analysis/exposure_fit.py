"""Capacity against exposures: which curve the fitted capacities support, and whether it ends."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from scipy import optimize, special

from analysis.estimate import LEVEL, Estimate
from analysis.fit import MIN_POINTS, CapacityFit, FitStatus
from analysis.law import Floats

# Tuning finds each group's best learning rate to about this much of c, whatever the cells' scatter.
TUNING_ERROR = 0.02
# Difference in AICc from which one form is preferred: an evidence ratio of exp(4 / 2) = 7.4
# (Burnham and Anderson, Sociol. Methods Res. 33 (2004) 261, section 3.2).
CLEAR_AICC = 4.0


def _saturating(theta: Floats, seen: Floats) -> Floats:
    return theta[0] - np.logaddexp(0.0, theta[1] - np.log(seen))


def _power(theta: Floats, seen: Floats) -> Floats:
    return theta[0] + theta[1] * np.log(seen / 100.0)


def _stretched(theta: Floats, seen: Floats) -> Floats:
    return theta[0] - np.logaddexp(0.0, np.exp(theta[2]) * (theta[1] - np.log(seen)))


@dataclass(frozen=True, kw_only=True)
class Form:
    """One family of curves, log c of exposures E."""

    name: str
    formula: str
    log_capacity: Callable[[Floats, Floats], Floats]
    starts: tuple[tuple[float, ...], ...]
    has_limit: bool

    @property
    def n_parameters(self) -> int:
        return len(self.starts[0])


_LIMITS = [(c, h) for c in (0.0, 1.0) for h in (2.0, 5.0, 8.0)]
FORMS = {
    form.name: form
    for form in (
        Form(
            name="saturating",
            formula="c = limit / (1 + h / E)",
            log_capacity=_saturating,
            starts=tuple(_LIMITS),
            has_limit=True,
        ),
        Form(
            name="power",
            formula="c = a (E / 100)^b",
            log_capacity=_power,
            starts=((0.0, 0.3),),
            has_limit=False,
        ),
        Form(
            name="stretched",
            formula="c = limit / (1 + (h / E)^b)",
            log_capacity=_stretched,
            starts=tuple((c, h, b) for c, h in _LIMITS for b in (-0.7, 0.0, 0.7)),
            has_limit=True,
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class ExposureCurve:
    """One form with its parameters, and how well they are known."""

    form: Form
    theta_P: Floats
    covariance_PP: Floats
    chi_square: float
    """Squared residuals of log c in units of their variance."""
    aicc: float
    degrees: int
    """Exposures settings less parameters."""
    span: tuple[float, float]
    """Smallest and largest exposures that were fitted."""

    def capacity(self, exposures: Floats | Sequence[float]) -> Floats:
        """Bits per parameter; same shape."""
        return np.exp(self.form.log_capacity(self.theta_P, np.asarray(exposures, dtype=float)))

    def is_extrapolated(self, exposures: Floats | Sequence[float]) -> np.ndarray:
        """Whether these exposures lie outside of those that were fitted; same shape."""
        seen = np.asarray(exposures, dtype=float)
        return (seen < self.span[0] * 0.999) | (seen > self.span[1] * 1.001)

    def interval(
        self, exposures: Floats | Sequence[float], *, level: float = LEVEL
    ) -> tuple[Floats, Floats]:
        """Where c of a new sweep at these exposures lies (delta method and the tuning error).

        Student's quantile where the curve's own residuals set the scale, with their degrees.
        """
        seen = np.asarray(exposures, dtype=float)
        jacobian = _jacobian(self.form, self.theta_P, seen)
        variance = np.einsum("np,pq,nq->n", jacobian, self.covariance_PP, jacobian)
        reach = _quantile(self.degrees, level) * np.sqrt(variance + TUNING_ERROR**2)
        return self.capacity(seen) * np.exp(-reach), self.capacity(seen) * np.exp(reach)


@dataclass(frozen=True, kw_only=True)
class ExposureFit:
    """Capacity against exposures, for one data set and family; or why there is none."""

    group: str
    status: FitStatus
    reason: str
    n_points: int
    """Exposures settings with a fitted capacity."""
    limit: Estimate | None = None
    """Bits per parameter after endless training; None unless the data support that it ends."""
    half_exposures: Estimate | None = None
    """Exposures at which half of the limit is reached, where there is a limit."""
    law: ExposureCurve | None = field(default=None, compare=False)
    """The preferred curve."""
    aicc: tuple[tuple[str, float], ...] = ()
    """AICc of every form that the settings can carry, best first."""

    def to_json(self) -> dict[str, object]:
        """Plain values that json can write; absent numbers are None."""
        return {
            "group": self.group,
            "status": str(self.status),
            "reason": self.reason,
            "n_points": self.n_points,
            "form": self.law.form.name if self.law else None,
            "aicc": {name: round(value, 3) for name, value in self.aicc},
            "limit_bits_per_param": asdict(self.limit) if self.limit else None,
            "half_exposures": asdict(self.half_exposures) if self.half_exposures else None,
        }


def fit_exposures(fits: Sequence[CapacityFit]) -> list[ExposureFit]:
    """Capacity against exposures, for every other part of the key that has several exposures."""
    labels = dict.fromkeys(fit.group.label_without_exposures for fit in fits)
    series = [[f for f in fits if f.group.label_without_exposures == label] for label in labels]
    return [_fit_series(group) for group in series if len(group) > 1]


def fit_curve(
    form: Form, exposures_E: Floats, capacity_E: Floats, log_sd_E: Floats
) -> ExposureCurve:
    """Weighted least squares of log c, from every start of the form.

    The covariance is (J'WJ)^-1, times chi-square over its degrees where that is above 1. AICc =
    chi-square + 2k + 2k(k + 1) / (n - k - 1); infinite where the settings are too few for it, so
    forms of equally many parameters are compared by chi-square alone.
    """

    def residual(theta: Floats) -> Floats:
        return (np.log(capacity_E) - form.log_capacity(theta, exposures_E)) / log_sd_E

    bounds = _bounds(form)
    found = min(
        (optimize.least_squares(residual, start, bounds=bounds, xtol=1e-12, ftol=1e-12, gtol=1e-12)
         for start in form.starts),
        key=lambda one: one.cost,
    )  # fmt: skip
    n, k = len(exposures_E), form.n_parameters
    chi_square = 2 * float(found.cost)
    scale = max(1.0, chi_square / (n - k)) if n > k else 1.0
    penalty = 2 * k + 2 * k * (k + 1) / (n - k - 1) if n > k + 1 else math.inf
    normal = found.jac.T @ found.jac + 1e-9 * np.eye(k)
    return ExposureCurve(
        form=form,
        theta_P=found.x,
        covariance_PP=np.linalg.inv(normal) * scale,
        chi_square=chi_square,
        aicc=chi_square + penalty,
        degrees=n - k,
        span=(float(exposures_E.min()), float(exposures_E.max())),
    )


def _fit_series(fits: Sequence[CapacityFit]) -> ExposureFit:
    """The preferred curve through the capacities of one series."""
    fitted = [fit for fit in fits if fit.capacity is not None]
    label = fits[0].group.label_without_exposures
    if len(fitted) < MIN_POINTS:
        reason = f"{len(fitted)} exposures setting(s) with a capacity; {MIN_POINTS} are needed"
        return ExposureFit(
            group=label, status=FitStatus.TOO_FEW_POINTS, reason=reason, n_points=len(fitted)
        )
    exposures_E = np.array([fit.group.exposures for fit in fitted])
    capacity_E = np.array([fit.capacity.value for fit in fitted if fit.capacity])
    log_sd_E = np.array([_log_sd(fit) for fit in fitted])
    curves = [fit_curve(form, exposures_E, capacity_E, log_sd_E) for form in FORMS.values()]
    usable = sorted((c for c in curves if c.degrees > 0), key=lambda c: (c.aicc, c.chi_square))
    best = usable[0]
    limit, half, why = _limit(best, usable)
    return ExposureFit(
        group=label,
        status=FitStatus.OK if limit else FitStatus.CAPACITY_NOT_IDENTIFIED,
        reason="; ".join([*why, *_cautions(fits, limit)]),
        n_points=len(fitted),
        limit=limit,
        half_exposures=half,
        law=best,
        aicc=tuple((c.form.name, c.aicc) for c in usable if math.isfinite(c.aicc)),
    )


def _limit(
    best: ExposureCurve, usable: Sequence[ExposureCurve]
) -> tuple[Estimate | None, Estimate | None, list[str]]:
    """Limit and half point, if the best form has one, forms without are clearly worse, and the
    forms that bend more freely, which few settings do not tell apart from it, agree.
    """
    endless = min((c for c in usable if not c.form.has_limit), key=lambda c: c.aicc)
    lead = endless.chi_square - best.chi_square
    if best.form.n_parameters != endless.form.n_parameters:
        lead = endless.aicc - best.aicc
    if not best.form.has_limit or lead < CLEAR_AICC:
        return None, None, ["no limit: a power law of exposures does as well, or better"]
    reach_P = _quantile(best.degrees, LEVEL) * np.sqrt(np.diag(best.covariance_PP))
    limit, half = (_estimate(float(best.theta_P[i]), float(reach_P[i])) for i in range(2))
    if limit.value > 2 * float(best.capacity(np.array([best.span[1]]))[0]):
        return None, None, ["no limit: it would lie over twice beyond the largest exposures' c"]
    for other in usable:
        if not other.form.has_limit or other.form.n_parameters <= best.form.n_parameters:
            continue
        if abs(other.theta_P[0] - best.theta_P[0]) > reach_P[0]:
            found = math.exp(float(other.theta_P[0]))
            forms = f"{limit.value:.3g} if {best.form.formula}, {found:.3g} if {other.form.formula}"
            return None, None, [f"no limit: too few settings to tell its form, {forms}"]
    return limit, half, []


def _estimate(log_value: float, reach: float) -> Estimate:
    value = math.exp(log_value)
    return Estimate(
        value=value, low=value * math.exp(-reach), high=value * math.exp(reach), level=LEVEL
    )


def _cautions(fits: Sequence[CapacityFit], limit: Estimate | None) -> list[str]:
    """Settings without a capacity, and what was measured above the limit."""
    left_out = [
        f"{fit.group.exposures:g} exposures ({fit.status}"
        + (f", c > {fit.at_least:.3g})" if fit.at_least else ")")
        for fit in fits
        if fit.capacity is None
    ]
    parts = [f"left out: {', '.join(left_out)}"] if left_out else []
    largest = max(
        (float(np.exp(f.inference.cells.log_ratio_BN.max())) for f in fits if f.inference),
        default=0.0,
    )
    if limit is not None and largest > limit.value:
        parts.append(f"extrapolated limit {limit.value:.3g} is below the largest R, {largest:.3g}")
    return parts


def _log_sd(fit: CapacityFit) -> float:
    """Standard deviation of log c; for few degrees of freedom that of the same 95% reach."""
    reach = float(fit.inference.spread.reach(LEVEL)[0]) if fit.inference else 0.0
    return math.hypot(reach / float(special.ndtri((1 + LEVEL) / 2)), TUNING_ERROR)


def _quantile(degrees: int, level: float) -> float:
    return float(special.stdtrit(max(degrees, 1), (1 + level) / 2))


def _bounds(form: Form) -> tuple[list[float], list[float]]:
    if not form.has_limit:
        return [-15.0, -5.0], [15.0, 5.0]
    low, high = [-12.0, -12.0, math.log(0.2)], [12.0, 25.0, math.log(5.0)]
    return low[: form.n_parameters], high[: form.n_parameters]


def _jacobian(form: Form, theta_P: Floats, seen: Floats) -> Floats:
    """Derivatives of log c by the parameters, shape (E, P), by central differences."""
    columns = []
    for i in range(len(theta_P)):
        step = np.zeros_like(theta_P)
        step[i] = 1e-5
        ahead, behind = (
            form.log_capacity(theta_P + step, seen),
            form.log_capacity(theta_P - step, seen),
        )
        columns.append((ahead - behind) / 2e-5)
    return np.stack(columns, axis=1)

"""Fit the capacity law to measured cells: intervals, and a status where there is no fit."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd

from analysis.estimate import Estimate
from analysis.groups import GroupKey, cluster_labels, split_groups
from analysis.inference import MIN_DEGREES, Inference, infer
from analysis.lack_of_fit import LackOfFit, lack_of_fit, outliers
from analysis.law import CapacityLaw, Floats
from analysis.solver import LOG_SHARPNESS_RANGE, USUAL_LOG_SD, residuals

MIN_POINTS = 3  # two parameters, and one point to tell whether they fit
SATURATED_RATIO = 0.95  # of R_max: the suggested pass band for "stores all there is"
SAME_DEMAND = 0.05  # natural log: R_max that differ by less are one
MAX_MEDIAN_RESIDUAL = 0.25  # relative; beyond it the cells bend in another way than the law
CENSORED = 1e-9  # bits per parameter that stand in for none or less, in the logarithm
_LEVELS = {"people": "number of people", "shape": "shape"}


class FitStatus(StrEnum):
    """What came of a fit."""

    OK = "ok"
    SHARPNESS_NOT_IDENTIFIED = "sharpness not identified"
    VARIES = "capacity varies"
    TOO_FEW_POINTS = "too few points"
    SINGLE_DEMAND = "single R_max"
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
    """Cells of positive R."""
    n_censored: int
    """Cells that store zero or negative bits: known to lie below the law, by an unknown factor."""
    capacity: Estimate | None = None
    """Capacity c, in bits per parameter."""
    at_least: float | None = None
    """What c exceeds, at the level of intervals, where no cell demands as much as c."""
    sharpness: Estimate | None = None
    """Sharpness s of the corner, no unit; None where the cells do not tell it."""
    log_rms: float | None = None
    """Root mean square of the relative residuals (0.02 is about 2%)."""
    lack_of_fit: tuple[LackOfFit, ...] = ()
    """Tests of one law for all cells."""
    outliers: tuple[str, ...] = ()
    """Names of cells far from the law."""
    inference: Inference | None = field(default=None, repr=False, compare=False)
    """The fit itself; a batch of one."""

    @property
    def law(self) -> CapacityLaw | None:
        """The fitted law, with the usual corner where the cells do not tell it."""
        if self.capacity is None or self.inference is None:
            return None
        sharpness = float(np.exp(self.inference.found.log_sharpness_B[0]))
        return CapacityLaw(capacity=self.capacity.value, sharpness=sharpness)

    def band(self, max_ratio: Floats) -> tuple[Floats, Floats] | None:
        """Pointwise interval of the law's R, at the level of `capacity`, if there is one.

        The interval of log c times the law's standard error there over that of c (delta method),
        so far to the right it is the interval of c.
        """
        law, capacity, fit = self.law, self.capacity, self.inference
        if law is None or fit is None or capacity is None:
            return None
        if capacity.low is None or capacity.high is None:
            return None
        at = fit.at_demand(np.log(max_ratio))
        error_N = fit.spread.error_of_ratio(*at)[0] / math.sqrt(float(fit.spread.variance_B[0]))
        ratio_N = law.ratio(max_ratio)
        return (
            ratio_N * (capacity.low / capacity.value) ** error_N,
            ratio_N * (capacity.high / capacity.value) ** error_N,
        )

    def to_json(self) -> dict[str, object]:
        """Plain values that json can write; absent numbers are None."""
        return {
            "group": self.group.to_json(),
            "status": str(self.status),
            "reason": self.reason,
            "n_points": self.n_points,
            "n_censored": self.n_censored,
            "capacity_bits_per_param": asdict(self.capacity) if self.capacity else None,
            "capacity_at_least_bits_per_param": self.at_least,
            "sharpness": asdict(self.sharpness) if self.sharpness else None,
            "log_rms": self.log_rms,
            "lack_of_fit": [test.to_json() for test in self.lack_of_fit],
            "outliers": list(self.outliers),
        }


def fit_groups(rows: pd.DataFrame, *, level: float = 0.95) -> list[CapacityFit]:
    """One fit for every data set, family, exposures and quantization among the usable rows."""
    return [fit_rows(key, group, level=level) for key, group in split_groups(rows)]


def fit_rows(key: GroupKey, rows: pd.DataFrame, *, level: float = 0.95) -> CapacityFit:
    """The fit of one group; its people, shapes and repeated cells are clusters."""
    names = [f"{row['model']} N={row['n_people']:,.0f}" for row in rows.to_dict("records")]
    found = fit_capacity(
        key,
        max_ratio_N=rows["max_capacity_ratio"].to_numpy(float),
        ratio_N=rows["capacity_ratio"].to_numpy(float),
        clusters=cluster_labels(rows),
        names=names,
        level=level,
    )
    windows = rows["batch_windows"].dropna().unique() if "batch_windows" in rows else ()
    if found.capacity is None or len(windows) < 2:
        return found
    mixed = f"cells differ in batch: {', '.join(f'{n:g}' for n in sorted(windows))} windows"
    return replace(found, reason="; ".join(filter(None, [found.reason, mixed])))


def fit_capacity(
    group: GroupKey,
    *,
    max_ratio_N: Floats,
    ratio_N: Floats,
    clusters: Mapping[str, np.ndarray] | None = None,
    names: Sequence[str] | None = None,
    level: float = 0.95,
) -> CapacityFit:
    """Fit the law to cells of R_max and R, by robust least squares on log R.

    Intervals are profiles of the robust cost, rescaled for clusters of cells that are off
    together (`analysis.inference`); without `clusters` each cell is its own. Cells at or below
    zero count as far below the law, with the bounded weight that Huber's loss gives such a cell.
    """
    n_cells = len(ratio_N)
    clusters = {"cell": np.arange(n_cells)} if clusters is None else clusters
    names = [f"cell {i}" for i in range(n_cells)] if names is None else names
    counts: dict[str, Any] = {
        "n_points": int((ratio_N > 0).sum()),
        "n_censored": int((ratio_N <= 0).sum()),
    }
    refusal = _why_unsuitable(max_ratio_N, ratio_N)
    if refusal is not None:
        return CapacityFit(group=group, status=refusal[0], reason=refusal[1], **counts)
    x_N, y_N = np.log(max_ratio_N), np.log(np.maximum(ratio_N, CENSORED))
    found = infer(x_N, y_N, clusters, level=level)
    far_N = outliers(found)
    shared: dict[str, Any] = {**counts, "group": group, "inference": found}
    shared["outliers"] = tuple(name for name, far in zip(names, far_N, strict=True) if far)
    refusal = _why_refused(found, ratio_N > 0)
    if refusal is not None:
        return CapacityFit(status=refusal[0], reason=refusal[1], **shared)
    is_saturated = bool((y_N - x_N)[ratio_N > 0].min() > math.log(SATURATED_RATIO))
    if is_saturated or not found.is_reached_B[0]:
        bound = float(np.exp(found.low_B[0]))
        status, reason = FitStatus.CAPACITY_NOT_IDENTIFIED, _not_reached(found, bound, is_saturated)
        return CapacityFit(status=status, reason=reason, at_least=bound, **shared)
    return _finish(shared, found, lack_of_fit(found, clusters), level)


def _finish(
    shared: dict[str, Any], found: Inference, tests: tuple[LackOfFit, ...], level: float
) -> CapacityFit:
    """The fit of cells that reach c."""
    residual_N = residuals(found.cells, found.found.theta_BP)[0]
    positive_N = found.cells.log_ratio_BN[0] > math.log(CENSORED)
    sharpness = _sharpness(found, level)
    lacking = [test for test in tests if test.is_significant]
    status = FitStatus.OK if sharpness else FitStatus.SHARPNESS_NOT_IDENTIFIED
    parts = [*_lacks(lacking), *_cautions(shared, found, sharpness is not None)]
    return CapacityFit(
        status=FitStatus.VARIES if lacking else status,
        reason="; ".join(parts),
        capacity=_capacity(found, level),
        sharpness=sharpness,
        log_rms=float(np.sqrt((residual_N[positive_N] ** 2).mean())),
        lack_of_fit=tests,
        **shared,
    )


def _why_unsuitable(max_ratio_N: Floats, ratio_N: Floats) -> tuple[FitStatus, str] | None:
    """Status and reason where the cells cannot determine a law at all."""
    positive_N = ratio_N > 0
    n_points, n_censored = int(positive_N.sum()), int((~positive_N).sum())
    if n_points == 0 and n_censored:
        return FitStatus.NO_POSITIVE_POINTS, f"all {n_censored} cells store zero or negative bits"
    if n_points < MIN_POINTS:
        more = f" ({n_censored} more store zero or negative bits)" if n_censored else ""
        return FitStatus.TOO_FEW_POINTS, f"{n_points} cell(s){more}; {MIN_POINTS} are needed"
    x_N = np.log(max_ratio_N[positive_N])
    if np.ptp(x_N) < SAME_DEMAND:
        mean = float(np.exp(np.log(ratio_N[positive_N]).mean()))
        return (
            FitStatus.SINGLE_DEMAND,
            f"R is {mean:.3g} at the only R_max, {math.exp(float(x_N.mean())):.3g} bits per "
            "parameter: no law; vary the people or the size of the models",
        )
    return None


def _why_refused(found: Inference, positive_N: np.ndarray) -> tuple[FitStatus, str] | None:
    """Status and reason where the best law is no description of the cells."""
    residual_N = np.abs(residuals(found.cells, found.found.theta_BP)[0])
    is_soft = float(found.found.log_sharpness_B[0]) <= LOG_SHARPNESS_RANGE[0] + 1e-3
    half_off = float(np.median(residual_N[positive_N]))
    n_censored = int((~positive_N).sum())
    censored = f"{n_censored} of {len(positive_N)} cells store zero or negative bits; "
    censored = censored if n_censored else ""
    if is_soft or half_off > MAX_MEDIAN_RESIDUAL:
        largest = math.exp(float(found.cells.log_ratio_BN.max()))
        how = "the cells bend in another way than" if is_soft else "half of the cells are far from"
        reason = f"{censored}{how} any law of this form; largest R is {largest:.3g}"
        return FitStatus.POOR_FIT, reason
    return None


def _not_reached(found: Inference, bound: float, is_saturated: bool) -> str:
    top = math.exp(float(found.cells.log_max_ratio_N.max()))
    why = "no cell demands clearly more than a parameter holds"
    if is_saturated:
        why = f"every cell stores over {SATURATED_RATIO:.0%} of the demand"
    return (
        f"c > {bound:.3g} bits per parameter: {why} (largest R_max {top:.3g}); add smaller models "
        "or more people"
    )


def _capacity(found: Inference, level: float) -> Estimate:
    value = float(np.exp(found.found.theta_BP[0, 0]))
    if not found.has_interval_B[0] or not _has_scatter(found):
        return Estimate(value=value, low=None, high=None, level=level)
    low, high = float(np.exp(found.low_B[0])), float(np.exp(found.high_B[0]))
    return Estimate(value=value, low=low, high=high, level=level)


def _has_scatter(found: Inference) -> bool:
    return float(found.spread.variance_B[0]) > 1e-12


def _sharpness(found: Inference, level: float) -> Estimate | None:
    """s, where the cells tell log s to within the usual spread; see `solver.USUAL_LOG_SD`."""
    log_s = float(found.found.log_sharpness_B[0])
    told = float(found.spread.naive_B2[0, 1] * found.scatter_B[0] ** 2)
    if told > USUAL_LOG_SD**2 / 2 or log_s >= LOG_SHARPNESS_RANGE[1] - 1e-3:
        return None
    value = math.exp(log_s)
    if float(found.spread.degrees_B2[0].min()) < MIN_DEGREES or not _has_scatter(found):
        return Estimate(value=value, low=None, high=None, level=level)
    reach = float(found.spread.sharpness_reach(level)[0])
    low, high = value * math.exp(-reach), value * math.exp(reach)
    return Estimate(value=value, low=low, high=high, level=level)


def _lacks(lacking: Sequence[LackOfFit]) -> list[str]:
    return [
        f"no single law: by {t.by}, {t.detail}, F({t.degrees[0]}, {t.degrees[1]}) = {t.f:.3g}, "
        f"p = {t.p:.1g}"
        for t in lacking
    ]


def _cautions(shared: dict[str, Any], found: Inference, has_sharpness: bool) -> list[str]:
    parts = []
    if shared["n_censored"]:
        parts.append(f"{shared['n_censored']} cell(s) store zero or negative bits, counted as low")
    if shared["outliers"]:
        parts.append(f"far from the law: {', '.join(shared['outliers'])}")
    if not has_sharpness:
        parts.append("too few cells near the corner to tell its sharpness; the usual one is used")
    if not found.has_interval_B[0]:
        by = _LEVELS.get(str(found.cluster_B[0]))
        once = f", each {by} counted once as c may differ between them," if by else ""
        parts.append(
            f"no interval: the {int(found.n_informative_B[0])} cell(s) beyond the corner{once} "
            f"leave {float(found.spread.degrees_B[0]):.1f} degrees of freedom, 2 are needed"
        )
    elif not _has_scatter(found):
        parts.append("no interval: the cells do not scatter at all")
    elif found.cluster_B[0] != "cell":
        by = _LEVELS[str(found.cluster_B[0])]
        parts.append(f"the interval counts each {by} once, as c may differ between them")
    return parts

"""Peaks of means over seeds, and how surely they lie above or below a number.

The peak of a data set is the largest R over its models (arXiv 2404.05405, section 5). Of noisy
models the largest is too large: a true peak of 0.95 shows a model above 1 in nearly every run. So
seeds are averaged before the maximum is taken, and the bounds pay for the choice:

    peak of the subject / peak of the baseline = max over i, min over j of subject_i / baseline_j
    lower bound   max over i, min over j of the lower bound of (i, j) at error p / (models i)
    upper bound   min over j, max over i of the upper bound of (i, j) at error p / (models j)

Each holds with an error of at most p: for a fixed i, the minimum over j of bounds is above the
minimum of what they bound only if the bound of that one j failed; the maximum over i is
Bonferroni's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy import special

from analysis.estimate import ROUNDING, Estimate
from analysis.law import Floats
from analysis.moderation import Spread, beside_pooled, combine
from analysis.runs import Run, by_seed, group_by

Replicate = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """The largest of some means over seeds, relative to the largest of others where there are."""

    means_IJ: Floats = field(compare=False)
    """Mean over seeds: log ratio of the subject's model i to the baseline's j; without a baseline
    log R, with j of 1. The values themselves where `is_log` is False.
    """
    own_IJ: Floats = field(compare=False)
    """Variance over seeds of each difference by itself; n_seeds - 1 degrees of freedom."""
    spread: Spread
    """Of one such difference in one seed, over all of them."""
    n_seeds: int
    is_log: bool

    @property
    def value(self) -> float:
        """Ratio of the peaks, or the peak itself, in bits per parameter."""
        return self._unit(float(self.means_IJ.min(axis=1).max()))

    @property
    def n_models(self) -> int:
        """Models of the subject that could be at the peak."""
        return len(self.means_IJ)

    @property
    def n_baselines(self) -> int:
        """Models of the baseline that could be at its peak; 1 where there is none."""
        return self.means_IJ.shape[1]

    def with_spread(self, spread: Spread) -> "Peaks":
        """The same means, known to another accuracy."""
        return replace(self, spread=spread)

    def tail_at_least(self, bound: float) -> float:
        """Largest probability of means as high as these if the truth were below `bound`."""
        p_IJ = self._tail(self.means_IJ, bound, sign=1)
        return min(1.0, len(p_IJ) * float(p_IJ.max(axis=1).min()))

    def tail_at_most(self, bound: float) -> float:
        """Largest probability of means as low as these if the truth were above `bound`."""
        p_IJ = self._tail(self.means_IJ, bound, sign=-1)
        return min(1.0, p_IJ.shape[1] * float(p_IJ.max(axis=0).min()))

    def interval(self, level: float = 0.95) -> Estimate:
        """Value with the two bounds, each of error (1 - level) / 2; none where nothing scatters."""
        if not self.has_scatter:
            return Estimate(value=self.value, low=None, high=None, level=level)
        n_i, n_j = self.means_IJ.shape
        error_IJ, df_IJ = self._errors
        low_IJ = self.means_IJ - error_IJ * special.stdtrit(df_IJ, 1 - (1 - level) / 2 / n_i)
        high_IJ = self.means_IJ + error_IJ * special.stdtrit(df_IJ, 1 - (1 - level) / 2 / n_j)
        return Estimate(
            value=self.value,
            low=self._unit(float(low_IJ.min(axis=1).max())),
            high=self._unit(float(high_IJ.max(axis=0).min())),
            level=level,
        )

    @property
    def has_scatter(self) -> bool:
        """Whether seeds tell how sure the means are: two of them, that are not copies of one."""
        return self.n_seeds > 1 and self.spread.variance > 0

    @property
    def variance_at_peak(self) -> float:
        """Of the difference that the value is, in one seed."""
        i = int(self.means_IJ.min(axis=1).argmax())
        j = int(self.means_IJ[i].argmin())
        error_IJ, _ = self._errors
        return float(error_IJ[i, j]) ** 2 * self.n_seeds

    @cached_property
    def _errors(self) -> tuple[Floats, Floats]:
        """Standard error and degrees of freedom of each mean."""
        own = [Spread(variance=float(v), df=self.n_seeds - 1.0) for v in self.own_IJ.flat]
        found = beside_pooled(own, self.spread)
        variances, degrees = ([getattr(one, name) for one in found] for name in ("variance", "df"))
        shape = self.means_IJ.shape
        return np.sqrt(np.reshape(variances, shape) / self.n_seeds), np.reshape(degrees, shape)

    def _unit(self, value: float) -> float:
        return math.exp(value) if self.is_log else value

    def _tail(self, means: Floats, bound: float, *, sign: int) -> Floats:
        """P of Student's t beyond (mean - bound) / error, in the direction of `sign`."""
        if self.is_log:
            bound = math.log(bound) if bound > 0 else -math.inf
        gap = sign * (means - bound)
        if not self.has_scatter:
            return np.ones_like(means)
        error_IJ, df_IJ = self._errors
        return special.stdtr(df_IJ, -gap / error_IJ)


def measure_peaks(subject: Sequence[Run], baseline: Sequence[Run] | None = None) -> Peaks | None:
    """Peaks over the sizes of each side, by the seeds in which every size finished.

    None where no seed has them all, or where the baseline stores no bits in some seed.
    """
    subject, *others = by_seed(subject, *([] if baseline is None else [baseline]))
    baseline = others[0] if others else None
    seeds = _complete_seeds(subject)
    if baseline is not None:
        seeds = [seed for seed in seeds if seed in _complete_seeds(baseline)]
    if not seeds:
        return None
    subject_IS = _candidates(subject, seeds)
    baseline_JS = np.ones((1, len(seeds))) if baseline is None else _candidates(baseline, seeds)
    is_log = bool((subject_IS > 0).all() and (baseline_JS > 0).all())
    if is_log:
        subject_IS, baseline_JS = np.log(subject_IS), np.log(baseline_JS)
    else:
        # Without logarithms: shares of the baseline's peak, seed by seed.
        reference_S = baseline_JS[baseline_JS.mean(axis=1).argmax()]
        if (reference_S <= 0).any():
            return None
        subject_IS, baseline_JS = subject_IS / reference_S, np.zeros((1, len(seeds)))
    return Peaks(
        means_IJ=subject_IS.mean(axis=1)[:, None] - baseline_JS.mean(axis=1)[None, :],
        own_IJ=_variances(subject_IS[:, None, :] - baseline_JS[None, :, :]),
        spread=_spread(subject_IS, baseline_JS),
        n_seeds=len(seeds),
        is_log=is_log,
    )


def peaks_of_values(values: Sequence[float], *, is_log: bool = False) -> Peaks:
    """One model, by its value in each seed; by the logarithms of the values if `is_log`."""
    values_1S = np.asarray([values], dtype=float)
    values_1S = np.log(values_1S) if is_log else values_1S
    return Peaks(
        means_IJ=values_1S.mean(axis=1)[:, None],
        own_IJ=_variances(values_1S[:, None, :]),
        spread=_spread(values_1S, np.zeros_like(values_1S)),
        n_seeds=len(values),
        is_log=is_log,
    )


def peak_runs(runs: Sequence[Run]) -> dict[Replicate, Run]:
    """The runs of the model of largest mean R, one for each seed that has every size; where several
    runs share size and seed, the first of them with the mean of their R.
    """
    seeds = _complete_seeds(runs)
    if not seeds:
        return {}
    by_size = _by_size(runs)
    means = {size: float(_ratios(own, seeds).mean()) for size, own in by_size.items()}
    best = max(means, key=lambda size: (means[size], size))
    ratios = _ratios(by_size[best], seeds)
    return {
        seed: replace(by_size[best][seed][0], ratio=float(ratio))
        for seed, ratio in zip(seeds, ratios, strict=True)
    }


def _by_size(runs: Sequence[Run]) -> dict[str, dict[Replicate, list[Run]]]:
    sizes = sorted(group_by(runs, lambda run: run.size).items())
    return {size: group_by(own, lambda run: run.replicate) for size, own in sizes}


def _complete_seeds(runs: Sequence[Run]) -> list[Replicate]:
    """Seeds in which every size finished, so that a failed model lowers no peak."""
    sizes = _by_size(runs).values()
    return [seed for seed in sorted({r.replicate for r in runs}) if all(seed in s for s in sizes)]


def _ratios(own: dict[Replicate, list[Run]], seeds: Sequence[Replicate]) -> Floats:
    """R in each seed; of several runs of one size and seed, their mean."""
    means = [sum(run.ratio for run in own[seed]) / len(own[seed]) for seed in seeds]
    return np.array(means, dtype=np.float64)


def _candidates(runs: Sequence[Run], seeds: Sequence[Replicate]) -> Floats:
    """R by size and seed, without the sizes whose R_max is below the peak: it cannot be theirs."""
    sizes = _by_size(runs).values()
    ratios_KS = np.array([_ratios(own, seeds) for own in sizes])
    limit_K = np.array([max(r.max_ratio for own in s.values() for r in own) for s in sizes])
    means_K = ratios_KS.mean(axis=1)
    return ratios_KS[(limit_K >= means_K.max()) | (means_K == means_K.max())]


def _spread(subject_IS: Floats, baseline_JS: Floats) -> Spread:
    """Variance of subject_i - baseline_j in one seed, by analysis of variance.

    What a seed does to all models of a side, and what it does to each of them, are estimated apart:
    the first from the difference of the sides' means (S - 1 degrees of freedom), the second from
    what is left beside sizes and seeds ((I - 1)(S - 1) for each side).
    """
    n_seeds = subject_IS.shape[1]
    if n_seeds < 2:
        return Spread(variance=math.nan, df=0.0)
    shift_S = subject_IS.mean(axis=0) - baseline_JS.mean(axis=0)
    parts = [_rounded(float(shift_S.var(ddof=1)), n_seeds - 1.0)]
    for side_KS in (subject_IS, baseline_JS):
        n = len(side_KS)
        if n > 1:
            rest_KS = side_KS - side_KS.mean(axis=0) - side_KS.mean(axis=1)[:, None]
            rest_KS = rest_KS + side_KS.mean()
            df = (n - 1.0) * (n_seeds - 1.0)
            variance = float((rest_KS**2).sum()) / df * (1 - 1 / n)
            parts.append(_rounded(variance, df))
    return combine(parts)


def _variances(differences_IJS: Floats) -> Floats:
    """Over seeds, each difference by itself; 0 for one seed, which is not known."""
    if differences_IJS.shape[-1] < 2:
        return np.zeros(differences_IJS.shape[:-1])
    variances_IJ = differences_IJS.var(axis=-1, ddof=1)
    return np.where(variances_IJ > ROUNDING**2, variances_IJ, 0.0)


def _rounded(variance: float, df: float) -> Spread:
    """What rounding leaves between copies of one number, relative to numbers around 1, is none."""
    return Spread(variance=variance if variance > ROUNDING**2 else 0.0, df=df)

"""Capacity of some cells relative to others, paired by seed.

Relative capacity has two meanings, and each comparison says which one it uses. arXiv 2404.05405,
section 5, compares architectures by their peaks: the largest R (bits per parameter) over the
models trained on one data set. Where both sides have several sizes, the ratio here is that of the
peaks, each over its own sizes, because equal layers and heads are not equal parameters. Where one
side has a single size, it is the ratio of R at the same layers, heads and width.

Seeds are averaged before the peak is chosen (`analysis.peaks`), and pair the sides: a replicate is
one (seed, data seed), and the ratio is taken inside it, so that what both sides share (the table
of people, the order of the data) cancels. `ratio` has Student's interval over the logs of these
ratios; `analysis.pooling` has the one that the other rows of a table help with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from analysis.estimate import ROUNDING, Estimate, geometric_mean
from analysis.groups import DEMAND_LIMITED_SHARE
from analysis.peaks import Peaks, Replicate, measure_peaks, peak_runs, peaks_of_values
from analysis.runs import Run, by_seed, is_partly_fresh, sizes_of, with_batches_alike

CHOSEN = "not all have fresh seeds: R of the chosen trials on both sides"
"""Note of a comparison of what flatters on both sides."""


class Basis(StrEnum):
    """What a ratio is a ratio of."""

    PEAKS = "peak R over the sizes"
    SAME_SIZE = "R at the same layers and heads"
    SAME_WEIGHTS = "R of the same weights"
    SAME_CELL = "R of the same cell in two runs"
    NONE = "nothing"


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side of a comparison: the model at the peak, in each replicate."""

    name: str
    """What it is: an architecture, a data set, a quantization."""
    family: str
    """Architecture, variant and optimizer."""
    dataset: str
    n_people: int
    exposures: float
    demand_bits: float
    """Demand of the data."""
    sizes: tuple[str, ...]
    """Layers and heads tried."""
    n_params: tuple[int, int]
    """Smallest and largest number of parameters among the models at the peak."""
    capacity: Estimate | None
    """R in bits per parameter, geometric mean over replicates; None if some store no bits."""
    share_of_demand: float
    """Mean R at the peak over R_max of the model there: near 1, the data limit it."""
    is_demand_limited: bool
    """Whether the model at the peak held nearly all there was, in some seed: it may hold more."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """R of the subject over R of the baseline."""

    subject: Side
    baseline: Side
    basis: Basis
    ratio: Estimate | None
    """With Student's interval; None where the sides cannot be compared: the note says why."""
    peaks: Peaks | None
    """The same ratio with what bounds it; None where there is no ratio."""
    n_replicates: int
    """Seeds that both sides share."""
    note: str
    """Why there is no ratio or no interval, and what to be careful with; may be empty."""

    @property
    def is_demand_limited(self) -> bool:
        """Whether the data, not the parameters, limit a side: the ratio is not one of capacity."""
        is_about_models = self.basis in (Basis.PEAKS, Basis.SAME_SIZE)
        return is_about_models and (
            self.subject.is_demand_limited or self.baseline.is_demand_limited
        )

    @property
    def has_place_on_log_axis(self) -> bool:
        """Whether there is a ratio above zero."""
        return self.ratio is not None and self.ratio.value > 0

    def to_record(self) -> dict[str, object]:
        """One flat line of a table."""
        subject, baseline, ratio = self.subject, self.baseline, self.ratio
        return {
            "subject": subject.name,
            "baseline": baseline.name,
            "dataset": subject.dataset,
            "baseline_dataset": baseline.dataset,
            "n_people": subject.n_people,
            "exposures": subject.exposures,
            "baseline_exposures": baseline.exposures,
            "basis": str(self.basis),
            "sizes": ", ".join(subject.sizes),
            "relative_capacity": ratio and ratio.value,
            "low": ratio and ratio.low,
            "high": ratio and ratio.high,
            "level": ratio and ratio.level,
            "n_seeds": self.n_replicates,
            "subject_capacity_ratio": subject.capacity and subject.capacity.value,
            "baseline_capacity_ratio": baseline.capacity and baseline.capacity.value,
            "subject_n_params": subject.n_params[1],
            "baseline_n_params": baseline.n_params[1],
            "is_demand_limited": self.is_demand_limited,
            "note": self.note,
        }


def measure_side(name: str, runs: Sequence[Run]) -> Side:
    """A side of runs that share data set, people and exposures."""
    (runs,) = by_seed(runs)
    return side_of(name, runs, list(peak_runs(runs).values()))


def side_of(name: str, runs: Sequence[Run], best: Sequence[Run]) -> Side:
    """A side from all of its runs, and from those at the peak among them."""
    shown = best or runs
    ratios = [run.ratio for run in best]
    shares = [run.ratio / run.max_ratio for run in shown]
    return Side(
        name=name,
        family=shown[0].family,
        dataset=shown[0].dataset,
        n_people=shown[0].n_people,
        exposures=shown[0].exposures,
        demand_bits=shown[0].demand_bits,
        sizes=tuple(sorted(sizes_of(runs))),
        n_params=(min(run.n_params for run in shown), max(run.n_params for run in shown)),
        capacity=geometric_mean(ratios) if ratios and min(ratios) > 0 else None,
        share_of_demand=sum(shares) / len(shares),
        is_demand_limited=max(shares) >= DEMAND_LIMITED_SHARE,
    )


def compare(names: tuple[str, str], subject: Sequence[Run], baseline: Sequence[Run]) -> Comparison:
    """The runs of `subject` against those of `baseline`, named in this order.

    Each side's runs share data set, people and exposures. A replicate counts where it has every
    size that its side has anywhere, so that a failed model lowers no peak.
    """
    is_chosen = is_partly_fresh(subject, baseline)
    subject, baseline = with_batches_alike(subject, baseline)
    subject, baseline, basis = _comparable(*by_seed(subject, baseline))
    best = peak_runs(subject), peak_runs(baseline)
    shared = sorted(best[0].keys() & best[1].keys())
    everywhere = {run.replicate for run in [*subject, *baseline]}
    return _comparison(
        (
            side_of(names[0], subject, list(best[0].values())),
            side_of(names[1], baseline, list(best[1].values())),
        ),
        _pairs(best, shared),
        basis=basis,
        peaks=None if basis is Basis.NONE else measure_peaks(subject, baseline),
        n_left_out=len(everywhere) - len(shared),
        is_chosen=is_chosen,
    )


def compare_cells(
    sides: tuple[Side, Side],
    pairs: Sequence[tuple[float, float]],
    *,
    basis: Basis,
    is_chosen: bool = False,
) -> Comparison:
    """R of one model in two states, from the pairs (subject, baseline) of each seed.

    The same weights before and after have no scatter that a logarithm would even out, and may store
    less than nothing afterwards: their ratios are averaged as they are. `is_chosen`: fresh seeds of
    one side alone were left out.
    """
    peaks = None
    if pairs and all(b > 0 for _, b in pairs):
        is_log = basis is not Basis.SAME_WEIGHTS and all(a > 0 for a, _ in pairs)
        peaks = peaks_of_values([a / b for a, b in pairs], is_log=is_log)
    return _comparison(sides, pairs, basis=basis, peaks=peaks, is_chosen=is_chosen)


def _comparison(
    sides: tuple[Side, Side],
    pairs: Sequence[tuple[float, float]],
    *,
    basis: Basis,
    peaks: Peaks | None,
    n_left_out: int = 0,
    is_chosen: bool = False,
) -> Comparison:
    """A comparison from pairs of R of the subject and R of the baseline, at their peaks."""
    return Comparison(
        subject=sides[0],
        baseline=sides[1],
        basis=basis,
        ratio=None if peaks is None else _students(pairs),
        peaks=peaks,
        n_replicates=len(pairs),
        note="; ".join([*_notes(sides, basis, pairs, n_left_out), *[CHOSEN] * is_chosen]),
    )


def _pairs(
    best: tuple[dict[Replicate, Run], dict[Replicate, Run]], shared: Sequence[Replicate]
) -> list[tuple[float, float]]:
    return [(best[0][replicate].ratio, best[1][replicate].ratio) for replicate in shared]


def _students(pairs: Sequence[tuple[float, float]]) -> Estimate:
    """The ratios inside each seed: Student's interval on their logs, or on themselves where some
    are zero or negative and have none.
    """
    ratios = [a / b for a, b in pairs]
    return geometric_mean(ratios) if min(ratios) > 0 else peaks_of_values(ratios).interval()


def _comparable(
    subject: Sequence[Run], baseline: Sequence[Run]
) -> tuple[Sequence[Run], Sequence[Run], Basis]:
    """The runs that can be compared, and as what."""
    if len(sizes_of(subject)) > 1 and len(sizes_of(baseline)) > 1:
        return subject, baseline, Basis.PEAKS
    shared = sizes_of(subject) & sizes_of(baseline)
    if not shared:
        return subject, baseline, Basis.NONE
    own = [run for run in subject if run.size in shared]
    return own, [run for run in baseline if run.size in shared], Basis.SAME_SIZE


def _notes(
    sides: tuple[Side, Side],
    basis: Basis,
    pairs: Sequence[tuple[float, float]],
    n_left_out: int,
) -> list[str]:
    if basis is Basis.NONE:
        return ["no model of the same layers, heads and width on both sides"]
    if not pairs:
        return ["no seed has every size on both sides"]
    notes = []
    if any(b <= 0 for _, b in pairs):
        notes.append("no ratio: the baseline stores zero or negative bits")
    elif n_negative := sum(a <= 0 for a, _ in pairs):
        notes.append(f"R is zero or negative in {n_negative} seed(s): a mean without logarithms")
    if len(pairs) == 1:
        notes.append("one seed: no interval")
    elif np.ptp([a / b for a, b in pairs if b != 0] or [0.0]) < ROUNDING:
        notes.append("the same in all seeds to the last digit: no interval")
    if n_left_out:
        notes.append(f"{n_left_out} seed(s) left out: not every size finished on both sides")
    limited = [side.name for side in sides if side.is_demand_limited]
    if limited and basis in (Basis.PEAKS, Basis.SAME_SIZE):
        notes.append(f"{' and '.join(limited)} stored nearly all there was and may hold more")
    return notes

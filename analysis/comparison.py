"""Capacity of some cells relative to others, paired by seed.

Relative capacity has two meanings, and each comparison says which one it uses. arXiv 2404.05405,
section 5, compares architectures by their peaks: the largest R (bits per parameter) over the
models trained on one data set. Where both sides have several sizes, the ratio here is that of the
peaks, each over its own sizes, because equal layers and heads are not equal parameters. Where one
side has a single size, it is the ratio of R at the same layers, heads and width.

Seeds pair the sides: a replicate is one (seed, data seed), and the ratio is taken inside it, so
that what both sides share (the table of people, the order of the data) cancels. The interval is
Student's over the logs of these ratios (`geometric_mean`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from analysis.estimate import Estimate, geometric_mean
from analysis.groups import DEMAND_LIMITED_SHARE
from analysis.runs import Run, sizes_of

Replicate = tuple[int, int]


class Basis(StrEnum):
    """What a ratio is a ratio of."""

    PEAKS = "peak R over the sizes"
    SAME_SIZE = "R at the same layers and heads"
    SAME_WEIGHTS = "R of the same weights"
    NONE = "nothing"


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side of a comparison: the best model of each replicate."""

    name: str
    """What it is: an architecture, a data set, a quantization."""
    family: str
    """Architecture, variant and optimizer."""
    dataset: str
    n_people: int
    exposures: float
    demand_bits: float
    """All there is to know."""
    sizes: tuple[str, ...]
    """Layers and heads tried."""
    n_params: tuple[int, int]
    """Smallest and largest number of parameters among the best models."""
    capacity: Estimate | None
    """R in bits per parameter, geometric mean over replicates; None if some store no bits."""
    is_demand_limited: bool
    """Whether every model held nearly all there was: it may hold more."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """R of the subject over R of the baseline."""

    subject: Side
    baseline: Side
    basis: Basis
    ratio: Estimate | None
    """None where the sides have nothing that can be compared; the note says why."""
    n_replicates: int
    """Seeds that both sides share."""
    note: str
    """Why there is no ratio or no interval, and what to be careful with; may be empty."""

    @property
    def is_demand_limited(self) -> bool:
        """Whether the data, not the parameters, limit a side: the ratio is not one of capacity."""
        is_about_models = self.basis is not Basis.SAME_WEIGHTS
        return is_about_models and (
            self.subject.is_demand_limited or self.baseline.is_demand_limited
        )

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
    return side_of(name, runs, list(best_runs(runs).values()))


def side_of(name: str, runs: Sequence[Run], best: Sequence[Run]) -> Side:
    """A side from all of its runs, and from the best of each replicate among them."""
    shown = best or runs
    ratios = [run.ratio for run in best]
    limit = DEMAND_LIMITED_SHARE * max(run.max_ratio for run in runs)
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
        is_demand_limited=any(run.ratio >= limit for run in shown),
    )


def compare(names: tuple[str, str], subject: Sequence[Run], baseline: Sequence[Run]) -> Comparison:
    """The runs of `subject` against those of `baseline`, named in this order.

    Each side's runs share data set, people and exposures. A replicate counts where it has every
    size that its side has anywhere, so that a failed model lowers no peak.
    """
    subject, baseline, basis = _comparable(subject, baseline)
    best = best_runs(subject), best_runs(baseline)
    shared = sorted(best[0].keys() & best[1].keys())
    everywhere = {run.replicate for run in [*subject, *baseline]}
    return compare_pairs(
        (
            side_of(names[0], subject, list(best[0].values())),
            side_of(names[1], baseline, list(best[1].values())),
        ),
        [(best[0][replicate].ratio, best[1][replicate].ratio) for replicate in shared],
        basis=basis,
        n_left_out=len(everywhere) - len(shared),
    )


def compare_pairs(
    sides: tuple[Side, Side],
    pairs: Sequence[tuple[float, float]],
    *,
    basis: Basis,
    n_left_out: int = 0,
) -> Comparison:
    """A comparison from pairs of R of the subject and R of the baseline."""
    subject, baseline = sides
    positive = [(a, b) for a, b in pairs if a > 0 and b > 0]
    ratio = geometric_mean([a / b for a, b in positive]) if positive else None
    if basis is Basis.NONE:
        ratio = None
    return Comparison(
        subject=subject,
        baseline=baseline,
        basis=basis,
        ratio=ratio,
        n_replicates=len(positive),
        note="; ".join(_notes(sides, basis, len(pairs), len(positive), n_left_out)),
    )


def best_runs(runs: Sequence[Run]) -> dict[Replicate, Run]:
    """The run of largest R of each replicate that has every size, in the order of replicates."""
    n_sizes = len(sizes_of(runs))
    replicates = sorted({run.replicate for run in runs})
    own = {one: [run for run in runs if run.replicate == one] for one in replicates}
    return {
        replicate: max(found, key=lambda run: (run.ratio, run.size))
        for replicate, found in own.items()
        if len(sizes_of(found)) == n_sizes
    }


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
    sides: tuple[Side, Side], basis: Basis, n_pairs: int, n_positive: int, n_left_out: int
) -> list[str]:
    if basis is Basis.NONE:
        return ["no model of the same layers, heads and width on both sides"]
    if n_pairs == 0:
        return ["no seed has every size on both sides"]
    notes = []
    if n_positive < n_pairs:
        notes.append(f"{n_pairs - n_positive} seed(s) left out: R is zero or negative")
    if n_positive == 1:
        notes.append("one seed: no interval")
    if n_left_out:
        notes.append(f"{n_left_out} seed(s) left out: not every size finished on both sides")
    limited = [side.name for side in sides if side.is_demand_limited]
    if limited and basis is not Basis.SAME_WEIGHTS:
        notes.append(f"{' and '.join(limited)} stored nearly all there was and may hold more")
    return notes

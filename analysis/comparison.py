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
from typing import Any

import pandas as pd

from analysis.estimate import Estimate, geometric_mean
from analysis.groups import DEMAND_LIMITED_SHARE, size_of

REPLICATE = ["seed", "data_seed"]


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
    dataset: str
    n_people: int
    exposures: float
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


def measure_side(name: str, rows: pd.DataFrame) -> Side:
    """The best models of rows that share data set, people and exposures."""
    return side_of(name, rows, best_rows(rows))


def side_of(name: str, rows: pd.DataFrame, best: pd.DataFrame) -> Side:
    """A side from all of its rows, and from the best of each replicate among them."""
    shown = best if len(best) else rows
    first: dict[Any, Any] = shown.iloc[0].to_dict()
    ratios = best["capacity_ratio"].tolist()
    is_positive = len(ratios) > 0 and min(ratios) > 0
    largest = rows["max_capacity_ratio"].max()
    limited = bool((shown["capacity_ratio"] >= DEMAND_LIMITED_SHARE * largest).any())
    return Side(
        name=name,
        dataset=str(first["dataset"]),
        n_people=int(first["n_people"]),
        exposures=float(first["exposures"]),
        sizes=tuple(sorted(set(rows["model"].map(size_of)))),
        n_params=(int(shown["n_params"].min()), int(shown["n_params"].max())),
        capacity=geometric_mean(ratios) if is_positive else None,
        is_demand_limited=limited,
    )


def compare(names: tuple[str, str], subject: pd.DataFrame, baseline: pd.DataFrame) -> Comparison:
    """The rows of `subject` against those of `baseline`, named in this order.

    Each side's rows share data set, people and exposures. A replicate counts where it has every
    size that its side has anywhere, so that a failed model lowers no peak.
    """
    subject, baseline, basis = _comparable(subject, baseline)
    best = best_rows(subject), best_rows(baseline)
    shared = best[0].index.intersection(best[1].index).sort_values()
    return compare_pairs(
        (side_of(names[0], subject, best[0]), side_of(names[1], baseline, best[1])),
        tuple(b.reindex(shared)["capacity_ratio"].tolist() for b in best),
        basis=basis,
        n_left_out=_count_replicates(subject, baseline) - len(shared),
    )


def compare_pairs(
    sides: tuple[Side, Side],
    ratios: tuple[Sequence[float], ...],
    *,
    basis: Basis,
    n_left_out: int = 0,
) -> Comparison:
    """A comparison from R of the subject and R of the baseline, paired in order."""
    subject, baseline = sides
    pairs = list(zip(*ratios, strict=True))
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


def best_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The row of largest R of each complete replicate, indexed by (seed, data seed)."""
    sizes = _sizes(rows)
    n_sizes = sizes.groupby([rows[column] for column in REPLICATE]).nunique()
    complete = n_sizes.index[n_sizes == sizes.nunique()]
    ordered = rows.sort_values(["capacity_ratio", "model"], kind="stable")
    best = ordered.drop_duplicates(REPLICATE, keep="last").set_index(REPLICATE)
    return best[best.index.isin(complete)].sort_index()


def _sizes(rows: pd.DataFrame) -> pd.Series:
    """Layers, heads and, where known, width."""
    names = rows["model"].map(size_of)
    widths = rows["d_model"].map(lambda width: f" d{width:g}").replace(" dnan", "")
    return names + widths


def _comparable(
    subject: pd.DataFrame, baseline: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, Basis]:
    """The rows that can be compared, and as what."""
    subject_sizes, baseline_sizes = _sizes(subject), _sizes(baseline)
    if subject_sizes.nunique() > 1 and baseline_sizes.nunique() > 1:
        return subject, baseline, Basis.PEAKS
    shared = set(subject_sizes) & set(baseline_sizes)
    if not shared:
        return subject, baseline, Basis.NONE
    kept = subject[subject_sizes.isin(shared)], baseline[baseline_sizes.isin(shared)]
    return *kept, Basis.SAME_SIZE


def _count_replicates(*sides: pd.DataFrame) -> int:
    found = [set(rows[REPLICATE].itertuples(index=False, name=None)) for rows in sides]
    return len(set.union(*found))


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

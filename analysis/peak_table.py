"""The peak of every data set, for the table and the figures: the model of largest mean R."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pandas as pd

from analysis.groups import DEMAND_LIMITED_SHARE, GroupKey, split_groups
from analysis.peaks import peak_runs
from analysis.runs import Run, by_seed, group_by, runs_of


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The largest R over the models trained on one data set (arXiv 2404.05405, section 5), of means
    over seeds: the largest of noisy runs would be too large.
    """

    group: GroupKey
    n_people: int
    model: str
    n_params: int
    ratio: float
    """Largest mean R, in bits per parameter."""
    max_ratio: float
    """R_max of the model at the peak, in bits per parameter."""
    largest_max_ratio: float
    """Largest R_max among the models tried: no peak can be higher."""
    n_models: int
    n_seeds: int
    """Seeds that the mean is over."""

    @property
    def is_demand_limited(self) -> bool:
        """Whether the model at the peak held nearly all there was: it may hold more."""
        return self.ratio >= DEMAND_LIMITED_SHARE * self.max_ratio

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "is_demand_limited": self.is_demand_limited}


def find_peaks(rows: pd.DataFrame) -> list[Peak]:
    """The peak of every group and number of people, in the order of `split_groups`.

    Means are over the seeds that every model has; where there is none, over each model's own.
    """
    peaks = []
    for key, group in split_groups(rows):
        for _, models in group.groupby("n_people"):
            read = runs_of(models)
            names = dict(zip((run.size for run in read), models["model"], strict=True))
            (runs,) = by_seed(read)
            best = list(peak_runs(runs).values()) or _largest(runs)
            first = best[0]
            peaks.append(
                Peak(
                    group=key,
                    n_people=first.n_people,
                    model=str(names[first.size]),
                    n_params=first.n_params,
                    ratio=_mean(best),
                    max_ratio=first.max_ratio,
                    largest_max_ratio=float(models["max_capacity_ratio"].max()),
                    n_models=int(models["model"].nunique()),
                    n_seeds=len(best),
                )
            )
    return peaks


def _largest(runs: Sequence[Run]) -> list[Run]:
    """The runs of the size of largest mean R."""
    return max(group_by(runs, lambda run: run.size).values(), key=_mean)


def _mean(runs: Sequence[Run]) -> float:
    return sum(run.ratio for run in runs) / len(runs)

"""How many seeds it takes to see a difference, from how much seeds scatter in finished runs."""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import special

from analysis.estimate import ROUNDING
from analysis.load import load_results
from analysis.moderation import pooled_variance
from analysis.runs import Run, group_by, setting_of, unquantized
from analysis.seeds import LEVEL, POWER, TABLE, Scatter, seeds_for_difference

MIN_LEARNT = 0.1
"""A model below so many bits per parameter, and so large a share of its R_max, tells nothing of how
much seeds scatter in relation to R.
"""


@dataclass(frozen=True, kw_only=True)
class SeedsNeeded:
    """Seeds of each of two models to tell their capacities apart, at one number of exposures."""

    dataset: str
    exposures: float
    log_sd: float
    """Standard deviation over seeds of log R of one model, pooled over models."""
    log_sd_low: float
    log_sd_high: float
    """Ends of its 95% interval (chi-squared)."""
    df: float
    """Degrees of freedom that it rests on."""
    n_models: int
    """Models with two seeds or more."""
    n_left_out: int
    """Rows left out because R is zero or negative, has no second seed, or repeats a seed."""
    n_seeds: int
    """Seeds needed."""
    n_seeds_low: int
    n_seeds_high: int
    """The same at the ends of the interval of the standard deviation."""

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def seeds_needed(rows: pd.DataFrame, difference: float, power: float = POWER) -> list[SeedsNeeded]:
    """Seeds to see a relative difference between two models, for every data set and exposures.

    The difference of two models is taken seed by seed, and scatters by sqrt(2) times the standard
    deviation of one: in runs so far a shared seed does not make two models alike. Two-sided at 95%.
    Settings in which no model has two seeds are left out.

    Raises ValueError unless `difference` is above 0.
    """
    if not 0 < difference < math.inf:
        raise ValueError(f"difference: got {difference:g}; above 0, for instance 0.05 for 5%")
    groups = group_by(unquantized(rows), lambda run: (run.dataset, run.exposures))
    found = [_seeds_of(runs, difference, power) for _, runs in sorted(groups.items())]
    return [one for one in found if one is not None]


def scatter_of(rows: pd.DataFrame) -> list[Scatter]:
    """How much seeds scatter at each number of exposures, over all data sets."""
    groups: dict[float, list[list[float]]] = {}
    for model in group_by(unquantized(rows), _model).values():
        groups.setdefault(model[0].exposures, []).extend(_equal_runs(model))
    found = []
    for exposures, own in sorted(groups.items()):
        logs = [np.log(ratios) for ratios in own]
        if logs:
            spread = pooled_variance(logs)
            found.append(
                Scatter(
                    exposures=exposures,
                    log_sd=math.sqrt(spread.variance),
                    df=spread.df,
                    n_models=len(logs),
                )
            )
    return found


def write_spread(directories: Sequence[Path], path: Path = TABLE) -> Path:
    """Write the table that `kcap plan --power` reads, from these runs."""
    command = f"python -m analysis.power {' '.join(map(str, directories))}"
    scatter = [asdict(one) for one in scatter_of(load_results(directories).used)]
    path.write_text(
        json.dumps({"command": command, "scatter": scatter}, indent=1) + "\n", encoding="utf-8"
    )
    return path


def _model(run: Run) -> tuple[object, ...]:
    return (*setting_of(run), run.family, run.size)


def _seeds_of(runs: Sequence[Run], difference: float, power: float) -> SeedsNeeded | None:
    models = group_by(runs, _model)
    logs = [np.log(own) for model in models.values() for own in _equal_runs(model)]
    if not logs:
        return None
    spread = pooled_variance(logs)
    sd = math.sqrt(spread.variance)
    tail = (1 - LEVEL) / 2
    ends = [sd * math.sqrt(spread.df / special.chdtri(spread.df, q)) for q in (tail, 1 - tail)]
    n, n_low, n_high = (seeds_for_difference(difference, one, power=power) for one in (sd, *ends))
    return SeedsNeeded(
        dataset=runs[0].dataset,
        exposures=runs[0].exposures,
        log_sd=sd,
        log_sd_low=ends[0],
        log_sd_high=ends[1],
        df=spread.df,
        n_models=len(logs),
        n_left_out=sum(max(1, len(run.fresh)) for run in runs) - sum(map(len, logs)),
        n_seeds=n,
        n_seeds_low=n_low,
        n_seeds_high=n_high,
    )


def _equal_runs(model: Sequence[Run]) -> list[list[float]]:
    """R above zero of the runs of one model that differ by their seed alone: those of each row with
    fresh seeds, whose hyperparameters are its own, and all rows without. Several each, and no
    copies of one number. None of a model that has hardly learnt: near 0 log R scatters without end.
    """
    plain = {run.replicate: run.ratio for run in model if not run.fresh}
    rows = [list(plain.values()), *([ratio for _, ratio in run.fresh] for run in model)]
    learnt = min(MIN_LEARNT, MIN_LEARNT * model[0].max_ratio)
    rows = [own for own in rows if own and np.mean(own) >= learnt]
    positive = [[ratio for ratio in own if ratio > 0] for own in rows]
    return [own for own in positive if len(own) > 1 and np.ptp(np.log(own)) > ROUNDING]


if __name__ == "__main__":
    print(write_spread([Path(name) for name in sys.argv[1:]]))

"""Two run directories against each other: the same cells, paired by seed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pandas as pd

from analysis.comparison import Basis, Comparison, compare_cells, side_of
from analysis.estimate import Estimate, geometric_mean
from analysis.load import Results, ResultsError
from analysis.peaks import Replicate
from analysis.pooling import Pooled, pool
from analysis.runs import Run, by_seed, group_by, runs_of, setting_of

Key = tuple[object, ...]


@dataclass(frozen=True, kw_only=True)
class CellPair:
    """One model on one data set, in both runs."""

    model: str
    """Architecture, variant, optimizer and size; with its quantization if it has one."""
    comparison: Comparison
    """R of the second run over that of the first."""
    pooled: Pooled
    """What the other cells tell of its variance, and Holm's correction over all cells."""

    def to_record(self) -> dict[str, object]:
        """One flat line of a table."""
        own = {"model": self.model, **self.comparison.to_record(), **self.pooled.to_record()}
        return {name: value for name, value in own.items() if name != "sizes"}


@dataclass(frozen=True, kw_only=True)
class RunsCompared:
    """Every cell that both runs have, and what has no partner."""

    pairs: tuple[CellPair, ...]
    overall: dict[float, Estimate]
    """By exposures: geometric mean of the cells' ratios, with Student's interval over the cells."""
    n_without_ratio: dict[float, int]
    """By exposures: cells that this mean leaves out, as a side stores zero or negative bits."""
    n_unpaired: tuple[int, int]
    """Rows of the first and of the second run whose cell or seed the other one lacks."""

    def lines(self) -> list[str]:
        """What is said of it: a line for each cell, for all at equal exposures, for the rest."""
        lines = []
        for pair in self.pairs:
            c, p = pair.comparison, pair.pooled
            where = f"{c.subject.dataset}, N={c.subject.n_people:,}, {c.subject.exposures:g} exp."
            holm = "" if p.p_holm is None else f"; pooled {p.interval}, p {p.p_holm:.2g} (Holm)"
            note = f"  ({c.note})" if c.note else ""
            lines.append(f"{pair.model}, {where}: {c.ratio}, {c.n_replicates} seeds{holm}{note}")
        for exposures, mean in self.overall.items():
            n_without = self.n_without_ratio.get(exposures, 0)
            rest = f"; without {n_without} cell(s) of zero or negative bits" if n_without else ""
            lines.append(
                f"all cells at {exposures:g} exposures: {mean}, by the scatter of the cells{rest}"
            )
        if any(self.n_unpaired):
            lines.append("without a partner: {} and {} rows".format(*self.n_unpaired))
        return lines

    def to_json(self) -> dict[str, object]:
        return {
            "cells": [pair.to_record() for pair in self.pairs],
            "overall": [
                {
                    "exposures": exposures,
                    **asdict(found),
                    "n_without_ratio": self.n_without_ratio.get(exposures, 0),
                }
                for exposures, found in self.overall.items()
            ],
            "n_unpaired": list(self.n_unpaired),
        }


def compare_runs(first: Results, second: Results) -> RunsCompared:
    """R of the second run over R of the first, cell by cell.

    A cell is a data set, people, exposures, family, size and quantization; a run may differ from
    the other in anything else, which is what is compared. An optimizer that is the same in all of
    a run does not keep its cells apart from those of the other run.

    Raises ResultsError where the runs share no cell, or have no seed in common.
    """
    names = first.name, second.name
    if names[0] == names[1]:
        names = tuple(str(results.directories[0]) for results in (first, second))
    sides = without_a_shared_optimizer(first.used), without_a_shared_optimizer(second.used)
    cells = tuple(group_by(runs_of(rows), _key) for rows in sides)
    shared = [key for key in cells[0] if key in cells[1]]
    found = {key: _paired(cells[0][key], cells[1][key]) for key in shared}
    found = {key: pair for key, pair in found.items() if pair[0]}
    if not found:
        raise ResultsError(
            f"{names[0]} and {names[1]} share no cell: the same data, people, exposures, model and "
            "seed are needed in both"
        )
    comparisons = [_compare(names, *found[key]) for key in sorted(found, key=str)]
    pooled = pool(comparisons)
    n_paired = sum(len({run.cell for run in runs}) for runs, _ in found.values())
    return RunsCompared(
        pairs=tuple(
            CellPair(model=_model(key), comparison=comparison, pooled=own)
            for key, comparison, own in zip(
                sorted(found, key=str), comparisons, pooled, strict=True
            )
        ),
        overall=_overall(comparisons),
        n_without_ratio=dict(
            Counter(c.subject.exposures for c in comparisons if not c.has_place_on_log_axis)
        ),
        n_unpaired=(len(sides[0]) - n_paired, len(sides[1]) - n_paired),
    )


def _overall(comparisons: Sequence[Comparison]) -> dict[float, Estimate]:
    ratios: dict[float, list[float]] = {}
    for one in comparisons:
        if one.ratio is not None and one.has_place_on_log_axis:
            ratios.setdefault(one.subject.exposures, []).append(one.ratio.value)
    return {exposures: geometric_mean(own) for exposures, own in sorted(ratios.items())}


def without_a_shared_optimizer(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, without their optimizer where all have the same."""
    return rows.assign(optimizer="adamw") if rows["optimizer"].nunique() == 1 else rows


def _key(run: Run) -> Key:
    return (*setting_of(run), run.family, run.size, run.quantization)


def _model(key: Key) -> str:
    family, size, quantization = key[3:]
    return f"{family} {size}" + ("" if quantization == "none" else f" {quantization}")


def _paired(first: Sequence[Run], second: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """The runs of both in the seeds that both have; of several of one seed, the last."""
    replicates: list[dict[Replicate, Run]] = [
        {run.replicate: run for run in runs} for runs in by_seed(first, second)
    ]
    seeds = sorted(replicates[0].keys() & replicates[1].keys())
    return [replicates[0][seed] for seed in seeds], [replicates[1][seed] for seed in seeds]


def _compare(names: Sequence[str], first: list[Run], second: list[Run]) -> Comparison:
    return compare_cells(
        (side_of(names[1], second, second), side_of(names[0], first, first)),
        [(b.ratio, a.ratio) for a, b in zip(first, second, strict=True)],
        basis=Basis.SAME_CELL,
    )

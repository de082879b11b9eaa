"""Two run directories against each other: the same cells, paired by seed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.comparison import CHOSEN, Basis, Comparison, compare_cells, side_of
from analysis.estimate import LEVEL, Estimate, geometric_mean
from analysis.load import Results, ResultsError
from analysis.peaks import Replicate
from analysis.pooling import Pooled, pool
from analysis.runs import Run, by_seed, group_by, is_partly_fresh, runs_of_both, setting_of

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
    overall: dict[tuple[float, str], Estimate]
    """By exposures and quantization: geometric mean of the cells' ratios, with Student's interval
    over the cells.
    """
    n_without_ratio: dict[tuple[float, str], int]
    """Likewise: cells that this mean leaves out, as a side stores zero or negative bits."""
    n_unpaired: tuple[int, int]
    """Rows of the first and of the second run whose cell or seed the other one lacks."""

    @property
    def _tables(self) -> list[tuple[float, str]]:
        """Exposures and quantizations, also those whose cells all store nothing."""
        return sorted(self.overall.keys() | self.n_without_ratio.keys())

    def lines(self) -> list[str]:
        """What is said of it: a line for each cell, for all at equal exposures, for the rest."""
        lines = []
        for pair in self.pairs:
            c, p = pair.comparison, pair.pooled
            where = f"{c.subject.dataset}, N={c.subject.n_people:,}, {c.subject.exposures:g} exp."
            holm = "" if p.p_holm is None else f"; pooled {p.interval}, p {p.p_holm:.2g} (Holm)"
            notes = [note for note in c.note.split("; ") if note and note != CHOSEN]
            note = f"  ({'; '.join(notes)})" if notes else ""
            lines.append(f"{pair.model}, {where}: {c.ratio}, {c.n_replicates} seeds{holm}{note}")
        for table in self._tables:
            n_without, mean = self.n_without_ratio.get(table, 0), self.overall.get(table)
            which = f"all cells{_suffix(table[1])} at {table[0]:g} exposures"
            found = "no mean" if mean is None else f"{mean}, by the scatter of the cells"
            rest = f"; without {n_without} cell(s) of zero or negative bits" if n_without else ""
            lines.append(f"{which}: {found}{rest}")
        n_chosen = sum(CHOSEN in pair.comparison.note for pair in self.pairs)
        if n_chosen:
            lines.append(f"in {n_chosen} of {len(self.pairs)} lines: {CHOSEN}")
        if any(self.n_unpaired):
            lines.append("without a partner: {} and {} rows".format(*self.n_unpaired))
        return lines

    def to_json(self) -> dict[str, object]:
        return {
            "cells": [pair.to_record() for pair in self.pairs],
            "overall": [self._record(table) for table in self._tables],
            "n_unpaired": list(self.n_unpaired),
        }

    def _record(self, table: tuple[float, str]) -> dict[str, object]:
        mean = self.overall.get(table)
        return {
            "exposures": table[0],
            "quantization": table[1],
            "value": mean and mean.value,
            "low": mean and mean.low,
            "high": mean and mean.high,
            "level": LEVEL,
            "n_without_ratio": self.n_without_ratio.get(table, 0),
        }


def compare_runs(first: Results, second: Results) -> RunsCompared:
    """R of the second run over R of the first, cell by cell.

    A cell is a data set, people, exposures, family, size and quantization; a run may differ from
    the other in anything else, which is what is compared. Where each run has a single optimizer it
    does not keep their cells apart. Weights quantized in one way are a table of their own: what
    they were before is not measured again.

    Raises ResultsError where the runs share no cell, or have no seed in common.
    """
    names = first.name, second.name
    if names[0] == names[1]:
        names = tuple(str(results.directories[0]) for results in (first, second))
    sides = _of_one_optimizer_each(first.used, second.used)
    cells = tuple(group_by(runs, _key) for runs in runs_of_both(*sides))
    shared = [key for key in cells[0] if key in cells[1]]
    found = {key: _paired(cells[0][key], cells[1][key]) for key in shared}
    found = {key: pair for key, pair in found.items() if pair[0]}
    if not found:
        raise ResultsError(
            f"{names[0]} and {names[1]} share no cell: the same data, people, exposures, model and "
            "seed are needed in both"
        )
    keys = sorted(found, key=str)
    comparisons = {key: _compare(names, *found[key]) for key in keys}
    pooled: dict[Key, Pooled] = {}
    for of_one in {_quantization(key): None for key in keys}:
        own = [key for key in keys if _quantization(key) == of_one]
        pooled |= dict(zip(own, pool([comparisons[key] for key in own]), strict=True))
    n_paired = sum(len({run.cell for run in runs}) for runs, *_ in found.values())
    return RunsCompared(
        pairs=tuple(
            CellPair(model=_model(key), comparison=comparisons[key], pooled=pooled[key])
            for key in keys
        ),
        overall=_overall(comparisons),
        n_without_ratio=dict(
            Counter(_table(key) for key in keys if not comparisons[key].has_place_on_log_axis)
        ),
        n_unpaired=(len(sides[0]) - n_paired, len(sides[1]) - n_paired),
    )


def _overall(comparisons: Mapping[Key, Comparison]) -> dict[tuple[float, str], Estimate]:
    ratios: dict[tuple[float, str], list[float]] = {}
    for key, one in comparisons.items():
        if one.ratio is not None and one.has_place_on_log_axis:
            ratios.setdefault(_table(key), []).append(one.ratio.value)
    return {table: geometric_mean(own) for table, own in sorted(ratios.items())}


def _of_one_optimizer_each(
    first: pd.DataFrame, second: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of both, without their optimizers if each run has only one."""
    if all(rows["optimizer"].nunique() == 1 for rows in (first, second)):
        return first.assign(optimizer="adamw"), second.assign(optimizer="adamw")
    return first, second


def _key(run: Run) -> Key:
    return (*setting_of(run), run.family, run.size, run.quantization)


def _model(key: Key) -> str:
    family, size, quantization = key[3:]
    return f"{family} {size}{_suffix(str(quantization))}"


def _suffix(quantization: str) -> str:
    return "" if quantization == "none" else f" {quantization}"


def _quantization(key: Key) -> str:
    return str(key[-1])


def _table(key: Key) -> tuple[float, str]:
    """Exposures, which set how much seeds scatter, and quantization."""
    return float(str(key[1])), _quantization(key)


def _paired(first: Sequence[Run], second: Sequence[Run]) -> tuple[list[Run], list[Run], bool]:
    """The runs of both in the seeds that both have; of several of one seed, the last. And whether
    fresh seeds were left out, that one side alone has.
    """
    replicates: list[dict[Replicate, Run]] = [
        {run.replicate: run for run in runs} for runs in by_seed(first, second)
    ]
    seeds = sorted(replicates[0].keys() & replicates[1].keys())
    one, other = ([own[seed] for seed in seeds] for own in replicates)
    return one, other, is_partly_fresh(first, second)


def _compare(
    names: Sequence[str], first: list[Run], second: list[Run], is_chosen: bool
) -> Comparison:
    return compare_cells(
        (side_of(names[1], second, second), side_of(names[0], first, first)),
        [(b.ratio, a.ratio) for a, b in zip(first, second, strict=True)],
        basis=Basis.SAME_CELL,
        is_chosen=is_chosen,
    )

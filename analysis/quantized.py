"""What quantizing trained weights costs: R after over R before, model by model."""

from collections.abc import Sequence

import pandas as pd

from analysis.comparison import Basis, Comparison, compare_cells, side_of
from analysis.runs import Run, group_by, runs_of, setting_of

FULL_SHARE = 0.8
"""Of the largest R of the models of its data set: from there a model counts as full. Models that
hold much less are limited by their data, and have weights to spare.
"""


def compare_quantized(rows: pd.DataFrame) -> list[Comparison]:
    """Each quantization of each model against the same weights without it.

    Sorted by setting, family, quantization and size. Every model is compared, not the one at the
    peak alone: the others may lose several times as much.
    """
    return compare_quantized_runs(runs_of(rows))


def compare_quantized_runs(runs: Sequence[Run]) -> list[Comparison]:
    """The same from runs."""
    found = []
    groups = group_by(runs, lambda run: (*setting_of(run), run.family))
    for _, cells in sorted(groups.items()):
        methods = group_by(cells, lambda run: run.quantization)
        before = {run.cell: run.as_kept for run in methods.pop("none", [])}
        for name, quantized in sorted(methods.items()):
            own = [run for run in quantized if run.cell in before]
            sizes = sorted(group_by(own, lambda run: run.size).items())
            found += [_compare(name, of_size, before) for _, of_size in sizes]
    return found


def find_full(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Those of full models: only they show what quantization costs. They come with all others of
    their data set, people, exposures, family and quantization.
    """
    largest: dict[tuple[object, ...], float] = {}
    for one in comparisons:
        key = _setting(one)
        largest[key] = max(largest.get(key, 0.0), _before(one))
    return [one for one in comparisons if _before(one) >= FULL_SHARE * largest[_setting(one)] > 0]


def _setting(one: Comparison) -> tuple[object, ...]:
    side = one.baseline
    return side.dataset, side.n_people, side.exposures, side.family, one.subject.name


def _before(one: Comparison) -> float:
    return one.baseline.capacity.value if one.baseline.capacity else 0.0


def _compare(name: str, quantized: Sequence[Run], before: dict[tuple[str, str], Run]) -> Comparison:
    own = sorted(quantized, key=lambda run: run.replicate)
    trained = [before[run.cell] for run in own]
    family = trained[0].family
    return compare_cells(
        (side_of(f"{family} {name}", own, own), side_of(family, trained, trained)),
        [(run.ratio, before[run.cell].ratio) for run in own],
        basis=Basis.SAME_WEIGHTS,
    )

"""What quantizing trained weights costs: R after over R before, at the peaks."""

from collections.abc import Sequence

import pandas as pd

from analysis.comparison import Basis, Comparison, best_runs, compare_pairs, side_of
from analysis.runs import Run, group_by, runs_of, setting_of


def compare_quantized(rows: pd.DataFrame) -> list[Comparison]:
    """Each quantization against the same cells without it; sorted by setting and family.

    The cells are those of the peak (the largest R over the models of one data set) of each seed:
    only a full model shows what quantization costs.
    """
    found = []
    groups = group_by(runs_of(rows), lambda run: (*setting_of(run), run.family))
    for _, runs in sorted(groups.items()):
        methods = group_by(runs, lambda run: run.quantization)
        plain = methods.pop("none", [])
        if plain:
            peaks = {run.cell: run for run in best_runs(plain).values()}
            found += [
                _compare(name, [run for run in own if run.cell in peaks], peaks)
                for name, own in sorted(methods.items())
                if any(run.cell in peaks for run in own)
            ]
    return found


def _compare(name: str, quantized: Sequence[Run], peaks: dict[tuple[str, str], Run]) -> Comparison:
    before = [peaks[run.cell] for run in quantized]
    family = before[0].family
    return compare_pairs(
        (side_of(f"{family} {name}", quantized, quantized), side_of(family, before, before)),
        [(after.ratio, peaks[after.cell].ratio) for after in quantized],
        basis=Basis.SAME_WEIGHTS,
        n_left_out=len(peaks) - len(quantized),
    )

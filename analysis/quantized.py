"""What quantizing trained weights costs: R after over R before, at the peaks."""

import pandas as pd

from analysis.comparison import Basis, Comparison, best_rows, compare_pairs, side_of
from analysis.groups import families_of, split_by

SETTING = ["dataset", "family", "exposures", "n_people"]
CELL = ["run_dir", "cell_id"]


def compare_quantized(rows: pd.DataFrame) -> list[Comparison]:
    """Each quantization against the same cells without it; sorted by setting.

    The cells are those of the peak (the largest R over the models of one data set) of each seed:
    only a full model shows what quantization costs.
    """
    rows = rows.assign(family=families_of(rows))
    found = []
    for _, cells in rows.groupby(SETTING):
        plain = cells[cells["quantization"] == "none"]
        others = cells[cells["quantization"] != "none"]
        if len(plain) and len(others):
            peaks = best_rows(plain)
            found += [
                comparison
                for name, own in split_by(others, "quantization").items()
                if (comparison := _at_peaks(name, own, peaks)) is not None
            ]
    return found


def _at_peaks(name: str, quantized: pd.DataFrame, peaks: pd.DataFrame) -> Comparison | None:
    """One quantization at the peak cells; None where none of them has it."""
    pairs = peaks[CELL].merge(quantized, on=CELL)
    if pairs.empty:
        return None
    before = pairs[CELL].merge(peaks, on=CELL)
    family = str(pairs["family"].iloc[0])
    return compare_pairs(
        (side_of(f"{family} {name}", pairs, pairs), side_of(family, before, before)),
        (pairs["capacity_ratio"].tolist(), before["capacity_ratio"].tolist()),
        basis=Basis.SAME_WEIGHTS,
        n_left_out=len(peaks) - len(pairs),
    )

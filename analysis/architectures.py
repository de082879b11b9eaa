"""Capacity of every architecture and optimizer relative to GPT-2 by AdamW."""

import pandas as pd

from analysis.comparison import Comparison, compare
from analysis.runs import group_by, setting_of, unquantized

BASELINE = "gpt2"


def compare_architectures(rows: pd.DataFrame, baseline: str = BASELINE) -> list[Comparison]:
    """Each family against the baseline at the same data set, exposures and people.

    Unquantized usable rows count; sorted by setting, then family. Empty where no setting has both.
    """
    found = []
    for _, cells in sorted(group_by(unquantized(rows), setting_of).items()):
        families = group_by(cells, lambda run: run.family)
        own = families.pop(baseline, None)
        if own is not None:
            found += [
                compare((name, baseline), them, own) for name, them in sorted(families.items())
            ]
    return found

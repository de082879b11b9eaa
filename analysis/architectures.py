"""Capacity of every architecture and optimizer relative to GPT-2 by AdamW."""

import pandas as pd

from analysis.comparison import Comparison, compare
from analysis.groups import families_of, split_by

BASELINE = "gpt2"
SETTING = ["dataset", "exposures", "n_people"]


def compare_architectures(rows: pd.DataFrame, baseline: str = BASELINE) -> list[Comparison]:
    """Each family against the baseline at the same data set, exposures and people.

    Unquantized usable rows count; sorted by setting, then family. Empty where no setting has both.
    """
    plain = rows[rows["quantization"] == "none"]
    plain = plain.assign(family=families_of(plain))
    found = []
    for _, cells in plain.groupby(SETTING):
        families = split_by(cells, "family")
        own = families.pop(baseline, None)
        if own is not None:
            found += [compare((name, baseline), them, own) for name, them in families.items()]
    return found

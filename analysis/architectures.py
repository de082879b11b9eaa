"""Capacity of every architecture and optimizer relative to GPT-2: by AdamW, or by the one optimizer
that has trained all models of a data set at some exposures.
"""

from collections.abc import Sequence

import pandas as pd

from analysis.comparison import Comparison, compare
from analysis.groups import optimizer_of
from analysis.runs import Run, group_by, setting_of, unquantized

BASELINE = "gpt2"


def compare_architectures(rows: pd.DataFrame) -> list[Comparison]:
    """Each family against GPT-2; usable unquantized rows count."""
    panels = group_by(unquantized(rows), lambda run: (run.dataset, run.exposures))
    return [
        one for _, runs in sorted(panels.items()) for one in compare_families(runs, _gpt2_of(runs))
    ]


def _gpt2_of(runs: Sequence[Run]) -> str:
    """The family that the others are set against."""
    optimizers = {optimizer_of(run.family) for run in runs}
    is_one_other = len(optimizers) == 1 and "adamw" not in optimizers
    return f"{BASELINE} ({min(optimizers)})" if is_one_other else BASELINE


def compare_families(runs: Sequence[Run], baseline: str) -> list[Comparison]:
    """Each family against the baseline at the same data set, exposures and people.

    Sorted by setting, then family. Empty where no setting has both.
    """
    found = []
    for _, cells in sorted(group_by(runs, setting_of).items()):
        families = group_by(cells, lambda run: run.family)
        own = families.pop(baseline, None)
        if own is not None:
            found += [
                compare((name, baseline), them, own) for name, them in sorted(families.items())
            ]
    return found

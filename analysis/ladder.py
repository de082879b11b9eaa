"""From LLaMA to GPT-2 one setting at a time, as in Figure 5 of arXiv 2404.05405."""

from dataclasses import dataclass

import pandas as pd

from analysis.architectures import SETTING
from analysis.comparison import Comparison, Side, compare, measure_side
from analysis.groups import families_of

START, END = "llama", "gpt2"
MIN_BETWEEN = 2  # fewer steps between the ends is a comparison, not a ladder


@dataclass(frozen=True, kw_only=True)
class Step:
    """One rung of the ladder."""

    side: Side
    """The architecture and its R."""
    change: Comparison | None
    """Against the step before; None for the first."""

    def to_record(self) -> dict[str, object]:
        """One flat line of a table."""
        capacity, ratio = self.side.capacity, self.change and self.change.ratio
        return {
            "dataset": self.side.dataset,
            "n_people": self.side.n_people,
            "exposures": self.side.exposures,
            "architecture": self.side.name,
            "n_params": self.side.n_params[1],
            "capacity_ratio": capacity and capacity.value,
            "low": capacity and capacity.low,
            "high": capacity and capacity.high,
            "change": ratio and ratio.value,
            "change_low": ratio and ratio.low,
            "change_high": ratio and ratio.high,
            "n_sizes": len(self.side.sizes),
            "note": self.change.note if self.change else "",
        }


def find_ladders(rows: pd.DataFrame) -> list[list[Step]]:
    """One ladder for each data set, exposures and number of people that has one.

    The steps are the families from `llama` to `gpt2` in the order of the rows, which is that of
    the sweep's models. It is a ladder if all between them are variants of these two, and at least
    two.
    """
    plain = rows[rows["quantization"] == "none"]
    plain = plain.assign(family=families_of(plain))
    ladders = []
    for _, cells in plain.groupby(SETTING):
        order = list(dict.fromkeys(cells["family"]))
        names = _between_ends(order)
        if names and set(cells.loc[cells["family"].isin(names), "arch"]) <= {START, END}:
            ladders.append(_climb(cells, names))
    return ladders


def _between_ends(order: list[str]) -> list[str]:
    """Families from the start to the end, both included; none if there are too few."""
    if START not in order or END not in order:
        return []
    names = order[order.index(START) : order.index(END) + 1]
    return names if len(names) >= MIN_BETWEEN + 2 else []


def _climb(cells: pd.DataFrame, names: list[str]) -> list[Step]:
    own = [cells[cells["family"] == name] for name in names]
    steps = [Step(side=measure_side(names[0], own[0]), change=None)]
    for i in range(1, len(names)):
        change = compare((names[i], names[i - 1]), own[i], own[i - 1])
        steps.append(Step(side=measure_side(names[i], own[i]), change=change))
    return steps

"""From LLaMA to GPT-2 one setting at a time, as in Figure 5 of arXiv 2404.05405."""

from dataclasses import dataclass

import pandas as pd

from analysis.comparison import Comparison, Side, compare, measure_side
from analysis.runs import Run, group_by, setting_of, unquantized

START, END = "llama", "gpt2"
# What tells GPT-2 from LLaMA, as variants of LLaMA; with all of them it is GPT-2.
WORDS = {"standard", "tied", "gelu", "layernorm", "bias"}
MIN_STEPS = 3  # fewer variants of LLaMA is a comparison, not a ladder


@dataclass(frozen=True, kw_only=True)
class Step:
    """One rung of the ladder."""

    side: Side
    """The architecture and its R."""
    change: Comparison | None
    """Against the step that it comes from; None for the first."""

    @property
    def before(self) -> str:
        """Architecture of the step that this one comes from; empty for the first."""
        return self.change.baseline.name if self.change else ""

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
            "from": self.before,
            "change": ratio and ratio.value,
            "change_low": ratio and ratio.low,
            "change_high": ratio and ratio.high,
            "n_sizes": len(self.side.sizes),
            "note": self.change.note if self.change else "",
        }


def find_ladders(rows: pd.DataFrame) -> list[list[Step]]:
    """One ladder for each data set, exposures and number of people that has one.

    The steps are LLaMA and its variants on the way to GPT-2, in the order of the rows, which is
    that of the sweep's models; then GPT-2 itself where it is there. Each is compared with the
    latest earlier one that it adds a variant to, GPT-2 with the last:
    `llama-standard-tied` comes from `llama-standard`, and that from `llama`.
    """
    ladders = []
    for _, cells in sorted(group_by(unquantized(rows), setting_of).items()):
        families = group_by(cells, lambda run: run.family)
        names = [name for name in families if _is_rung(name)]
        if START in names and len(names) >= MIN_STEPS:
            ladders.append(_climb(families, [*names, *[END] * (END in families)]))
    return ladders


def _is_rung(family: str) -> bool:
    arch, *words = family.split("-")
    return arch == START and set(words) <= WORDS


def _climb(families: dict[str, list[Run]], names: list[str]) -> list[Step]:
    steps = []
    for i, name in enumerate(names):
        before = names[i - 1] if name == END else _origin(name, names[:i])
        change = None
        if before is not None:
            change = compare((name, before), families[name], families[before])
        steps.append(Step(side=measure_side(name, families[name]), change=change))
    return steps


def _origin(name: str, earlier: list[str]) -> str | None:
    """The earlier one with most of this one's variants and no other; None if there is none."""
    words = set(name.split("-"))
    below = [other for other in earlier if set(other.split("-")) < words]
    return max(reversed(below), key=lambda other: other.count("-"), default=None)

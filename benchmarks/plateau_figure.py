"""Figures and tables of the plateau study on a CPU, from its committed results.

python benchmarks/plateau_figure.py
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns

mpl.use("agg")

import matplotlib.pyplot as plt
from plateau_changes import Variant
from plateau_cpu import cell_of
from plateau_rule import left_at, read
from plateau_texts import records_of

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "results" / "contact"

PANELS = {
    "data": (
        "one order",
        "one template",
        "one order, one template",
        "full name in every sentence",
        "nothing before the name",
        "one whole biography anywhere in a window",
        "two whole biographies in a window",
        "windows of 512",
        "half the people",
        "2 x the people",
        "2.28 times as long",
    ),
    "optimizer": (
        "lr x0.5, x2",
        "batch 1",
        "batch 12",
        "eps 1e-8",
        "beta2 0.999",
        "no warm-up",
        "muon",
        "no decay, decay x10",
        "no decay of embeddings",
    ),
    "model and precision": (
        "width 32",
        "width 128",
        "1 layer",
        "4 layers",
        "no rotary",
        "rotary quarter",
        "embedding init x5",
        "init 0.06",
        "bf16",
        "canon",
        "llama",
    ),
}
"""Variants by what they change; those that were not run are left out."""


def label_of(one: dict[str, Any]) -> str:
    """Name of a curve; a variant of several trials says which."""
    name = one["variant"]
    if name.startswith("lr"):
        return f"lr {one['lr']:g}"
    return f"decay {one['weight_decay']:g}" if name.startswith("no decay, ") else name


def seen(one: dict[str, Any]) -> list[float]:
    """Exposures at the points of a curve."""
    return [one["exposures"] * step / one["n_steps"] for step in one["steps"]]


def draw_variants(records: Sequence[dict[str, Any]], path: Path) -> None:
    """Loss on values over exposures, a panel for each kind of variant that was run, the baseline's
    seeds in black in each.
    """
    run = {one["variant"] for one in records}
    panels = {title: names for title, names in PANELS.items() if run & set(names)}
    size = (5 * len(panels), 4.6)
    figure, axes = plt.subplots(1, len(panels), figsize=size, layout="constrained", sharey=True)
    for axis, (title, names) in zip(axes, panels.items(), strict=True):
        chosen = [one for one in records if one["variant"] in names and one["seed"] == 0]
        for one, color in zip(chosen, sns.color_palette("husl", len(chosen)), strict=True):
            label = f"{label_of(one)}: {one['values'][-1]:.1f}"
            axis.plot(seen(one), one["values"], color=color, linewidth=1.3, label=label)
        for one in records:
            if one["variant"] == "baseline":
                label = f"baseline, seed {one['seed']}: {one['values'][-1]:.1f}"
                axis.plot(seen(one), one["values"], color="black", linewidth=1.8, label=label)
        axis.axhline(records[0]["prior_value_nats"], color="0.5", linewidth=0.8)
        axis.set(xlabel="exposures seen", title=title, ylim=(0, 40))
        axis.legend(fontsize=7, title="loss at the end", title_fontsize=7)
    axes[0].set(ylabel="loss on values, nats per person")
    figure.savefig(path)
    plt.close(figure)


def draw_loops(ours: Sequence[dict[str, Any]], plain: Sequence[dict[str, Any]], path: Path) -> None:
    """The package's baseline and the plain loop: names and values."""
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    styles = {
        "own shuffle": ("tab:orange", "plain loop, its own shuffle"),
        "same windows": ("tab:green", "plain loop, same windows and first weights"),
    }
    for one in ours:
        axes.plot(one["steps"], one["values"], color="black", label=f"kcap, seed {one['seed']}")
        axes.plot(one["steps"], one["names"], color="black", linestyle="--")
    for one in plain:
        color, label = styles[one["variant"]]
        axes.plot(one["steps"], one["values"], color=color, label=f"{label}, seed {one['seed']}")
        axes.plot(one["steps"], one["names"], color=color, linestyle="--")
    axes.axhline(ours[0]["prior_value_nats"], color="0.5", linewidth=0.8)
    axes.set(xlabel="steps", ylabel="loss, nats per person (dashed: names)", ylim=(0, 45))
    axes.legend(fontsize=8)
    figure.savefig(path)
    plt.close(figure)


def table(records: Sequence[dict[str, Any]]) -> str:
    """The study as a Markdown table, a line for each change with all of its seeds, those that know
    the values best at the top.
    """
    by_change: dict[str, list[dict[str, Any]]] = {}
    for one in sorted(records, key=lambda one: one["seed"]):
        by_change.setdefault(label_of(one), []).append(one)

    def mean_loss(runs: Sequence[dict[str, Any]]) -> float:
        return float(np.mean([one["final"]["loss_value_nats"] for one in runs]))

    lines = [
        "| change | steps | left at, by seed | names | values, by seed | mean | R of R_max |",
        "|---|--:|---|--:|---|--:|---|",
    ]
    for change, runs in sorted(by_change.items(), key=lambda item: mean_loss(item[1])):
        names = np.mean([one["final"]["loss_name_nats"] for one in runs])
        ratio = np.mean([one["final"]["capacity_ratio"] for one in runs])
        values = ", ".join(f"{one['final']['loss_value_nats']:.1f}" for one in runs)
        lines.append(
            f"| {change} | {runs[0]['n_steps']:,} | {', '.join(left_of(one) for one in runs)} "
            f"| {names:.2f} | {values} | {mean_loss(runs):.1f} "
            f"| {ratio:.4f} of {runs[0]['max_capacity_ratio']:.4f} |"
        )
    return "\n".join(lines)


def left_of(one: dict[str, Any]) -> str:
    """The exposure at which a run leaves the plateau, as a word of the table."""
    left = left_at(one["steps"], one["values"], one["prior_value_nats"])
    return "not" if left is None else f"{one['exposures'] * left / one['n_steps']:.0f}"


def share_with_name(window_tokens: int) -> float:
    """Share of the value tokens whose biography's name is in the same window, where windows are cut
    from a stream wherever they fall: 1 - (tokens from the start of the biography) / window.
    """
    cell = cell_of(Variant(name="baseline"), 0, is_tiny=False)
    _, scored = records_of(cell)
    offsets = [
        1 + place
        for record in scored
        for place, label in enumerate(record["counted"])
        if label not in (None, "name")
    ]
    return sum(max(0.0, 1 - offset / window_tokens) for offset in offsets) / len(offsets)


def main() -> None:
    """Draw both, print the table."""
    mpl.rcParams["svg.hashsalt"] = "kcap"
    records = read("plateau_cpu.json")
    draw_variants(records, OUT / "plateau_cpu.svg")
    baseline = [one for one in records if one["variant"] == "baseline"]
    draw_loops(baseline, read("independent_loop.json"), OUT / "independent_loop.svg")
    print(table(records))
    for window in (128, 512):
        print(f"\nname in a window of {window}: {share_with_name(window):.0%} of the value tokens")


if __name__ == "__main__":
    main()

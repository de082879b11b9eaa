"""Figures of docs/results/contact, from the committed results of published_points and plateau.

python benchmarks/contact_figure.py
"""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
import seaborn as sns

mpl.use("agg")

import matplotlib.pyplot as plt
from plateau_rule import FULL_PRIOR_NATS

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
OUT = ROOT / "docs" / "results" / "contact"


def read(name: str) -> list[dict[str, Any]]:
    """The records of a committed result file."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def draw_points(records: list[dict[str, Any]], n_people: int, path: Path) -> None:
    """Losses on names and on values, and bits per parameter, over exposures, of runs with as many
    people.
    """
    figure, (losses, ratio) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    for record, color in zip(records, sns.color_palette("colorblind"), strict=False):
        trial = record["trials"][0]
        steps = [point["step"] for point in record["curve"]]
        seen = [trial["exposures_seen"] * step / record["steps"] for step in steps]
        probes = [point["trials"][0] for point in record["curve"]]
        label = f"{record['steps']:,} steps, {trial['exposures_seen']:.0f} exposures"
        names = [probe["loss_name_nats"] for probe in probes]
        values = [probe["loss_value_nats"] for probe in probes]
        losses.plot(seen, values, color=color, label=f"values, {label}")
        losses.plot(seen, names, color=color, linestyle="--", label=f"name, {label}")
        ratio.plot(seen, [probe["capacity_ratio"] for probe in probes], color=color, label=label)
    losses.axhline(FULL_PRIOR_NATS, color="0.5", linewidth=0.8)
    losses.text(0, FULL_PRIOR_NATS + 0.3, "values by the pools alone", fontsize=8, color="0.3")
    losses.axhline(math.log(n_people), color="0.5", linewidth=0.8)
    losses.text(0, math.log(n_people) - 1.4, "name known: ln N", fontsize=8, color="0.3")
    losses.set(xlabel="exposures seen", ylabel="loss in nats per person", ylim=(6, 37))
    losses.legend(fontsize=7, loc="center right")
    if "peer" in records[0]:
        published = records[0]["peer"]
        ratio.axhspan(0.9 * published, 1.1 * published, color="0.85")
        ratio.axhline(published, color="0.4", linewidth=0.8)
        ratio.text(0, published * 1.02, "published, read by eye, 10% either way", fontsize=8)
    else:
        ratio.axhline(records[0]["max_capacity_ratio"], color="0.4", linewidth=0.8)
        ratio.text(0, records[0]["max_capacity_ratio"] + 0.02, "all knowledge: R_max", fontsize=8)
    ratio.set(xlabel="exposures seen", ylabel="bits per parameter", ylim=(-0.15, 1.55))
    ratio.legend(fontsize=8, loc="lower right")
    figure.savefig(path)
    plt.close(figure)


def draw_plateau(records: list[dict[str, Any]], path: Path) -> None:
    """Loss on values over exposures for every variant of the small setting."""
    figure, axes = plt.subplots(figsize=(8, 4.6), layout="constrained")
    colors = sns.color_palette("husl", len(records))
    styles = itertools.cycle(("-", "--", ":"))
    for record, color, style in zip(records, colors, styles, strict=False):
        n_exposures = 228 if record["variant"].startswith("228") else 100
        seen = [n_exposures * step / record["n_steps"] for step in record["steps"]]
        label = record["variant"]
        if label.startswith("lr"):
            label = f"lr {record['lr']:g}"
        is_recipe = record["variant"] == "recipe"
        axes.plot(
            seen,
            record["values"],
            color="black" if is_recipe else color,
            linestyle="-" if is_recipe else style,
            linewidth=2.2 if is_recipe else 1.4,
            label=f"{label}: {record['values'][-1]:.1f}",
        )
    axes.axhline(FULL_PRIOR_NATS, color="0.5", linewidth=0.8)
    axes.set(xlabel="exposures seen", ylabel="loss on values, nats per person", ylim=(0, 37))
    axes.legend(fontsize=8, title="variant: loss at the end", loc="upper right")
    figure.savefig(path)
    plt.close(figure)


def main() -> None:
    """Draw all."""
    OUT.mkdir(parents=True, exist_ok=True)
    mpl.rcParams["svg.hashsalt"] = "kcap"
    draw_points(read("published_points-h200.json"), 50_000, OUT / "points.svg")
    draw_points(read("published_points-h100.json"), 20_000, OUT / "points1000.svg")
    draw_plateau(read("plateau-h200.json"), OUT / "plateau.svg")


if __name__ == "__main__":
    main()

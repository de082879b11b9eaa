"""The landscape that tuning saw: R over learning rate and weight decay, and the chosen points."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from analysis.figures import style

SHARES = Normalize(0.5, 1.0)
"""Of the best R of a cell, as colours; what is below half is as dark as half."""
EDGE_SHARE = 0.1
"""Of the range, on its logarithm: the outer tenth is shaded."""
COLOURS = "viridis"


def draw_landscape(trials: pd.DataFrame, rows: pd.DataFrame, notes: Sequence[str] = ()) -> Figure:
    """Every trial by its learning rate and weight decay, coloured by R over the best of its cell; a
    star marks what was chosen. `rows`: those of the cells, for their points.

    Shaded: the outer tenth of what the trials of the panel span; a star there says that the best
    may lie beyond. Raises NothingToDrawError where no cell tried two weight decays and two rates.
    """
    if trials.empty or not {"lr", "weight_decay"} <= set(trials):
        raise style.NothingToDrawError("landscape: no cell has trials of several points")
    known = trials[(trials["lr"] > 0) & (trials["weight_decay"] > 0)]
    counts = known.groupby("cell_id")[["lr", "weight_decay"]].nunique().min(axis=1)
    tuned = known[known["cell_id"].isin(counts.index[counts > 1])]
    finished = tuned[tuned["ratio"].notna()]
    if finished.empty:
        raise style.NothingToDrawError("landscape: no cell tried several rates and weight decays")
    best = finished.groupby("cell_id")["ratio"].transform("max")
    finished = finished.assign(share=(finished["ratio"] / best).where(best > 0, 0.0))
    lost = tuned[tuned["ratio"].isna()]
    chosen = rows[rows["cell_id"].isin(tuned["cell_id"]) & (rows["quantization"] == "none")]
    panels = list(finished.groupby(["dataset", "exposures"]))
    at_edge = [str(edge) for edge in chosen["edge"] if isinstance(edge, str) and edge]
    lines = list(notes[:1])
    if at_edge:
        lines.append(
            f"{len(at_edge)} of {len(chosen)} cells chose a point at the edge of its range."
        )
    if len(lost):
        lines.append(f"Crosses: {len(lost)} trial(s) without a result.")
    figure, grid = style.panels(len(panels), n_notes=len(lines))
    for axes, (key, group) in zip(grid, panels, strict=True):
        _draw_panel(axes, group, _of(lost, key), _of(chosen, key))
    for axes in style.left_panels(grid):
        axes.set_ylabel("Weight decay")
    style.title_panels(figure, grid, [_label(key) for key, _ in panels])
    star = style.series_handle("chosen", "white", "*", "")
    star.set_markeredgecolor("black")
    star.set_markersize(9)
    style.legend(figure, [star])
    colours = ScalarMappable(SHARES, colormaps[COLOURS])
    figure.colorbar(
        colours, ax=list(grid), label="R over the best of its cell", extend="min", shrink=0.8
    )
    style.write_notes(figure, lines)
    return figure


def _draw_panel(axes: Axes, group: pd.DataFrame, lost: pd.DataFrame, chosen: pd.DataFrame) -> None:
    everything = pd.concat([group, lost])
    limits = {name: style.limits(everything[name], margin=1.25) for name in ("lr", "weight_decay")}
    axes.set_xlim(limits["lr"])
    axes.set_ylim(limits["weight_decay"])
    style.ratio_axis(axes, "x")
    style.ratio_axis(axes, "y")
    for low, high in _edges(everything["lr"]):
        axes.axvspan(low, high, color="0.92", zorder=0)
    for low, high in _edges(everything["weight_decay"]):
        axes.axhspan(low, high, color="0.92", zorder=0)
    ordered = group.sort_values("share")
    axes.scatter(
        ordered["lr"],
        ordered["weight_decay"],
        c=ordered["share"],
        cmap=COLOURS,
        norm=SHARES,
        s=22,
        lw=0,
        zorder=2,
    )
    axes.plot(lost["lr"], lost["weight_decay"], "x", color="0.5", ms=4, zorder=1)
    axes.plot(
        chosen["lr"], chosen["weight_decay"], "*", mfc="none", mec="black", ms=9, mew=0.7, zorder=3
    )
    axes.set_xlabel("Learning rate")


def _edges(values: pd.Series) -> list[tuple[float, float]]:
    """The outer tenths of what the values span, on their logarithm."""
    low, high = float(values.min()), float(values.max())
    width = (high / low) ** EDGE_SHARE
    return [(low, low * width), (high / width, high)] if high > low else []


def _of(table: pd.DataFrame, key: Any) -> pd.DataFrame:
    dataset, exposures = key
    return table[(table["dataset"] == dataset) & (table["exposures"] == exposures)]


def _label(key: Any) -> tuple[str, str]:
    dataset, exposures = key
    return str(dataset), f"{float(exposures):g} exposures"

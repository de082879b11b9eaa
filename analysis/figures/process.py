"""How the cells were trained: tuning trials and training curves."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import style
from analysis.groups import split_by
from analysis.words import dataset_parts

MAX_CURVE_POINTS = 200
MAX_VECTOR_POINTS = 20_000
"""Points of a figure above which they are pixels in vector files too."""


def draw_tuning(trials: pd.DataFrame, notes: Sequence[str] = ()) -> Figure:
    """Bits per parameter of every trial against its learning rate; a star marks the best of a cell.

    Raises NothingToDrawError where no cell has two finished trials with a learning rate.
    """
    if trials.empty or "lr" not in trials:
        raise style.NothingToDrawError("tuning: no cell has trials with learning rates")
    finished = trials[trials["ratio"].notna() & (trials["lr"] > 0)]
    counts = finished.groupby("cell_id")["lr"].nunique()
    tuned = finished[finished["cell_id"].isin(counts.index[counts > 1])]
    if tuned.empty:
        raise style.NothingToDrawError("tuning: no cell tried more than one learning rate")
    n_lost = len(trials) - len(finished)
    lines = [f"Not drawn: {n_lost} trial(s) without a result."] if n_lost else []
    lines += notes[:1]
    n_negative = int((tuned["ratio"] < 0).sum())
    lines += [f"Below the panels: {n_negative} trial(s) with R < 0."] if n_negative else []
    panels = list(tuned.groupby(["dataset", "exposures"]))
    figure, grid = style.panels(len(panels), n_notes=len(lines))
    colours, markers = style.colours_of(tuned["n_people"]), style.markers_of(tuned["n_people"])
    for axes, (_, group) in zip(grid, panels, strict=True):
        axes.set_xlim(style.limits(tuned["lr"], margin=1.25))
        style.ratio_axis(axes, "x")
        axes.set_ylim(0, max(float(tuned["ratio"].max()), 0.0) * 1.08 + 1e-9)
        for n_people, cells in split_by(group.sort_values("lr"), "n_people").items():
            colour = colours[n_people]
            points = _broken_lines(cells, "lr", "ratio")
            is_dense = len(tuned) > MAX_VECTOR_POINTS
            axes.plot(*points, color=colour, lw=0.6, alpha=0.5, rasterized=is_dense)
            axes.plot(
                *points, markers[n_people], color=colour, ms=3, alpha=0.7, rasterized=is_dense
            )
            best = cells.loc[cells.groupby("cell_id")["ratio"].idxmax()]
            axes.plot(best["lr"], best["ratio"], "*", color=colour, mec="black", mew=0.5, ms=7)
        axes.set_xlabel("Learning rate")
    for axes in style.left_panels(grid):
        axes.set_ylabel("Stored, $R$ (bits per parameter)")
    style.title_panels(figure, grid, [_label(key) for key, _ in panels])
    handles = [style.series_handle(style.short_count(n), colours[n], markers[n]) for n in colours]
    star = style.series_handle("best of its cell", "0.8", "*", "")
    star.set_markeredgecolor("black")
    star.set_markersize(8)
    style.legend(figure, [*handles, star], title="People")
    style.write_notes(figure, lines)
    return figure


def draw_training(histories: pd.DataFrame, notes: Sequence[str] = ()) -> Figure:
    """Training loss of every cell against the exposures seen so far.

    Raises NothingToDrawError where no cell has a training curve.
    """
    if histories.empty:
        raise style.NothingToDrawError("training: no cell has a training curve")
    drawn = histories[(histories["exposures_seen"] > 0) & np.isfinite(histories["loss"])]
    if drawn.empty:
        raise style.NothingToDrawError("training: no training curve holds a finite loss")
    drawn = _thinned(drawn)
    panels = list(drawn.groupby(["dataset", "exposures"]))
    lines = list(notes[:1])
    figure, grid = style.panels(len(panels), n_notes=len(lines))
    colours = style.colours_of(drawn["n_people"])
    for axes, (_, group) in zip(grid, panels, strict=True):
        axes.set_xlim(style.limits(drawn["exposures_seen"], margin=1.1))
        style.ratio_axis(axes, "x")
        for n_people, cells in split_by(group, "n_people").items():
            axes.plot(
                *_broken_lines(cells, "exposures_seen", "loss"),
                color=colours[n_people],
                lw=0.7,
                alpha=0.7,
                rasterized=len(drawn) > MAX_VECTOR_POINTS,
            )
        axes.set_ylim(style.limits(drawn["loss"], margin=1.05))
        axes.set_xlabel("Exposures seen")
    for axes in style.left_panels(grid):
        axes.set_ylabel("Training loss (nats per token)")
    style.title_panels(figure, grid, [_label(key) for key, _ in panels])
    handles = [style.series_handle(style.short_count(n), colours[n]) for n in colours]
    style.legend(figure, handles, title="People")
    style.write_notes(figure, lines)
    return figure


def _thinned(curves: pd.DataFrame) -> pd.DataFrame:
    """Every k-th point of each curve, so that about MAX_CURVE_POINTS remain."""
    cells = curves.groupby("cell_id")["loss"]
    every = (cells.transform("size") // MAX_CURVE_POINTS).clip(lower=1)
    return curves[cells.cumcount() % every == 0]


def _broken_lines(rows: pd.DataFrame, x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
    """The points of all cells as one line that breaks (NaN) between cells: one artist draws a
    thousand curves as fast as ten.
    """
    ordered = rows.sort_values("cell_id", kind="stable")
    starts = np.flatnonzero(ordered["cell_id"].to_numpy()[1:] != ordered["cell_id"].to_numpy()[:-1])
    values = ordered[x].to_numpy(float), ordered[y].to_numpy(float)
    return np.insert(values[0], starts + 1, np.nan), np.insert(values[1], starts + 1, np.nan)


def _label(key: object) -> tuple[str, ...]:
    assert isinstance(key, tuple), "grouped by dataset and exposures"
    dataset, exposures = key
    return *dataset_parts(str(dataset)), f"{float(exposures):g} exposures"

"""Bits while training: what each cell stores after how many exposures."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import style
from analysis.groups import split_by
from analysis.words import dataset_parts


def draw_growth(histories: pd.DataFrame, notes: Sequence[str] = ()) -> Figure:
    """Bits per parameter of every cell against the exposures seen so far, with the standard error
    of the people measured.

    A point in the middle is of a learning rate that has not come down yet, so it is less than a run
    of that length would store. Raises NothingToDrawError where no cell was measured while it was
    trained.
    """
    if histories.empty or "capacity_ratio" not in histories:
        raise style.NothingToDrawError("growth: no cell was measured while it was trained")
    is_measured = histories["capacity_ratio"].notna() & (histories["exposures_seen"] > 0)
    drawn = histories[is_measured]
    if drawn.empty:
        raise style.NothingToDrawError("growth: no cell was measured while it was trained")
    panels = list(drawn.groupby(["dataset", "exposures"]))
    lines = [
        "Of a sample of people, with its standard error.",
        "A run that ends at a point stores more: its learning rate has come down.",
        *notes[:1],
    ]
    figure, grid = style.panels(len(panels), n_notes=len(lines))
    colours, markers = style.colours_of(drawn["n_people"]), style.markers_of(drawn["n_people"])
    for axes, (_, group) in zip(grid, panels, strict=True):
        axes.set_xlim(style.limits(group["exposures_seen"], margin=1.1))
        style.ratio_axis(axes, "x")
        for n_people, cells in split_by(group, "n_people").items():
            for _, curve in cells.groupby("cell_id"):
                axes.errorbar(
                    curve["exposures_seen"],
                    curve["capacity_ratio"],
                    yerr=_error(curve),
                    color=colours[n_people],
                    marker=markers[n_people],
                    ms=3,
                    lw=0.8,
                    elinewidth=0.6,
                    alpha=0.8,
                )
        axes.axhline(0.0, color="0.8", lw=0.8, ls="--", zorder=0)
        axes.set_xlabel("Exposures seen")
    for axes in style.left_panels(grid):
        axes.set_ylabel("Stored, $R$ (bits per parameter)")
    style.title_panels(figure, grid, [_title(key) for key, _ in panels])
    handles = [style.series_handle(style.short_count(n), colours[n], markers[n]) for n in colours]
    style.legend(figure, handles, title="People")
    style.write_notes(figure, lines)
    return figure


def _title(key: object) -> tuple[str, ...]:
    assert isinstance(key, tuple), "grouped by dataset and exposures"
    dataset, exposures = key
    return *dataset_parts(str(dataset)), f"{float(exposures):g} exposures"


def _error(curve: pd.DataFrame) -> np.ndarray | None:
    """Standard error of each point, in bits per parameter; None in curves of older runs."""
    if "stored_bits_se" not in curve or curve["stored_bits_se"].isna().any():
        return None
    return (curve["stored_bits_se"] / curve["n_params"]).to_numpy(float)

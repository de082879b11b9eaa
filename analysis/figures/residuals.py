"""What the joint law leaves: residuals by R_max, people, parameters and exposures."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import style
from analysis.joint import INFORMATIVE, JointCells, fit_joint, joint_cells
from analysis.load import ResultsError
from analysis.words import dataset_parts

QUANTITIES = {
    "R_max": "Demanded, $R_{max}$ (bits per parameter)",
    "people": "People",
    "parameters": "Parameters",
    "exposures": "Exposures",
}


def draw_residuals(rows: pd.DataFrame) -> Figure:
    """Measured R over the joint law's, one panel for each quantity that varies.

    Of the data set with most cells. Hollow points are saturated cells. Raises NothingToDrawError
    where the cells do not carry a joint law.
    """
    if rows.empty:
        raise style.NothingToDrawError("residuals: no finished cell")
    dataset = rows["dataset"].value_counts().index[0]
    try:
        cells, n_censored = joint_cells(rows[rows["dataset"] == dataset])
    except ResultsError as error:
        raise style.NothingToDrawError(f"residuals: {error}") from error
    if len(np.unique(np.round(cells.log_max_ratio_N, 3))) < 2:
        raise style.NothingToDrawError("residuals: all cells have one R_max, so there is no law")
    law = fit_joint(cells)
    ratio_N, told_N = np.exp(law.residuals(cells)), law.told(cells) > INFORMATIVE
    values = _values(cells)
    shown = [name for name, value_N in values.items() if np.ptp(np.log(value_N)) > 1e-3]
    notes = [f"{law.name}. Hollow: limited by the data, not by c."]
    if n_censored:
        notes.append(f"Not drawn: {n_censored} cell(s) of zero or negative bits.")
    figure, grid = style.panels(len(shown), n_notes=len(notes))
    colours, markers = style.colours_of(cells.people_N), style.markers_of(cells.people_N)
    for axes, name in zip(grid, shown, strict=True):
        axes.set_xlim(style.limits(values[name], margin=1.3))
        axes.set_ylim(style.limits(ratio_N, margin=1.05))
        (style.ratio_axis if name == "R_max" else style.count_axis)(axes, "x")
        style.relative_axis(axes, "y")
        axes.axhline(1.0, color="0.6", lw=0.8, ls="--", zorder=0)
        for people in colours:
            for is_told in (True, False):
                own_N = (cells.people_N == people) & (told_N == is_told)
                look = colours[people] if is_told else "none"
                _points(axes, values[name][own_N], ratio_N[own_N], markers[people])
                axes.lines[-1].set(markerfacecolor=look, markeredgecolor=colours[people])
        axes.set_xlabel(QUANTITIES[name])
    for axes in style.left_panels(grid):
        axes.set_ylabel("Measured $R$ over the law's")
    handles = [
        style.series_handle(style.short_count(n), colours[n], markers[n], "") for n in colours
    ]
    style.title_panels(figure, grid, [dataset_parts(str(dataset))] * len(grid))
    style.legend(figure, handles, title="People")
    style.write_notes(figure, notes)
    return figure


def _points(axes: Axes, x_N: np.ndarray, y_N: np.ndarray, marker: str) -> None:
    axes.plot(x_N, y_N, marker, mew=0.7, ms=3.8)


def _values(cells: JointCells) -> dict[str, np.ndarray]:
    return {
        "R_max": np.exp(cells.log_max_ratio_N),
        "people": cells.people_N,
        "parameters": cells.params_N,
        "exposures": cells.exposures_N,
    }

"""Mixture of experts against dense models, as in Figure 7 of arXiv 2404.05405."""

import re

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import style
from analysis.groups import families_of, split_by
from analysis.words import dataset_parts

EXPERTS = re.compile(r"-moe\d+")
COUNTS = {"n_params": "Parameters", "n_params_active": "Active parameters"}


def draw_experts(rows: pd.DataFrame) -> Figure:
    """Bits per parameter of experts (filled) and dense models (hollow), counting all parameters
    and only those that a token uses; one row of panels per data set, exposures and family.

    Raises NothingToDrawError where no model with experts has dense ones beside it.
    """
    plain = rows[(rows["quantization"] == "none") & (rows["stored_bits"] > 0)]
    plain = plain.assign(family=families_of(plain))
    has_experts = plain["family"].str.contains(EXPERTS)
    dense_family = plain["family"].str.replace(EXPERTS, "", regex=True)
    plain = plain.assign(has_experts=has_experts, dense_family=dense_family)
    settings = [
        cells
        for _, cells in plain.groupby(["dataset", "exposures", "dense_family"])
        if cells["has_experts"].nunique() == 2
    ]
    if not settings:
        raise style.NothingToDrawError(
            "moe: no model with experts (-moe32) beside a dense one (same data and exposures)"
        )
    figure, grid = style.panels(len(settings) * 2, n_columns=2, n_notes=1)
    drawn = pd.concat(settings)
    colours, markers = style.colours_of(drawn["n_people"]), style.markers_of(drawn["n_people"])
    panels = [(cells, column) for cells in settings for column in COUNTS]
    for axes, (cells, column) in zip(grid, panels, strict=True):
        _draw_panel(axes, cells, column, drawn, (colours, markers))
    labels = [_title(cells, column) for cells, column in panels]
    style.title_panels(figure, grid, labels)
    handles = [
        style.series_handle(style.short_count(n), colours[n], markers[n], "") for n in colours
    ]
    dense = style.series_handle("dense", "0.3", "o", "--")
    dense.set_markerfacecolor("white")
    handles += [style.series_handle("experts", "0.3", "o"), dense]
    style.legend(figure, handles, title="People")
    style.write_notes(figure, ["Lines join the largest R of each size over seeds."])
    return figure


def _draw_panel(
    axes: Axes,
    cells: pd.DataFrame,
    column: str,
    drawn: pd.DataFrame,
    look: tuple[dict[float, style.Colour], dict[float, str]],
) -> None:
    """One panel; limits are those of all that is `drawn`, so that panels can be compared."""
    colours, markers = look
    ratios = cells["stored_bits"] / cells[column]
    axes.set_xlim(style.limits(pd.concat([drawn[name] for name in COUNTS]), margin=1.4))
    shown = pd.concat([drawn["stored_bits"] / drawn[name] for name in COUNTS])
    axes.set_ylim(style.limits(shown, margin=1.35))
    style.count_axis(axes, "x")
    style.relative_axis(axes, "y")
    for n_people, own in split_by(cells.assign(shown=ratios), "n_people").items():
        colour, marker = colours[n_people], markers[n_people]
        for has_experts, models in split_by(own, "has_experts").items():
            face = colour if has_experts else "white"
            axes.plot(models[column], models["shown"], marker, mec=colour, mfc=face, zorder=3)
            best = models.groupby(column)["shown"].max()
            line = "-" if has_experts else "--"
            axes.plot(best.index, best, line, color=colour, lw=0.9, alpha=0.7, zorder=2)
    axes.set_xlabel(COUNTS[column])
    axes.set_ylabel("Stored bits per " + COUNTS[column].lower().removesuffix("s"))


def _title(cells: pd.DataFrame, column: str) -> tuple[str, ...]:
    first = cells.iloc[0]
    kind = "all parameters" if column == "n_params" else "active parameters"
    data = dataset_parts(str(first["dataset"]))
    return *data, first["dense_family"], f"{first['exposures']:g} exposures", kind

"""Stored bits against parameters, as in Figure 1 of arXiv 2404.05405."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import style
from analysis.figures.style import Colour
from analysis.fit import CapacityFit
from analysis.groups import GroupKey, has_full_pools, split_groups
from analysis.published import is_published, published_rows
from analysis.words import dataset_parts

GUIDES = (2.0, 1.0, 0.5, 0.25)
"""Bits per parameter of the diagonal lines."""
LABEL_ROOM = 1.3
"""How far right of the left edge a diagonal must leave through the top to be labelled there."""


def draw_capacity(
    rows: pd.DataFrame, fits: Sequence[CapacityFit], excluded: pd.DataFrame
) -> Figure:
    """One panel per group of cells: stored bits, demand, fitted law and published points, which are
    hollow, whether they are among the rows or not.

    Raises NothingToDrawError where no row stores a positive number of bits.
    """
    drawn = rows[rows["stored_bits"] > 0]
    if drawn.empty:
        raise style.NothingToDrawError("capacity: no finished cell stores more than zero bits")
    groups = split_groups(drawn)
    notes = [*_negative_notes(rows[rows["stored_bits"] <= 0]), *style.exclusion_notes(excluded)]
    published = [_published_like(key, group) for key, group in groups]
    if any((p["approximate"]).any() for p in published):
        notes.append("Published points at 100 exposures were read off the figure by eye (+-10%).")
    figure, grid = style.panels(len(groups), n_notes=len(notes))
    colours = style.colours_of(drawn["n_people"])
    markers = style.markers_of(drawn["n_people"])
    laws = {fit.group: fit for fit in fits}
    for axes, (key, group), points in zip(grid, groups, published, strict=True):
        # Panels of one data set share their limits, so that heights can be compared.
        same = [p for p in published if key.dataset in set(p["dataset"])]
        _set_limits(axes, pd.concat([drawn[drawn["dataset"] == key.dataset], *same]))
        draw_guides(axes)
        for n_people, cells in reversed(list(group.groupby("n_people"))):
            same = points[points["n_people"] == n_people]
            _draw_people(axes, cells, same, laws.get(key), colours, markers)
        axes.set_xlabel("Parameters")
    for axes in style.left_panels(grid):
        axes.set_ylabel("Stored knowledge (bits)")
    # Above the labels of the diagonals.
    style.title_panels(figure, grid, [label_parts(key) for key, _ in groups], pad=13)
    handles = [
        style.series_handle(style.short_count(n), colours[n], markers[n], "") for n in colours
    ]
    handles.append(style.series_handle("demand of the data", "0.3", line=":"))
    if any(fit.law for fit in fits):
        handles.append(style.series_handle("fitted law", "0.3"))
    if any(len(p) for p in published):
        paper = style.series_handle("published, GPT2", "0.6", "o", "")
        paper.set_markerfacecolor("none")
        handles.append(paper)
    style.legend(figure, handles, title="People")
    style.write_notes(figure, notes)
    return figure


def label_parts(key: GroupKey) -> tuple[str, ...]:
    """The parts of a key as titles show them."""
    quantization = "" if key.quantization == "none" else key.quantization
    return *dataset_parts(key.dataset), key.family, quantization, f"{key.exposures:g} exposures"


def _published_like(key: GroupKey, group: pd.DataFrame) -> pd.DataFrame:
    """Published points of the same setting and numbers of people; empty for any other setting."""
    points = published_rows()
    same_setting = (
        key.dataset == "bioS" and key.quantization == "none" and has_full_pools(group).all()
    )
    if not same_setting:
        return points.iloc[:0]
    return points[
        points["exposures"].eq(key.exposures) & points["n_people"].isin(group["n_people"])
    ]


def _set_limits(axes: Axes, cells: pd.DataFrame) -> None:
    axes.set_xlim(style.limits(cells["n_params"], margin=1.5))
    low, high = style.limits([*cells["stored_bits"], *cells["demand_bits"]], margin=1.6)
    axes.set_ylim(low, high)
    style.count_axis(axes, "x")
    style.count_axis(axes, "y")


def draw_guides(axes: Axes) -> None:
    """Diagonals of constant bits per parameter, labelled where they leave the panel."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    is_first = True
    for ratio in GUIDES:
        if not (ratio * left < top and ratio * right > bottom):
            continue
        axes.plot([left, right], [ratio * left, ratio * right], color="0.8", lw=0.8, zorder=0)
        if ratio * right > top and top / ratio < LABEL_ROOM * left:
            continue  # it leaves through the corner, where its label would stand outside
        text = f"{ratio:g} bit/param" if is_first else f"{ratio:g}"
        is_first = False
        if ratio * right > top:
            where, shift, align = (top / ratio, top), (3, 2), ("right", "bottom")
        else:
            where, shift, align = (right, ratio * right), (2, 0), ("left", "center")
        axes.annotate(
            text,
            where,
            shift,
            textcoords="offset points",
            fontsize=7,
            color="0.45",
            ha=align[0],
            va=align[1],
        )


def _draw_people(
    axes: Axes,
    cells: pd.DataFrame,
    published: pd.DataFrame,
    fit: CapacityFit | None,
    colours: dict[float, Colour],
    markers: dict[float, str],
) -> None:
    """Everything about one number of people, in its colour."""
    n_people = float(cells["n_people"].iloc[0])
    colour, marker = colours[n_people], markers[n_people]
    demand_bits = float(cells["demand_bits"].median())
    axes.axhline(demand_bits, color=colour, lw=0.8, ls=":", zorder=1)
    if fit is not None and fit.law is not None:
        n_params = np.geomspace(cells["n_params"].min() / 1.2, cells["n_params"].max() * 1.2, 200)
        stored = fit.law.stored_bits(n_params=n_params, demand_bits=demand_bits)
        axes.plot(n_params, stored, color=colour, lw=0.9, alpha=0.8, zorder=2)
    if len(published):
        axes.plot(
            published["n_params"],
            published["stored_bits"],
            marker,
            mfc="none",
            mec=colour,
            mew=0.7,
            ms=3.5,
            alpha=0.7,
            zorder=1.5,
        )
    ours = cells[~is_published(cells)]
    axes.plot(
        ours["n_params"],
        ours["stored_bits"],
        marker,
        color=colour,
        mec="white",
        mew=0.4,
        zorder=3,
    )


def _negative_notes(rows: pd.DataFrame) -> list[str]:
    """One line on cells that a logarithmic axis cannot show."""
    if rows.empty:
        return []
    shown = ", ".join(
        f"{row['model']} N={style.short_count(row['n_people'])}"
        for row in rows.to_dict("records")[:3]
    )
    more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
    return [f"Not drawn, stored bits are zero or negative: {shown}{more}."]

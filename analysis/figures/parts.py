"""R of bioD in its parts: names, values, diversity sets (Figure 13 of arXiv 2404.05405)."""

import re
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from analysis.figures import style
from analysis.groups import AROUND, families_of, row_of_largest_mean

PARTS = {"name_bits": "names", "value_bits": "values", "diversity_bits": "diversity sets"}
DATASET = re.compile(r"bioD-(K\d+-C\d+-D\d+-L\d+-T\d+)")
HATCHES = ("", "///", "...")
ROW_INCHES = 0.24
FRAME_INCHES = 0.85
WIDTH_INCHES = 5.6
BAR = 0.62
MAX_BARS = 24
"""Bars in one column of panels."""


def draw_parts(rows: pd.DataFrame) -> Figure:
    """One bar for the peak of every bioD, family, people and exposures, stacked from its parts, in
    the order of the rows, which is that of the sweep.

    Only what is taught alone: no junk, no other tables, everybody equally often. A part below zero
    (a model that does worse there than chance) points to the left. Raises NothingToDrawError where
    no unquantized row of bioD has its three parts.
    """
    is_alone = rows["dataset"].str.startswith("bioD") & ~rows["dataset"].str.contains(AROUND)
    is_whole = is_alone & rows[list(PARTS)].notna().all(axis=1)
    plain = rows[is_whole & (rows["quantization"] == "none")]
    if plain.empty:
        raise style.NothingToDrawError("parts: no finished cell of bioD with its three parts")
    plain = plain.assign(family=families_of(plain), pools=plain["dataset"].map(_pools))
    panels = [
        [
            row_of_largest_mean(own, "capacity_ratio")
            for _, own in cells.groupby(["dataset", "n_people"], sort=False)
        ]
        for _, cells in plain.groupby(["pools", "family", "exposures"])
    ]
    notes = ["Each bar: the model of largest mean R on one data set. Numbers: R, of R_max."]
    height = FRAME_INCHES + ROW_INCHES * max(len(bars) for bars in panels)
    figure, grid = style.panels(
        len(panels),
        n_notes=len(notes),
        inches=(WIDTH_INCHES, height),
        n_columns=1 if sum(len(bars) for bars in panels) <= MAX_BARS else 2,
    )
    colours = style.colours_of(range(len(PARTS)))
    for axes, bars in zip(grid, panels, strict=True):
        _draw_panel(axes, bars, colours)
    style.title_panels(figure, grid, [_title(bars[0]) for bars in panels], has_wide_labels=True)
    handles = [
        Patch(facecolor=colours[i], hatch=HATCHES[i], ec="white", lw=0.3, label=part)
        for i, part in enumerate(PARTS.values())
    ]
    style.legend(figure, handles, title="Part of $R$")
    style.write_notes(figure, notes)
    return figure


def _draw_panel(axes: Axes, bars: list[dict[str, Any]], colours: dict[float, style.Colour]) -> None:
    places = range(len(bars))
    right, left = [0.0] * len(bars), [0.0] * len(bars)
    for i, part in enumerate(PARTS):
        widths = [float(row[part]) / float(row["n_params"]) for row in bars]
        starts = [right[k] if width >= 0 else left[k] for k, width in enumerate(widths)]
        axes.barh(
            places, widths, BAR, starts, color=colours[i], hatch=HATCHES[i], ec="white", lw=0.3
        )
        right = [r + max(width, 0.0) for r, width in zip(right, widths, strict=True)]
        left = [r + min(width, 0.0) for r, width in zip(left, widths, strict=True)]
    for k, row in enumerate(bars):
        text = f" {row['capacity_ratio']:.2f} of {row['max_capacity_ratio']:.2f}"
        axes.text(right[k], k, text, fontsize=7.5, color="0.3", va="center")
    axes.set_xlim(min(left) * 1.05, max(right) * 1.25 + 1e-9)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.axvline(0.0, color="0.3", lw=0.7)
    axes.set_yticks(places, [_label(row) for row in bars], fontsize=7.5)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlabel("Stored, $R$ (bits per parameter)")


def _label(row: dict[str, Any]) -> str:
    """`bioD-K6-C1-D50-L1-T2000` -> `K6 C1 D50 L1 T2000`, with people and model."""
    match = DATASET.match(str(row["dataset"]))
    numbers = match[1].replace("-", " ") if match else str(row["dataset"])
    people = style.short_count(float(row["n_people"]))
    return f"{numbers}, N={people}, {row['model']}"


def _pools(dataset: str) -> str:
    """What the name of a data set says besides its numbers: `bioD-K6-...-T20-mini` -> `-mini`."""
    return DATASET.sub("", dataset)


def _title(row: dict[str, Any]) -> tuple[str, ...]:
    return f"bioD{row['pools']}", row["family"], f"{row['exposures']:g} exposures"

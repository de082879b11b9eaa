"""R of bioD in its parts: names, values, diversity sets (Figure 13 of arXiv 2404.05405)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from analysis.figures import style
from analysis.groups import AROUND, families_of, rows_of_largest_mean
from analysis.words import dataset_parts, joined, tell_apart

PARTS = {"name_bits": "names", "value_bits": "values", "diversity_bits": "diversity sets"}
DATASET = re.compile(r"bioD-(K\d+-C\d+-D\d+-L\d+-T\d+)")
HATCHES = ("", "///", "...")
ROW_INCHES = 0.24
LINE_INCHES = 0.13
"""Of a second line in a label."""
LETTER_INCHES = 0.06
FRAME_INCHES = 0.85
BARS_INCHES = 3.6
"""Width of a panel besides its labels."""
BAR = 0.62
MAX_BARS = 24
"""Bars in one column of panels."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One model, the best on its data set; numbers are means over its seeds."""

    dataset: str
    pools: str
    """What the name of the data set says besides its numbers."""
    family: str
    model: str
    n_people: int
    exposures: float
    ratio: float
    """R, in bits per parameter."""
    max_ratio: float
    """R_max, in bits per parameter."""
    ratio_parts: tuple[float, ...]
    """What each of `PARTS` adds to R, in bits per parameter."""

    @property
    def title(self) -> tuple[str, ...]:
        """Of the panel that it is in."""
        pools = joined(dataset_parts(f"bioS{self.pools}")[1:])
        return "bioD", pools, self.family, f"{self.exposures:g} exposures"


def bar_of(rows: pd.DataFrame) -> Bar:
    """The bar of the model of largest mean R among these, of one data set."""
    own = rows_of_largest_mean(rows, "capacity_ratio")
    first, n_params = own.iloc[0], float(own["n_params"].mean())
    return Bar(
        dataset=str(first["dataset"]),
        pools=str(first["pools"]),
        family=str(first["family"]),
        model=str(first["model"]),
        n_people=int(first["n_people"]),
        exposures=float(first["exposures"]),
        ratio=float(own["capacity_ratio"].mean()),
        max_ratio=float(own["max_capacity_ratio"].mean()),
        ratio_parts=tuple(float(own[part].mean()) / n_params for part in PARTS),
    )


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
        [bar_of(own) for _, own in cells.groupby(["dataset", "n_people"], sort=False)]
        for _, cells in plain.groupby(["pools", "family", "exposures"])
    ]
    notes = ["Each bar: the model of largest mean R on one data set. Numbers: R, of R_max."]
    labels = _labels(panels)
    lines = [line for own in labels for label in own for line in label.split("\n")]
    width = BARS_INCHES + LETTER_INCHES * max(map(len, lines))
    row = ROW_INCHES + LINE_INCHES * any("\n" in label for own in labels for label in own)
    height = FRAME_INCHES + row * max(len(bars) for bars in panels)
    figure, grid = style.panels(
        len(panels),
        n_notes=len(notes),
        inches=(width, height),
        n_columns=1 if sum(len(bars) for bars in panels) <= MAX_BARS else 2,
    )
    colours = style.colours_of(range(len(PARTS)))
    for axes, bars, own in zip(grid, panels, labels, strict=True):
        _draw_panel(axes, bars, own, colours)
    reach = max(axes.get_xlim()[1] for axes in grid)
    for axes in grid:
        axes.set_xlim(right=reach)
    style.title_panels(figure, grid, [bars[0].title for bars in panels], has_wide_labels=True)
    handles = [
        Patch(facecolor=colours[i], hatch=HATCHES[i], ec="white", lw=0.3, label=part)
        for i, part in enumerate(PARTS.values())
    ]
    style.legend(figure, handles, title="Part of $R$")
    style.write_notes(figure, notes)
    return figure


def _draw_panel(
    axes: Axes,
    bars: Sequence[Bar],
    labels: list[str],
    colours: dict[float, style.Colour],
) -> None:
    places = range(len(bars))
    right, left = [0.0] * len(bars), [0.0] * len(bars)
    for i in range(len(PARTS)):
        widths = [bar.ratio_parts[i] for bar in bars]
        starts = [right[k] if width >= 0 else left[k] for k, width in enumerate(widths)]
        axes.barh(
            places, widths, BAR, starts, color=colours[i], hatch=HATCHES[i], ec="white", lw=0.3
        )
        right = [r + max(width, 0.0) for r, width in zip(right, widths, strict=True)]
        left = [r + min(width, 0.0) for r, width in zip(left, widths, strict=True)]
    for k, bar in enumerate(bars):
        text = f" {bar.ratio:.2f} of {bar.max_ratio:.2f}"
        axes.text(right[k], k, text, fontsize=7.5, color="0.3", va="center")
    axes.set_xlim(min(left) * 1.05, max(right) * 1.25 + 1e-9)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.axvline(0.0, color="0.3", lw=0.7)
    axes.set_yticks(places, labels, fontsize=7.5)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlabel("Stored, $R$ (bits per parameter)")


def _labels(panels: Sequence[Sequence[Bar]]) -> list[list[str]]:
    """What sets the data of each bar apart, its people and model."""
    _, own = tell_apart(bar.dataset for bars in panels for bar in bars)
    several = len(own) > 1
    return [
        [
            (f"{own[bar.dataset]}\n" if several else "")
            + f"{style.short_count(float(bar.n_people))} people, {bar.model}"
            for bar in bars
        ]
        for bars in panels
    ]


def _pools(dataset: str) -> str:
    """What the name of a data set says besides its numbers: `bioD-K6-...-T20-mini` -> `-mini`."""
    return DATASET.sub("", dataset)

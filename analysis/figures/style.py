"""What all figures share: panels without global state, colours, count labels, notes, the legend."""

import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib
import pandas as pd
import seaborn
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from analysis.load import ResultsError

Colour = tuple[float, float, float]
LineStyle = Literal["-", "--", ":", ""]

MAX_COLUMNS = 4
PANEL_INCHES = (3.1, 2.9)
SINGLE_PANEL_INCHES = (4.3, 3.7)
LEGEND_INCHES = 1.75
NOTE_INCHES = 0.17
TITLE_CHARACTERS = 40
"""Characters of a panel's title that fit into its width."""
SINGLE_TITLE_CHARACTERS = 46
"""The same where there is one panel, which is wider."""
MANY_PANELS = 6
"""Panels of a figure above which they have no small ticks: too small to read, and slow to draw."""
CHARACTERS_PER_INCH = 12.5
"""Of the title of a figure."""
FEW_TICKS_BELOW = 6.0
"""Span of a logarithmic axis of counts, highest over lowest, that gets few labels."""
MARKERS = "os^DvPX<>h"
# Labels within a decade, densest first; 1 is in all of them, for axes of ratios.
RATIO_TICKS = (
    (1.0, 1.02, 1.04, 1.06, 1.08, 1.1, *(round(0.02 * n, 2) for n in range(56, 500))),
    (1.0, 1.05, 1.1, 1.15, 1.2, 1.25, *(round(0.05 * n, 2) for n in range(26, 200))),
    (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0),
    (1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0),
    (1.0, 1.5, 2.0, 3.0, 5.0, 7.0),
    (1.0, 2.0, 5.0),
    (1.0, 3.0),
    (1.0,),
)
RC: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.0,
    "legend.fontsize": 8.5,
    "legend.title_fontsize": 8.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "lines.linewidth": 1.1,
    "lines.markersize": 4.5,
    "pdf.fonttype": 42,  # text stays text in PDF
    "svg.fonttype": "path",  # looks alike on every machine
    "svg.hashsalt": "kcap",  # same data, same bytes
    "text.parse_math": False,  # names are the user's; `symbols` sets kcap's own
    # Laid out as saved: text is hinted, so its width does not scale with the resolution.
    "figure.dpi": 200,
    "savefig.dpi": 200,
}


class NothingToDrawError(ResultsError):
    """A figure has no data in these results; the message says what it would need."""


@contextmanager
def figure_style() -> Iterator[None]:
    """The project's look, for drawing and saving inside the block only."""
    with matplotlib.rc_context(RC):
        yield


def panels(
    n_panels: int,
    *,
    n_notes: int = 0,
    has_legend: bool = True,
    inches: tuple[float, float] | None = None,
    n_columns: int | None = None,
) -> tuple[Figure, list[Axes]]:
    """A figure of `n_panels` axes, at most four in a row, with room for notes below.

    `inches` is the size of a panel, and `n_columns` the panels in a row, where others than the
    usual ones are wanted.
    """
    if n_columns is None:
        # Up to three in one row, then as square as can be: four in a row would print too small.
        n_columns = n_panels if n_panels <= 3 else min(math.ceil(math.sqrt(n_panels)), MAX_COLUMNS)
    n_rows = math.ceil(n_panels / n_columns)
    panel = inches or (PANEL_INCHES if n_panels > 1 else SINGLE_PANEL_INCHES)
    notes = NOTE_INCHES * n_notes + (0.06 if n_notes else 0.0)
    width = panel[0] * n_columns + (LEGEND_INCHES if has_legend else 0.0)
    height = panel[1] * n_rows + notes
    figure = Figure(figsize=(width, height), layout="constrained")
    engine = figure.get_layout_engine()
    assert engine is not None, "a constrained figure has a layout engine"
    engine.set(rect=(0, notes / height, 1, 1 - notes / height), h_pad=0.06, w_pad=0.06)  # pyright: ignore[reportCallIssue]
    grid = [figure.add_subplot(n_rows, n_columns, i + 1) for i in range(n_panels)]
    return figure, grid


def write_notes(figure: Figure, notes: Sequence[str]) -> None:
    """Small lines under the panels; the space was reserved by `panels(n_notes=len(notes))`."""
    height = figure.get_size_inches()[1]
    for i, note in enumerate(reversed(notes)):
        y = (0.06 + i * NOTE_INCHES) / height
        figure.text(
            0.01, y, note, fontsize=7.5, color="0.3", ha="left", va="bottom", in_layout=False
        )


def left_panels(grid: Sequence[Axes]) -> list[Axes]:
    """The first panel of each row, which carries the label of the vertical axis."""
    specs = [axes.get_subplotspec() for axes in grid]
    return [a for a, spec in zip(grid, specs, strict=True) if spec and spec.is_first_col()]


def legend(figure: Figure, handles: Sequence[Artist], *, title: str | None = None) -> None:
    """The legend, right of all panels."""
    figure.legend(handles=list(handles), title=title, loc="outside right upper", alignment="left")


def colours_of(values: Iterable[float]) -> dict[float, Colour]:
    """One colour per value, in increasing order; colour-blind readers tell them apart.

    Up to ten values get unordered, well separated colours; more get steps of one dark-to-light
    scale.
    """
    ordered = sorted(set(values))
    name = "colorblind" if len(ordered) <= 10 else "viridis"
    return dict(zip(ordered, seaborn.color_palette(name, len(ordered)), strict=True))


def markers_of(values: Iterable[float]) -> dict[float, str]:
    """One marker per value, so that colour never stands alone; repeats after ten."""
    return {value: MARKERS[i % len(MARKERS)] for i, value in enumerate(sorted(set(values)))}


def series_handle(
    label: str, colour: Colour | str, marker: str = "", line: LineStyle = "-"
) -> Line2D:
    """A legend entry."""
    if label.startswith("_"):
        label = f" {label}"  # matplotlib leaves names that begin so out of legends
    return Line2D([], [], color=colour, marker=marker, linestyle=line, label=label)


def short_count(value: float) -> str:
    """A count in few characters: 816000 -> 816K, 1500000 -> 1.5M."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= size * 0.9995:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"


def count_axis(axes: Axes, which: str) -> None:
    """A logarithmic axis with labels such as 10K and 2M."""
    _log_axis(axes, which, short_count, dense_up_to=30)


def ratio_axis(axes: Axes, which: str) -> None:
    """A logarithmic axis with labels such as 0.5 and 2."""
    _log_axis(axes, which, lambda value: f"{value:g}", dense_up_to=150)


def _log_axis(axes: Axes, which: str, label: Callable[[float], str], *, dense_up_to: float) -> None:
    """Label 1, 2, 5 of each decade for spans up to `dense_up_to`, then 1 and 3, then 1."""
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    span = high / low
    if span < FEW_TICKS_BELOW:
        # Too narrow for 1, 2, 5 of a decade; matplotlib's own choice would be too many.
        return _fixed_ticks(axis, low, high, label, at_most=4)
    subs = (1.0, 2.0, 5.0) if span < dense_up_to else (1.0, 3.0) if span < 200 else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs, numticks=20))
    axis.set_major_formatter(FuncFormatter(lambda value, _: label(value)))
    axis.set_minor_formatter(NullFormatter())
    if len(axes.figure.axes) > MANY_PANELS:
        axis.set_minor_locator(NullLocator())


def relative_axis(axes: Axes, which: str) -> None:
    """A logarithmic axis of ratios around 1, with about six round labels whatever its span."""
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    _fixed_ticks(axis, low, high, lambda value: f"{value:g}", at_most=7)


def _fixed_ticks(
    axis: Axis, low: float, high: float, label: Callable[[float], str], *, at_most: int
) -> None:
    """The densest round labels of `RATIO_TICKS` that are not more than `at_most`."""
    # Steps are those of 1 to 10; counts are brought there and back.
    scale = 10.0 ** math.floor(math.log10(low))
    inside = (low / scale, high / scale)
    ticks = next(
        (
            found
            for steps in RATIO_TICKS
            if len(found := [t for t in _ticks(steps) if inside[0] <= t <= inside[1]]) <= at_most
        ),
        [],
    )
    axis.set_major_locator(FixedLocator([tick * scale for tick in ticks]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: label(value)))
    axis.set_minor_locator(NullLocator())


def _ticks(steps: tuple[float, ...]) -> list[float]:
    """The steps times every power of ten from 1e-4 to 1e4."""
    return [round(step * 10.0**power, 8) for power in range(-4, 5) for step in steps]


def limits(values: Iterable[float], *, margin: float) -> tuple[float, float]:
    """Smallest and largest value, moved apart by the factor `margin` on each side."""
    found = list(values)
    return min(found) / margin, max(found) * margin


def panel_titles(labels: Sequence[Sequence[str]]) -> tuple[str, list[str]]:
    """Split parts of panel labels into those shared by all (for the figure) and the others.

    [("bioS", "100 times"), ("bioS", "30 times")] -> "bioS", ["100 times", "30 times"]
    """
    columns = list(zip(*labels, strict=True))
    shared = [column[0] for column in columns if len(set(column)) == 1 and column[0]]
    varying = [i for i, column in enumerate(columns) if len(set(column)) > 1]
    return ", ".join(shared), [", ".join(p[i] for i in varying if p[i]) for p in labels]


def title_panels(
    figure: Figure,
    grid: Sequence[Axes],
    labels: Sequence[Sequence[str]],
    *,
    pad: float = 5,
    has_wide_labels: bool = False,
) -> None:
    """Title each panel with what differs, and the figure with what they share.

    A single panel carries the title itself, unless wide labels on its left leave too little room.
    """
    shared, titles = panel_titles(labels)
    if len(grid) == 1 and not has_wide_labels:
        grid[0].set_title(_wrapped(shared, SINGLE_TITLE_CHARACTERS), loc="left", pad=pad)
        return
    if shared:
        # The legend begins as high as the title.
        width = figure.get_size_inches()[0] - LEGEND_INCHES
        n_characters = int(width * CHARACTERS_PER_INCH)
        figure.suptitle(_wrapped(shared, n_characters), x=0.01, ha="left", fontsize=10)
    for axes, title in zip(grid, titles, strict=True):
        axes.set_title(_wrapped(title, TITLE_CHARACTERS), loc="left", pad=pad)


def _wrapped(title: str, n_characters: int) -> str:
    """In lines that fit into a panel, broken between the tables of a mixture first."""
    words = title.replace("+", " +")
    return "\n".join(textwrap.wrap(words, n_characters, break_on_hyphens=False))


def exclusion_notes(excluded: pd.DataFrame) -> list[str]:
    """One line on the rows that are drawn nowhere, their reasons counted; none for no rows."""
    if excluded.empty:
        return []
    counts = excluded["excluded_because"].str.split(":").str[0].value_counts()
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts.items())
    return [f"Not drawn: {len(excluded)} row(s) without a usable result ({reasons})."]

"""Rows of dots with intervals: one labelled row per thing, one colour per number of people."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.markers import CARETLEFTBASE, CARETRIGHTBASE

from analysis.estimate import Estimate
from analysis.figures import style

ROW_INCHES = 0.3
LANE_INCHES = 0.13
FRAME_INCHES = 0.85
"""Height of a panel besides its rows: title, ticks and the label of the axis."""
DOTS_INCHES = 3.6
"""Width of a panel besides its labels."""
LETTER_INCHES = 0.075
MAX_REACH = 3.0
"""An interval is drawn up to this factor beyond all dots; two seeds may give one of 100."""


@dataclass(frozen=True, kw_only=True)
class Dot:
    """One number with its interval."""

    estimate: Estimate
    n_people: int
    marker: str
    is_hollow: bool


@dataclass(frozen=True, kw_only=True)
class DotRow:
    """One labelled row; the dots of different numbers of people lie in lanes below each other."""

    label: str
    dots: tuple[Dot, ...]
    is_centre: bool = False
    """Whether this is what the others are measured by."""


def panel_inches(
    panels: Sequence[Sequence[DotRow]], *, right_inches: float = 0.0
) -> tuple[float, float]:
    """Width and height that fit the panel with most to show.

    `right_inches` is room for what stands right of the rows.
    """
    labels = max(len(row.label) for rows in panels for row in rows) * LETTER_INCHES
    height = FRAME_INCHES + max(_row_inches(rows) * len(rows) for rows in panels)
    return DOTS_INCHES + labels + right_inches, height


def draw_rows(
    axes: Axes,
    rows: Sequence[DotRow],
    colours: dict[float, style.Colour],
    *,
    centre: float | None = None,
    limits: tuple[float, float] | None = None,
) -> None:
    """The rows from top to bottom; `centre` is marked by a line and always shown. `limits` are
    those of the axis, where several panels share them.
    """
    axes.set_xlim(limits or row_limits(rows, centre))
    if centre is not None:
        axes.axvline(centre, color="0.6", lw=0.9, ls="--", zorder=0)
    people = sorted({dot.n_people for row in rows for dot in row.dots})
    for i, row in enumerate(rows):
        axes.axhline(i, color="0.92", lw=0.8, zorder=0)
        if row.is_centre and centre is not None:
            axes.plot(centre, i, "D", color="0.5", ms=4, zorder=3)
        for dot in row.dots:
            lane = people.index(dot.n_people) - (len(people) - 1) / 2
            y = i + lane * LANE_INCHES / _row_inches(rows)
            _draw_dot(axes, dot, y, colours[dot.n_people])
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.5, -0.5)


def row_limits(rows: Sequence[DotRow], centre: float | None = None) -> tuple[float, float]:
    """Ends of the horizontal axis: all dots, and their intervals up to MAX_REACH."""
    return estimate_limits([dot.estimate for row in rows for dot in row.dots], centre)


def estimate_limits(
    estimates: Sequence[Estimate], centre: float | None = None
) -> tuple[float, float]:
    """Smallest and largest number, with their intervals up to MAX_REACH, and a margin."""
    values = [e.value for e in estimates] + ([] if centre is None else [centre])
    ends = [end for e in estimates for end in (e.low, e.high) if end is not None]
    low = max(min(values) / MAX_REACH, min([*values, *ends]))
    high = min(max(values) * MAX_REACH, max([*values, *ends]))
    # 4% of the span on a logarithmic axis, and never a panel narrower than +-5%.
    margin = max((high / low) ** 0.04, 1.05)
    return low / margin, high * margin


def note_of_negatives(ratios: Iterable[Estimate | None]) -> list[str]:
    """How many ratios are not drawn because a logarithmic axis has no place for them."""
    n = sum(ratio is not None and ratio.value <= 0 for ratio in ratios)
    return [f"Not drawn: {n} ratio(s) at or below zero."] if n else []


def goes_beyond(rows: Sequence[DotRow], limits: tuple[float, float]) -> bool:
    """Whether an interval does not end inside the panel."""
    estimates = [dot.estimate for row in rows for dot in row.dots]
    return any(
        e.low is not None and e.high is not None and (e.low < limits[0] or e.high > limits[1])
        for e in estimates
    )


def _row_inches(rows: Sequence[DotRow]) -> float:
    n_lanes = len({dot.n_people for row in rows for dot in row.dots})
    return max(ROW_INCHES, LANE_INCHES * (n_lanes + 1))


def _draw_dot(axes: Axes, dot: Dot, y: float, colour: style.Colour) -> None:
    estimate, limits = dot.estimate, axes.get_xlim()
    if estimate.low is not None and estimate.high is not None:
        ends = max(estimate.low, limits[0]), min(estimate.high, limits[1])
        axes.plot(ends, [y, y], color=colour, lw=1.3, zorder=2, solid_capstyle="butt")
        for end, limit, caret in zip(ends, limits, (CARETLEFTBASE, CARETRIGHTBASE), strict=True):
            if end == limit:
                axes.plot(end, y, marker=caret, color=colour, ms=4, clip_on=False, zorder=2)
    face = "white" if dot.is_hollow else colour
    axes.plot(estimate.value, y, dot.marker, mec=colour, mfc=face, ms=5, zorder=3)

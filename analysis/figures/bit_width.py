"""What is left of the knowledge, and what a stored bit holds, by the bits of a weight."""

import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.markers import CARETLEFTBASE

from analysis.figures import style
from analysis.quantizers import CALIBRATION, QuantizedRun
from analysis.words import dataset_parts

FLOATS = "as trained"
LOWEST = -0.15
"""Where panels end on the left, as a share of the largest value, if points lie further out."""
ROW_INCHES = 0.2
FRAME_INCHES = 1.0
"""Height of a panel besides its rows: title, ticks and the label of the axis."""
LETTER_INCHES = 0.07
DOTS_INCHES = 2.9
"""Width of a panel besides its labels."""
Value = Callable[[QuantizedRun], float]
MEASURES: tuple[tuple[str, str, Value], ...] = (
    ("bits per parameter", "$R$ (bits per parameter)", lambda one: one.run.ratio),
    (
        "per stored bit",
        "Knowledge per stored bit (bits)",
        lambda one: one.knowledge_per_stored_bit,
    ),
)
"""For each column of panels its title, the label of its axis, and what is drawn."""
Way = tuple[int, str]
"""Bits of a weight, and the method."""


def draw_bit_width(found: Sequence[QuantizedRun]) -> Figure:
    """A row of two panels for each data set, family and exposures; in each a row for each number of
    bits and method, most bits on top; of the models of largest R of each seed, calibrated as by
    default.

    Each row is labelled by its method, so none has to be told by colour. Raises NothingToDrawError
    where none of the models was quantized.
    """
    drawn = [
        one
        for one in found
        if one.is_peak
        and not one.quantizer.changed & CALIBRATION
        and math.isfinite(one.knowledge_per_stored_bit)
    ]
    if all(one.quantizer.is_float for one in drawn):
        raise style.NothingToDrawError(
            "bit_width: no finished model of largest R was quantized, or its bits of storage are "
            "not known"
        )
    keys = list(dict.fromkeys(one.panel for one in drawn))
    panels = [(key, measure) for key in keys for measure in MEASURES]
    ways = {key: _ways([one for one in drawn if one.panel == key]) for key in keys}
    notes = _notes(drawn)
    longest = max(len(method) for own in ways.values() for _, method in own)
    most = max(len(own) for own in ways.values())
    inches = DOTS_INCHES + longest * LETTER_INCHES, FRAME_INCHES + ROW_INCHES * most
    figure, grid = style.panels(
        len(panels), n_notes=len(notes), n_columns=2, inches=inches, has_legend=False
    )
    for axes, (key, (_, label, value)) in zip(grid, panels, strict=True):
        own = [one for one in drawn if one.panel == key]
        values = [value(one) for one in drawn]
        _draw_panel(axes, own, ways[key], value, _limits(values))
        axes.set_xlabel(label)
    titles = [
        (*dataset_parts(dataset), family, f"{seen:g} exposures", title)
        for (dataset, family, seen), (title, _, _) in panels
    ]
    style.title_panels(figure, grid, titles, has_wide_labels=True)
    style.write_notes(figure, notes)
    return figure


def _way(one: QuantizedRun) -> Way:
    quantizer = one.quantizer
    is_plain = quantizer.is_float and not quantizer.changed
    name = FLOATS if is_plain and quantizer.bits == 32 else quantizer.variant
    return quantizer.bits, name


def _ways(found: Sequence[QuantizedRun]) -> list[Way]:
    """Most bits first, then by mean R, largest first."""
    ratios: dict[Way, list[float]] = {}
    for one in found:
        ratios.setdefault(_way(one), []).append(one.run.ratio)
    return sorted(ratios, key=lambda way: (-way[0], -sum(ratios[way]) / len(ratios[way]), way[1]))


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Ends of the axis, equal for all panels of a column; what lies far below 0 is outside."""
    highest = max(values)
    low = max(min(0.0, *values), LOWEST * highest)
    return low - 0.03 * highest, 1.08 * highest


def _draw_panel(
    axes: Axes,
    found: Sequence[QuantizedRun],
    ways: Sequence[Way],
    value: Value,
    limits: tuple[float, float],
) -> None:
    axes.set_xlim(limits)
    axes.axvline(0.0, color="0.7", lw=0.8, zorder=0)
    before = None
    for i, way in enumerate(ways):
        if way[0] != before:
            _begin_bits(axes, i, way[0], is_first=before is None)
        before = way[0]
        own = [value(one) for one in found if _way(one) == way]
        mean = sum(own) / len(own)
        axes.axhline(i, color="0.92", lw=0.8, zorder=0)
        if mean < limits[0]:
            axes.plot(limits[0], i, marker=CARETLEFTBASE, color="black", ms=4.5, clip_on=False)
            axes.text(limits[0], i, f"   {mean:.2g}", fontsize=7.5, color="0.3", va="center")
            continue
        ends = max(min(own), limits[0]), max(own)
        axes.plot(ends, [i, i], color="0.45", lw=1.3, solid_capstyle="butt", zorder=2)
        axes.plot(mean, i, "o", color="black", ms=4.5, zorder=3)
    axes.set_yticks(range(len(ways)), [method for _, method in ways], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(ways) - 0.5, -0.5)
    axes.locator_params(axis="x", nbins=6)


def _begin_bits(axes: Axes, place: int, bits: int, *, is_first: bool) -> None:
    """The number of bits at the right end, and a line above all rows that have it."""
    if not is_first:
        axes.axhline(place - 0.5, color="0.6", lw=0.8, zorder=1)
    axes.annotate(
        f"{bits} bits",
        (1.0, place),
        (3, 0),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        fontsize=8,
        va="center",
    )


def _notes(drawn: Sequence[QuantizedRun]) -> list[str]:
    notes = ["Bits: of a quantized weight. Stored bits: with scales, and 16 for other weights."]
    highest = max(one.run.ratio for one in drawn)
    if any(one.run.ratio < LOWEST * highest for one in drawn):
        notes.append("Below 0: worse than chance. Arrows: further out, at the number beside them.")
    n_models = max(
        len({one.run.cell for one in drawn if one.panel == panel})
        for panel in {one.panel for one in drawn}
    )
    if n_models > 1:
        notes.append(f"Dots: mean over the models of largest R, at most {n_models}; lines: range.")
    return notes

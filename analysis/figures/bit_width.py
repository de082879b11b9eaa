"""What is left of the knowledge, and what a stored bit holds, against the bits of a weight."""

import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import style
from analysis.quantizers import CALIBRATION, QuantizedRun

FLOATS = "floats"
LOWEST = -0.3
"""Where panels end below, as a share of the largest value, if points lie further down."""
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


def draw_bit_width(found: Sequence[QuantizedRun]) -> Figure:
    """A row of two panels for each data set, family and exposures, one line for each method; of the
    models of largest R of each seed, calibrated as by default.

    Raises NothingToDrawError where none of them was quantized.
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
    notes = _notes(drawn)
    figure, grid = style.panels(len(panels), n_notes=len(notes), n_columns=len(MEASURES))
    names = sorted({_series(one) for one in drawn}, key=lambda name: (name == FLOATS, name))
    places = range(len(names))
    colours, markers = style.colours_of(places), style.markers_of(places)
    look = {name: (colours[i], markers[i]) for i, name in enumerate(names)}
    for axes, (key, (_, label, value)) in zip(grid, panels, strict=True):
        _draw_panel(axes, [one for one in drawn if one.panel == key], look, value)
        axes.set_ylabel(label)
    titles = [
        (dataset, family, f"{seen:g} exposures", title)
        for (dataset, family, seen), (title, _, _) in panels
    ]
    style.title_panels(figure, grid, titles)
    handles = [style.series_handle(name, *look[name]) for name in names]
    style.legend(figure, handles, title="Method")
    style.write_notes(figure, notes)
    return figure


def _series(one: QuantizedRun) -> str:
    quantizer = one.quantizer
    return FLOATS if quantizer.is_float and not quantizer.changed else quantizer.variant


def _draw_panel(
    axes: Axes,
    found: Sequence[QuantizedRun],
    look: dict[str, tuple[style.Colour, str]],
    value: Value,
) -> None:
    widths = sorted({one.quantizer.bits for one in found})
    axes.set_xlim(style.limits(widths, margin=1.15))
    axes.set_xscale("log")
    axes.set_xticks(widths, [f"{bits}" for bits in widths])
    axes.minorticks_off()
    axes.axhline(0.0, color="0.8", lw=0.8, ls="--", zorder=0)
    axes.set_xlabel("Bits of a quantized weight")
    for name, (colour, marker) in look.items():
        own = [one for one in found if _series(one) == name]
        by_bits = {
            bits: [value(one) for one in own if one.quantizer.bits == bits] for bits in widths
        }
        points = [(bits, values) for bits, values in by_bits.items() if values]
        means = [sum(values) / len(values) for _, values in points]
        axes.plot([bits for bits, _ in points], means, marker=marker, color=colour, zorder=3)
        for bits, values in points:
            axes.plot([bits, bits], [min(values), max(values)], color=colour, lw=0.9, zorder=2)
    axes.locator_params(axis="y", nbins=6)  # as many however the panel is laid out
    values = [value(one) for one in found]
    if min(values) < LOWEST * max(values):
        # What two bits destroy would take all the room.
        axes.set_ylim(LOWEST * max(values), 1.05 * max(values))


def _notes(drawn: Sequence[QuantizedRun]) -> list[str]:
    n_models = len({one.run.cell for one in drawn})
    notes = ["Stored bits: with scales and zero points, and 16 for what is not quantized."]
    highest = max(one.run.ratio for one in drawn)
    if any(one.run.ratio < LOWEST * highest for one in drawn):
        notes.append("Below 0: worse than chance; lines go on below the panels.")
    if n_models > 1:
        notes.append(f"Mean over the models of largest R, {n_models} in all; bars: all of them.")
    return notes

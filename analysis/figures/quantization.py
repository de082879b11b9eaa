"""Stored bits of knowledge against parameters, before and after GPTQ, as in Figure 6 of arXiv
2404.05405.
"""

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from analysis.figures import style
from analysis.figures.capacity import draw_guides
from analysis.quantizers import QuantizedRun
from analysis.words import dataset_parts

SHOWN_BITS = (8, 4)
AS_TRAINED = "as trained"
Look = dict[str, tuple[style.Colour, style.Colour | str]]


def draw_quantization(found: Sequence[QuantizedRun]) -> Figure:
    """One panel per data set, family and exposures: a point for each cell as trained, and for each
    GPTQ of it at 8 and 4 bits with default settings, whatever its groups; by other solvers than
    our own only where that was not asked.

    Raises NothingToDrawError where no cell was quantized so.
    """
    shown = [one for one in found if _series(one)]
    if any(one.quantizer.method == "gptq" and not one.quantizer.changed for one in shown):
        shown = [one for one in shown if not one.quantizer.changed]
    drawn = [one for one in shown if one.run.ratio > 0]
    if all(_series(one) == AS_TRAINED for one in drawn):
        raise style.NothingToDrawError(
            "quantization: no finished cell was quantized by gptq at 8 or 4 bits with default "
            "settings, or none stores any bits then"
        )
    notes = _notes(shown)
    by_width = sorted(drawn, key=lambda one: (-one.quantizer.bits, one.quantizer.label))
    names = list(dict.fromkeys(_series(one) for one in by_width))
    panels = list(dict.fromkeys(one.panel for one in drawn))
    figure, grid = style.panels(len(panels), n_notes=len(notes))
    look = _look(names)
    markers = style.markers_of(one.run.n_people for one in drawn)
    for axes, panel in zip(grid, panels, strict=True):
        # Panels of one data set share their limits, so that heights can be compared.
        _set_limits(axes, [one for one in drawn if one.panel[0] == panel[0]])
        _draw_panel(axes, [one for one in drawn if one.panel == panel], look, markers)
    for axes in style.left_panels(grid):
        axes.set_ylabel("Stored knowledge (bits)")
    # Above the labels of the diagonals.
    titles = [
        (*dataset_parts(dataset), family, f"{seen:g} exposures") for dataset, family, seen in panels
    ]
    style.title_panels(figure, grid, titles, pad=13)
    handles: list[Artist] = [
        Patch(edgecolor=colour, facecolor=fill, label=name) for name, (colour, fill) in look.items()
    ]
    handles += [
        style.series_handle(f"{style.short_count(n)} people", "0.4", marker, "")
        for n, marker in markers.items()
    ]
    style.legend(figure, handles, title="Weights")
    style.write_notes(figure, notes)
    return figure


def _series(one: QuantizedRun) -> str:
    """Name in the legend; empty for rows that this figure does not show."""
    quantizer = one.quantizer
    if quantizer.label == "none":
        return AS_TRAINED
    is_shown = quantizer.method == "gptq" and quantizer.bits in SHOWN_BITS
    return quantizer.label if is_shown and quantizer.changed <= {"backend"} else ""


def _look(names: Sequence[str]) -> Look:
    """Colour and filling of each series; int8 is hollow, since it lies on top of the trained."""
    colours = style.colours_of(range(len(names)))
    return {
        name: (colours[i], "none" if "-int8-" in name else colours[i])
        for i, name in enumerate(names)
    }


def _draw_panel(
    axes: Axes, found: Sequence[QuantizedRun], look: Look, markers: dict[float, str]
) -> None:
    stored = [one.run.ratio * one.run.n_params for one in found]
    draw_guides(axes)
    for demand_bits in {one.run.demand_bits for one in found}:
        axes.axhline(demand_bits, color="0.6", lw=0.8, ls=":", zorder=1)
    for one, bits in zip(found, stored, strict=True):
        colour, fill = look[_series(one)]
        is_hollow = fill == "none"
        axes.plot(
            one.run.n_params,
            bits,
            markers[one.run.n_people],
            mec=colour if is_hollow else "white",
            mfc=fill,
            mew=1.0 if is_hollow else 0.4,
            ms=6.5 if is_hollow else 4.5,
            zorder=4 if is_hollow else 3,
        )
    axes.set_xlabel("Parameters")


def _set_limits(axes: Axes, found: Sequence[QuantizedRun]) -> None:
    axes.set_xlim(style.limits([one.run.n_params for one in found], margin=1.5))
    stored = [one.run.ratio * one.run.n_params for one in found]
    axes.set_ylim(style.limits([*stored, *(one.run.demand_bits for one in found)], margin=1.6))
    style.count_axis(axes, "x")
    style.count_axis(axes, "y")


def _notes(shown: Sequence[QuantizedRun]) -> list[str]:
    notes = ["Dotted: demand of the data."]
    lost = [one for one in shown if one.run.ratio <= 0]
    if lost:
        labels = ", ".join(sorted({one.quantizer.label for one in lost}))
        notes.append(f"Not drawn: {len(lost)} model(s) that store no bits ({labels}).")
    return notes

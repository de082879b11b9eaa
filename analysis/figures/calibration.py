"""Whether it matters what a quantizer reads: R against the people whose biographies it saw."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import style
from analysis.quantizers import QuantizedRun
from analysis.words import dataset_parts

KINDS = {
    "people": "people of the data",
    "junk": "other people",
    "random_tokens": "random tokens",
}
Panel = tuple[tuple[str, str, float], str, int]
"""Data set, family and exposures; variant; bits."""


def draw_calibration(found: Sequence[QuantizedRun]) -> Figure:
    """A panel for each setting, method and bit width that was calibrated in several ways, a line
    for each kind of text; of the models of largest R of each seed.

    Raises NothingToDrawError where none was.
    """
    trained = {one.run.cell: one for one in found if one.quantizer.label == "none"}
    drawn = [
        one
        for one in found
        if one.is_peak and one.quantizer.method == "gptq" and one.run.cell in trained
    ]
    ways = {
        panel: {_way(one) for one in drawn if _panel(one) == panel}
        for panel in dict.fromkeys(_panel(one) for one in drawn)
    }
    panels = [panel for panel, own in ways.items() if len(own) > 1]
    if not panels:
        raise style.NothingToDrawError(
            "calibration: no finished model of largest R was quantized with several calibrations"
        )
    shown = [one for one in drawn if _panel(one) in panels]
    notes = _notes(shown)
    shares = [one.run.ratio / trained[one.run.cell].run.ratio for one in shown]
    limits = min(0.0, *shares) - 0.03, max(1.0, *shares) * 1.05
    figure, grid = style.panels(len(panels), n_notes=len(notes))
    places = range(len(KINDS))
    colours, markers = style.colours_of(places), style.markers_of(places)
    look = {kind: (colours[i], markers[i]) for i, kind in enumerate(KINDS)}
    for axes, panel in zip(grid, panels, strict=True):
        axes.set_xlim(style.limits([_way(one)[1] for one in shown], margin=1.6))
        axes.set_ylim(limits)
        _draw_panel(axes, [one for one in drawn if _panel(one) == panel], trained, look)
    for axes in style.left_panels(grid):
        axes.set_ylabel("$R$ after over $R$ before")
    titles = [
        (*dataset_parts(dataset), family, f"{seen:g} exposures", variant, f"int{bits}")
        for (dataset, family, seen), variant, bits in panels
    ]
    style.title_panels(figure, grid, titles)
    used = {one.quantizer.settings["calibration"] for one in shown}
    handles = [style.series_handle(KINDS[kind], *look[kind]) for kind in KINDS if kind in used]
    style.legend(figure, handles, title="Calibrated on")
    style.write_notes(figure, notes)
    return figure


def _panel(one: QuantizedRun) -> Panel:
    return one.panel, one.quantizer.variant, one.quantizer.bits


def _way(one: QuantizedRun) -> tuple[str, int]:
    """Kind of text, and the people read about."""
    settings = one.quantizer.settings
    return settings["calibration"], settings["calibration_people"]


def _draw_panel(
    axes: Axes,
    found: Sequence[QuantizedRun],
    trained: dict[tuple[str, str], QuantizedRun],
    look: dict[str, tuple[style.Colour, str]],
) -> None:
    n_read = sorted({_way(one)[1] for one in found})
    axes.set_xscale("log")
    axes.set_xticks(n_read, [style.short_count(n) for n in n_read])
    axes.minorticks_off()
    axes.axhline(1.0, color="0.6", lw=0.8, ls="--", zorder=0)
    axes.axhline(0.0, color="0.8", lw=0.8, zorder=0)
    axes.set_xlabel("People read about")
    shares: dict[tuple[str, int], list[float]] = {}
    for one in found:
        share = one.run.ratio / trained[one.run.cell].run.ratio
        shares.setdefault(_way(one), []).append(share)
    for kind, (colour, marker) in look.items():
        own = sorted((n, values) for (own, n), values in shares.items() if own == kind)
        means = [sum(values) / len(values) for _, values in own]
        axes.plot([n for n, _ in own], means, marker=marker, color=colour, zorder=3)
        for n, values in own:
            if len(values) > 1:
                axes.plot([n] * len(values), values, "_", color=colour, ms=11, zorder=2)


def _notes(shown: Sequence[QuantizedRun]) -> list[str]:
    """What the points are, and what the numbers below them count."""
    n_models = max(
        len({one.run.cell for one in shown if _panel(one) == panel})
        for panel in {_panel(one) for one in shown}
    )
    points = "Of the model of largest R; dashed: nothing lost."
    if n_models > 1:
        points = f"Means over {n_models} models of largest R, dashes: each; dashed line: no loss."
    return [points, "Tables of fewer people than these are read whole."]

"""Whether it matters what a quantizer reads: R against the people whose biographies it saw."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import style
from analysis.quantizers import QuantizedRun

KINDS = {
    "people": "people of the data",
    "junk": "other people",
    "random_tokens": "random tokens",
}
NOTES = (
    "Means over the models of largest R; bars: all of them.",
    "Tables of fewer people than these are read whole.",
)
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
    figure, grid = style.panels(len(panels), n_notes=len(NOTES))
    places = range(len(KINDS))
    colours, markers = style.colours_of(places), style.markers_of(places)
    look = {kind: (colours[i], markers[i]) for i, kind in enumerate(KINDS)}
    for axes, panel in zip(grid, panels, strict=True):
        _draw_panel(axes, [one for one in drawn if _panel(one) == panel], trained, look)
    for axes in style.left_panels(grid):
        axes.set_ylabel("$R$ after over $R$ before")
    titles = [
        (dataset, family, f"{seen:g} exposures", variant, f"int{bits}")
        for (dataset, family, seen), variant, bits in panels
    ]
    style.title_panels(figure, grid, titles)
    used = {one.quantizer.settings["calibration"] for one in drawn if _panel(one) in panels}
    handles = [style.series_handle(KINDS[kind], *look[kind]) for kind in KINDS if kind in used]
    style.legend(figure, handles, title="Calibrated on")
    style.write_notes(figure, NOTES)
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
    axes.set_xlim(style.limits([_way(one)[1] for one in found], margin=1.4))
    style.count_axis(axes, "x")
    axes.axhline(1.0, color="0.8", lw=0.8, ls="--", zorder=0)
    axes.set_xlabel("People read about")
    shares: dict[tuple[str, int], list[float]] = {}
    for one in found:
        share = one.run.ratio / trained[one.run.cell].run.ratio
        shares.setdefault(_way(one), []).append(share)
    for kind, (colour, marker) in look.items():
        own = sorted((n_read, values) for (own, n_read), values in shares.items() if own == kind)
        means = [sum(values) / len(values) for _, values in own]
        axes.plot([n for n, _ in own], means, marker=marker, color=colour, zorder=3)
        for n_read, values in own:
            axes.plot([n_read] * 2, [min(values), max(values)], color=colour, lw=0.9, zorder=2)

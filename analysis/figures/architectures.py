"""Capacity of each architecture relative to GPT-2."""

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from analysis.comparison import Basis, Comparison, Side
from analysis.figures import style
from analysis.figures.dots import (
    Dot,
    DotRow,
    draw_rows,
    goes_beyond,
    note_of_negatives,
    panel_inches,
    row_limits,
)
from analysis.words import dataset_parts

MARKER = {Basis.PEAKS: "o", Basis.SAME_SIZE: "s"}
Panel = list[Comparison]


def draw_architectures(comparisons: Sequence[Comparison]) -> Figure:
    """One panel per data set and exposures; one row per architecture, best on top.

    Raises NothingToDrawError where no architecture has GPT-2 cells beside it.
    """
    drawn = [c for c in comparisons if c.has_place_on_log_axis]
    if not drawn:
        raise style.NothingToDrawError(
            "architectures: no other architecture has gpt2 cells beside it (same data, people and "
            "exposures)"
        )
    settings = dict.fromkeys((c.subject.dataset, c.subject.exposures) for c in drawn)
    panels = [
        [c for c in drawn if (c.subject.dataset, c.subject.exposures) == setting]
        for setting in settings
    ]
    rows = [_relative_rows(panel) for panel in panels]
    notes = [*_notes(drawn), *note_of_negatives(c.ratio for c in comparisons)]
    limits = row_limits([row for own in rows for row in own], centre=1.0)
    if any(goes_beyond(own, limits) for own in rows):
        notes.append("Arrows: the interval goes on.")
    colours = style.colours_of(c.subject.n_people for c in drawn)
    figure, grid = style.panels(
        len(panels), n_notes=len(notes), inches=panel_inches(rows), n_columns=_n_columns(rows)
    )
    for axes, panel, own in zip(grid, panels, rows, strict=True):
        draw_rows(axes, own, colours, centre=1.0, limits=limits)
        style.relative_axis(axes, "x")
        axes.set_xlabel(_axis_label(panel))
    titles = [_title(panel[0].subject) for panel in panels]
    style.title_panels(figure, grid, titles, has_wide_labels=True)
    _legend(figure, colours, drawn)
    style.write_notes(figure, notes)
    return figure


def _relative_rows(panel: Panel) -> list[DotRow]:
    """The baseline and all others, by mean of the logs over numbers of people, largest first."""
    names = dict.fromkeys(c.subject.name for c in panel)
    own = {name: [c for c in panel if c.subject.name == name] for name in names}
    level = {name: _mean_log(found) for name, found in own.items()}
    baseline = panel[0].baseline.name
    order = sorted([*own, baseline], key=lambda name: (-level.get(name, 0.0), name))
    return [
        DotRow(label=_label(name, [c.subject for c in own[name]]), dots=_dots(own[name]))
        if name in own
        else DotRow(label=_label(name, [c.baseline for c in panel]), dots=(), is_centre=True)
        for name in order
    ]


def _mean_log(found: Panel) -> float:
    logs = [math.log(c.ratio.value) for c in found if c.ratio is not None]
    return sum(logs) / len(logs)


def _dots(found: Panel) -> tuple[Dot, ...]:
    return tuple(
        Dot(
            estimate=c.ratio,
            n_people=c.subject.n_people,
            marker=MARKER[c.basis],
            is_hollow=c.is_demand_limited,
        )
        for c in found
        if c.ratio is not None
    )


def _label(name: str, sides: Sequence[Side]) -> str:
    """The architecture and the parameters of the models that the ratios are about."""
    low = style.short_count(min(side.n_params[0] for side in sides))
    high = style.short_count(max(side.n_params[1] for side in sides))
    return f"{name}   {low}" if low == high else f"{name}   {low}-{high}"


def _title(side: Side) -> tuple[str, ...]:
    return *dataset_parts(side.dataset), f"{side.exposures:g} exposures"


def _axis_label(panel: Panel) -> str:
    """What the ratio is one of; that it depends on the marker where there are two kinds."""
    baseline = panel[0].baseline.name
    texts = {
        Basis.PEAKS: f"Peak $R$ over that of {baseline}",
        Basis.SAME_SIZE: f"$R$ over that of {baseline} of the same layers and heads",
    }
    bases = {c.basis for c in panel}
    return texts[bases.pop()] if len(bases) == 1 else f"Capacity relative to {baseline}"


def _n_columns(rows: Sequence[Sequence[DotRow]]) -> int:
    """One column of panels, or two where a column would be long."""
    return 1 if len(rows) < 2 or sum(len(own) for own in rows) <= 30 else 2


def _notes(drawn: Sequence[Comparison]) -> list[str]:
    notes = ["Behind each name: parameters of the models compared."]
    levels = sorted({c.ratio.level for c in drawn if c.ratio and c.ratio.low is not None})
    seeds = sorted({c.n_replicates for c in drawn if c.n_replicates > 1})
    if levels:
        counts = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        notes.append(f"Lines: {levels[0]:.0%} intervals (Student's) over {counts} paired seeds.")
    n_single = sum(c.n_replicates == 1 for c in drawn)
    if n_single:
        notes.append(f"{n_single} of {len(drawn)} ratios rest on one seed: no interval.")
    if any(c.is_demand_limited for c in drawn):
        notes.append(
            "Hollow: a side stored nearly all there was, so the ratio is not one of capacity."
        )
    return notes


def _legend(
    figure: Figure, colours: dict[float, style.Colour], drawn: Sequence[Comparison]
) -> None:
    handles = [style.series_handle(style.short_count(n), colours[n], "o", "") for n in colours]
    texts = {Basis.PEAKS: "ratio of peak $R$", Basis.SAME_SIZE: "ratio of $R$,\nsame layers, heads"}
    if len({c.basis for c in drawn}) > 1:
        handles += [
            style.series_handle(text, "0.3", MARKER[basis], "") for basis, text in texts.items()
        ]
    style.legend(figure, handles, title="People")

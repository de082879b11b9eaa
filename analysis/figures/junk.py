"""Useful capacity beside junk, as in Figure 8 of arXiv 2404.05405."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import style
from analysis.figures.dots import estimate_limits, note_of_negatives
from analysis.junk import JunkCase, JunkPoint
from analysis.words import dataset_parts

NO_JUNK = "0.45"


def draw_junk(points: Sequence[JunkPoint]) -> Figure:
    """Capacity for useful people against exposures, one line per case; a panel per table, family
    and number of people.

    Raises NothingToDrawError where no cells with junk have cells without it beside them.
    """
    drawn = [p for p in points if p.comparison.has_place_on_log_axis]
    panels = [own for own in _panels(drawn) if any(p.case for p in own)]
    if not panels:
        raise style.NothingToDrawError(
            "junk: no cells with junk beside cells without it (same table, family and people)"
        )
    notes = _notes([p for own in panels for p in own])
    notes += note_of_negatives(p.comparison.ratio for p in points)
    figure, grid = style.panels(len(panels), n_notes=len(notes))
    cases = sorted({p.case for own in panels for p in own if p.case is not None})
    places = range(len(cases))
    colours, markers = style.colours_of(places), style.markers_of(places)
    look = {case: (colours[i], markers[i]) for i, case in enumerate(cases)}
    estimates = [p.comparison.ratio for own in panels for p in own if p.comparison.ratio]
    low, high = estimate_limits(estimates, 1.0)
    for axes, own in zip(grid, panels, strict=True):
        axes.set_ylim(low / 1.2, high * 1.2)
        _draw_panel(axes, own, look)
    for axes in style.left_panels(grid):
        axes.set_ylabel("Useful capacity (no junk: 1)")
    style.title_panels(figure, grid, [_title(own[0]) for own in panels])
    handles = [style.series_handle("no junk", NO_JUNK, ".")]
    handles += [style.series_handle(_wrapped(case), *look[case]) for case in cases]
    style.legend(figure, handles)
    style.write_notes(figure, notes)
    return figure


def _panels(points: Sequence[JunkPoint]) -> list[list[JunkPoint]]:
    titles = dict.fromkeys(_title(point) for point in points)
    return [[point for point in points if _title(point) == title] for title in titles]


def _title(point: JunkPoint) -> tuple[str, ...]:
    baseline = point.comparison.baseline
    people = f"{style.short_count(baseline.n_people)} people"
    return *dataset_parts(baseline.dataset), point.family, people


def _wrapped(case: JunkCase) -> str:
    return case.label.replace(", ", "\n", 1)


def _draw_panel(
    axes: Axes, points: Sequence[JunkPoint], look: dict[JunkCase, tuple[style.Colour, str]]
) -> None:
    exposures = sorted({p.comparison.subject.exposures for p in points})
    axes.set_xlim(style.limits(exposures, margin=1.3))
    axes.set_xscale("log")
    axes.set_xticks(exposures, [f"{e:g}" for e in exposures])
    axes.minorticks_off()
    style.relative_axis(axes, "y")
    axes.axhline(1.0, color="0.8", lw=0.8, ls="--", zorder=0)
    axes.set_xlabel("Exposures of each useful person")
    for case in dict.fromkeys(p.case for p in points):
        colour, marker = look[case] if case else (NO_JUNK, ".")
        own = [p.comparison for p in points if p.case == case]
        xs = [c.subject.exposures for c in own]
        ys = [c.ratio.value for c in own if c.ratio]
        axes.plot(xs, ys, marker=marker, color=colour, zorder=3)
        for x, c in zip(xs, own, strict=True):
            if c.ratio and c.ratio.low is not None and c.ratio.high is not None:
                ends = [max(c.ratio.low, axes.get_ylim()[0]), c.ratio.high]
                axes.plot([x, x], ends, color=colour, lw=0.9, zorder=2)


def _notes(points: Sequence[JunkPoint]) -> list[str]:
    baselines = sorted({p.comparison.baseline.exposures for p in points})
    at = f"{baselines[0]:g}" if len(baselines) == 1 else "the fewest"
    bases = {p.comparison.basis for p in points}
    what = " or ".join(str(basis) for basis in sorted(bases))
    notes = [f"Ratio of {what}, to no junk at {at} exposures."]
    n_single = sum(p.comparison.n_replicates == 1 for p in points)
    levels = {
        p.comparison.ratio.level
        for p in points
        if p.comparison.ratio and p.comparison.ratio.low is not None
    }
    if levels:
        notes.append(f"Bars: {max(levels):.0%} intervals (Student's) over paired seeds.")
    if n_single:
        notes.append(f"{n_single} of {len(points)} points rest on one seed: no interval.")
    return notes

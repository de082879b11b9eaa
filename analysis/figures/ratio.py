"""Bits per parameter: measured against demanded, and the peak against exposures."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.exposure_fit import ExposureFit
from analysis.figures import style
from analysis.fit import CapacityFit
from analysis.groups import GroupKey, has_full_pools, split_groups
from analysis.peak_table import Peak, find_peaks
from analysis.words import dataset_parts

HARD_SHARPNESS = 20.0
"""From here on R at the corner is above 0.965 c: the law looks like two straight lines."""


def draw_ratio(rows: pd.DataFrame, fits: Sequence[CapacityFit], excluded: pd.DataFrame) -> Figure:
    """R against R_max with the fitted law and its interval; one colour per exposures.

    Raises NothingToDrawError where no row stores a positive number of bits.
    """
    drawn = rows[rows["capacity_ratio"] > 0]
    if drawn.empty:
        raise style.NothingToDrawError("ratio: no finished cell stores more than zero bits")
    series = _by_panel([key for key, _ in split_groups(drawn)])
    cells = dict(split_groups(drawn))
    laws = {fit.group: fit for fit in fits}
    n_negative = len(rows) - len(drawn)
    notes = [f"Not drawn: {n_negative} cell(s) with R <= 0."] if n_negative else []
    notes += style.exclusion_notes(excluded)
    bands = [fit.capacity.level for fit in fits if fit.capacity and fit.capacity.low is not None]
    if bands:
        notes.append(f"Shaded: {bands[0]:.0%} interval of the law.")
    notes += _corner_notes([fit for fit in fits if fit.law is not None])
    figure, grid = style.panels(len(series), n_notes=len(notes))
    colours, markers = _look(drawn)
    for axes, keys in zip(grid, series, strict=True):
        # Panels of one data set share their limits, so that heights can be compared.
        same = drawn[drawn["dataset"] == keys[0].dataset]
        axes.set_xlim(style.limits(same["max_capacity_ratio"], margin=1.25))
        axes.set_ylim(style.limits(same["capacity_ratio"], margin=1.35))
        style.ratio_axis(axes, "x")
        style.ratio_axis(axes, "y")
        edges = axes.get_xlim()
        axes.plot(edges, edges, color="0.6", lw=0.8, ls="--", zorder=0)
        for key in keys:
            colour, marker = colours[key.exposures], markers[key.exposures]
            _draw_law(axes, laws.get(key), colour)
            axes.plot(
                cells[key]["max_capacity_ratio"],
                cells[key]["capacity_ratio"],
                marker,
                color=colour,
                mec="white",
                mew=0.4,
            )
        axes.set_xlabel("Demanded, $R_{max}$ (bits per parameter)")
    for axes in style.left_panels(grid):
        axes.set_ylabel("Stored, $R$ (bits per parameter)")
    style.title_panels(figure, grid, [_parts(keys[0]) for keys in series])
    handles = [
        style.series_handle(_exposures_label(e, fits, len(grid)), colours[e], markers[e])
        for e in colours
    ]
    handles.append(style.series_handle("$R = R_{max}$", "0.6", line="--"))
    style.legend(figure, handles, title="Exposures")
    style.write_notes(figure, notes)
    return figure


def draw_exposures(
    rows: pd.DataFrame,
    fits: Sequence[CapacityFit],
    exposure_fits: Sequence[ExposureFit],
    excluded: pd.DataFrame,
) -> Figure:
    """Peak R of each number of people, and fitted capacity, against exposures.

    Raises NothingToDrawError where no family was trained at several exposures.
    """
    series = [keys for keys in _by_panel([key for key, _ in split_groups(rows)]) if len(keys) > 1]
    if not series:
        raise style.NothingToDrawError("exposures: all finished cells have the same exposures")
    peaks = find_peaks(rows)
    notes = ["Hollow: the model at the peak stored nearly all there was, and may hold more."]
    if not any(peak.is_demand_limited for peak in peaks):
        notes = []
    notes += style.exclusion_notes(excluded)
    figure, grid = style.panels(len(series), n_notes=len(notes))
    colours = style.colours_of(peak.n_people for peak in peaks)
    markers = style.markers_of(peak.n_people for peak in peaks)
    curves = {fit.group: fit for fit in exposure_fits}
    shows_paper = False
    for axes, keys in zip(grid, series, strict=True):
        _exposure_axes(axes, keys)
        _draw_peaks(axes, [p for p in peaks if p.group in keys], colours, markers)
        _draw_capacities(axes, [fit for fit in fits if fit.group in keys])
        curve = curves.get(keys[0].label_without_exposures)
        if curve is not None and curve.law is not None:
            exposures = np.geomspace(*axes.get_xlim(), 200)
            axes.plot(exposures, curve.law.capacity(exposures), color="0.4", lw=0.9, zorder=1)
        if _is_paper_setting(rows, keys):
            shows_paper = True
            axes.plot([100, 1000], [1, 2], "_", color="0.2", ms=16, mew=1.2, zorder=1)
    # Equal for all panels, so that heights can be compared.
    top = max(axes.get_ylim()[1] for axes in grid)
    for axes in grid:
        axes.set_ylim(min(0.0, *(p.ratio for p in peaks)), top)
    for axes in style.left_panels(grid):
        axes.set_ylabel("Peak $R$ (bits per parameter)")
    style.title_panels(figure, grid, [_parts(keys[0]) for keys in series])
    handles = [style.series_handle(style.short_count(n), colours[n], markers[n]) for n in colours]
    if any(fit.capacity for fit in fits):
        handles.append(style.series_handle("fitted capacity", "black", "D", ""))
    if any(fit.law for fit in exposure_fits):
        handles.append(style.series_handle("its law", "0.4"))
    if shows_paper:
        handles.append(style.series_handle("paper: at least", "0.2", "_", ""))
    style.legend(figure, handles, title="People")
    style.write_notes(figure, notes)
    return figure


def _by_panel(keys: Sequence[GroupKey]) -> list[list[GroupKey]]:
    """Keys that differ only in exposures, together, in increasing exposures."""
    labels = dict.fromkeys(key.label_without_exposures for key in keys)
    same = [[key for key in keys if key.label_without_exposures == label] for label in labels]
    return [sorted(group, key=lambda key: key.exposures) for group in same]


def _parts(key: GroupKey) -> tuple[str, ...]:
    quantization = "" if key.quantization == "none" else key.quantization
    return *dataset_parts(key.dataset), key.family, quantization


def _look(rows: pd.DataFrame) -> tuple[dict[float, style.Colour], dict[float, str]]:
    return style.colours_of(rows["exposures"]), style.markers_of(rows["exposures"])


def _exposures_label(exposures: float, fits: Sequence[CapacityFit], n_panels: int) -> str:
    """Exposures, and the fitted capacity where one panel makes it clear whose it is."""
    own = [fit.capacity for fit in fits if fit.group.exposures == exposures and fit.capacity]
    return f"{exposures:g} (c = {own[0].value:.2f})" if n_panels == 1 and own else f"{exposures:g}"


def _draw_law(axes: Axes, fit: CapacityFit | None, colour: style.Colour) -> None:
    if fit is None or fit.law is None:
        return
    max_ratio = np.geomspace(*axes.get_xlim(), 300)
    axes.plot(max_ratio, fit.law.ratio(max_ratio), color=colour, lw=1.0, zorder=2)
    band = fit.band(max_ratio)
    if band is not None:
        axes.fill_between(max_ratio, *band, color=colour, alpha=0.18, lw=0, zorder=1)


def _corner_notes(fits: Sequence[CapacityFit]) -> list[str]:
    """Why some laws turn at a corner as sharp as it is drawn."""
    usual = [f for f in fits if f.sharpness is None]
    hard = [f for f in fits if f.law is not None and f.law.sharpness >= HARD_SHARPNESS]
    notes = []
    if usual and len(usual) > len([f for f in usual if f in hard]):
        which = "" if len(usual) == len(fits) else f" of {len(usual)} of {len(fits)} laws"
        notes.append(
            f"Drawn as sharp as usual: the corner R_max = c{which}, near which too few cells lie."
        )
    if hard:
        which = "The corner" if len(hard) == len(fits) else f"{len(hard)} of {len(fits)} corners"
        verb = "is" if len(hard) == len(fits) else "are"
        notes.append(f"{which} {verb} hard: the cells lie within 3% of the smaller of R_max and c.")
    return notes


def _exposure_axes(axes: Axes, keys: Sequence[GroupKey]) -> None:
    exposures = [key.exposures for key in keys]
    axes.set_xlim(style.limits(exposures, margin=1.3))
    axes.set_xscale("log")
    axes.set_xticks(exposures, [f"{e:g}" for e in exposures])
    axes.minorticks_off()
    axes.set_xlabel("Exposures of each person")


def _draw_peaks(
    axes: Axes,
    peaks: Sequence[Peak],
    colours: dict[float, style.Colour],
    markers: dict[float, str],
) -> None:
    for n_people in sorted({peak.n_people for peak in peaks}):
        own = sorted(
            (p for p in peaks if p.n_people == n_people), key=lambda peak: peak.group.exposures
        )
        colour = colours[n_people]
        axes.plot([p.group.exposures for p in own], [p.ratio for p in own], color=colour, zorder=2)
        for peak in own:
            axes.plot(
                peak.group.exposures,
                peak.ratio,
                markers[n_people],
                mec=colour,
                mfc="white" if peak.is_demand_limited else colour,
                zorder=3,
            )


def _draw_capacities(axes: Axes, fits: Sequence[CapacityFit]) -> None:
    for fit in fits:
        if fit.capacity is None:
            continue
        x, c = fit.group.exposures, fit.capacity
        axes.plot(x, c.value, "D", color="black", ms=4.5, zorder=4)
        if c.low is not None and c.high is not None:
            axes.plot([x, x], [c.low, c.high], color="black", lw=1.0, zorder=4)


def _is_paper_setting(rows: pd.DataFrame, keys: Sequence[GroupKey]) -> bool:
    """Whether the paper's Results 1 and 4 are about these cells."""
    key = keys[0]
    is_same = (key.dataset, key.family, key.quantization) == ("bioS", "gpt2", "none")
    return is_same and bool(has_full_pools(rows[rows["dataset"] == "bioS"]).all())

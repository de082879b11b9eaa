"""What is stored of a person, against how often the person appears."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import style
from analysis.groups import split_by
from analysis.words import dataset_parts, dataset_words

MAX_MODELS = 8
PANEL = ["dataset", "n_people", "exposures", "table"]


def draw_bands(bands: pd.DataFrame, notes: Sequence[str] = ()) -> Figure:
    """Share of the demand stored, per band; a panel per table, one line per model, and a dash for
    each seed.

    `bands` is that of `find_bands`. Raises NothingToDrawError where no cell has two bands.
    """
    if bands.empty or bands["band"].nunique() < 2:
        raise style.NothingToDrawError(
            "bands: in no finished cell do some people appear more often than others"
        )
    counts = bands.groupby(PANEL)["band"].transform("nunique")
    drawn = bands[counts > 1]
    who = [_model(row) for row in drawn.to_dict("records")]
    drawn = drawn.assign(who=pd.Series(who, index=drawn.index, dtype=object))
    every = sorted(set(drawn["who"]))
    models = _spread(every)
    panels = list(drawn[drawn["who"].isin(models)].groupby(PANEL))
    lines = [*notes]
    if len(models) < len(every):
        lines.append(f"Drawn: {len(models)} of {len(every)} models, evenly by size.")
    shown = drawn[drawn["who"].isin(models)]
    if (n_seeds := int(shown["seed"].nunique())) > 1:
        lines.append(f"Lines: mean over {n_seeds} seeds. Dashes: each seed.")
    lines.append("1: the whole demand; below 0: worse than chance.")
    figure, grid = style.panels(len(panels), n_notes=len(lines))
    places = range(len(models))
    colours, markers = style.colours_of(places), style.markers_of(places)
    for axes, (_, own) in zip(grid, panels, strict=True):
        _set_limits(axes, shown)
        _draw_panel(axes, own, [(m, colours[i], markers[i]) for i, m in enumerate(models)])
    for axes in style.left_panels(grid):
        axes.set_ylabel("Stored, share of the demand")
    style.title_panels(figure, grid, [_title(key) for key, _ in panels])
    handles = [
        style.series_handle(f"{name}   {style.short_count(n_params)}", colours[i], markers[i])
        for i, (n_params, name) in enumerate(models)
    ]
    style.legend(figure, handles, title="Model, parameters")
    style.write_notes(figure, lines)
    return figure


def _model(row: dict) -> tuple[float, str]:
    """Parameters and name, so that models sort by size; the optimizer where it is not AdamW."""
    family, optimizer = str(row["family"]), ""
    if family.endswith(")"):
        optimizer = " " + family[family.index("(") :]
    return float(row["n_params"]), str(row["model"]) + optimizer


def _spread(models: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """At most MAX_MODELS of them, evenly from the first to the last."""
    if len(models) <= MAX_MODELS:
        return list(models)
    step = (len(models) - 1) / (MAX_MODELS - 1)
    return [models[round(i * step)] for i in range(MAX_MODELS)]


def _draw_panel(
    axes: Axes, bands: pd.DataFrame, look: Sequence[tuple[tuple[float, str], style.Colour, str]]
) -> None:
    for y in (0.0, 1.0):
        axes.axhline(y, color="0.8", lw=0.8, ls="--", zorder=0)
    for model, colour, marker in look:
        its = bands[[who == model for who in bands["who"]]]
        means = its.groupby("band")[["times", "share"]].mean().sort_values("times")
        axes.plot(means["times"], means["share"], marker=marker, color=colour, zorder=3)
        for own in split_by(its, "band").values():
            if len(own) > 1:
                xs = [own["times"].mean()] * len(own)
                axes.plot(xs, own["share"], "_", color=colour, ms=11, mew=1.2, zorder=2)
    axes.set_xlabel("Times that a person appears in training")


def _set_limits(axes: Axes, bands: pd.DataFrame) -> None:
    """Equal for all panels, so that heights and slopes can be compared."""
    axes.set_xlim(style.limits(bands["times"], margin=1.4))
    style.ratio_axis(axes, "x")
    axes.set_ylim(min(0.0, bands["share"].min()) - 0.03, max(1.0, bands["share"].max()) + 0.03)


def _title(key: object) -> tuple[str, ...]:
    assert isinstance(key, tuple), "grouped by several columns"
    dataset, n_people, exposures, table = key
    people = f"{style.short_count(n_people)} people"
    # A single table is the data set itself.
    shown = "" if str(table) == str(dataset) else dataset_words(str(table))
    return *dataset_parts(str(dataset)), people, f"{exposures:g} exposures", shown

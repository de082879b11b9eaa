"""Where knowledge is: share of the demand that is stored, by attribute, and R without a layer."""

from collections.abc import Callable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import style
from analysis.words import dataset_parts

MAX_MODELS = 8
PANEL = ["dataset", "n_people", "exposures"]
MAX_PANELS = 9


def draw_sites(sites: pd.DataFrame) -> Figure:
    """A panel per data set and exposures, a line of markers per model; mean over seeds.

    `sites` is that of `find_sites`. Raises NothingToDrawError where there is none, or nothing has a
    known demand.
    """
    drawn = sites.dropna(subset=["share"]) if len(sites) else sites
    if drawn.empty:
        raise style.NothingToDrawError("sites: no finished cell says where its knowledge is")

    def draw(axes: Axes, own: pd.DataFrame, models: "_Models") -> None:
        labels = list(dict.fromkeys(own["attribute"]))
        for name, colour, marker in models:
            means = own[own["model"] == name].groupby("attribute")["share"].mean()
            if len(means):
                values = means.reindex(labels)
                axes.plot(range(len(labels)), values, marker=marker, color=colour, lw=0.8)
        for y in (0.0, 1.0):
            axes.axhline(y, color="0.8", lw=0.8, ls="--", zorder=0)
        axes.set_xticks(range(len(labels)), labels, rotation=40, ha="right", fontsize=7)

    note = "1: the demand; below 0: worse than chance. Mean over seeds."
    return _draw(drawn, draw, note=note, ylabel="Stored, share of the demand")


def draw_layers(layers: pd.DataFrame) -> Figure:
    """A panel per data set and exposures, a line of markers per model: R with one layer left out;
    at 0 the whole model. Mean over seeds.

    `layers` is that of `find_layers`. Raises NothingToDrawError where there is none.
    """
    drawn = layers.dropna(subset=["without"]) if len(layers) else layers
    if drawn.empty:
        raise style.NothingToDrawError("layers: no finished cell was measured without its layers")

    def draw(axes: Axes, own: pd.DataFrame, models: "_Models") -> None:
        for name, colour, marker in models:
            of_model = own[own["model"] == name]
            if len(of_model):
                means = of_model.groupby("layer")["without"].mean()
                values = [of_model["whole"].mean(), *means]
                axes.plot([0, *means.index], values, marker=marker, color=colour, lw=0.8)
        axes.axhline(0.0, color="0.8", lw=0.8, ls="--", zorder=0)
        axes.set_yscale("symlog", linthresh=1.0)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_xticks(range(int(own["layer"].max()) + 1))
        axes.set_xlabel("Layer left out (0: none)")

    note = "Linear from -1 to 1, logarithmic beyond; 0: of everybody, layers: of the first people."
    return _draw(drawn, draw, note=note, ylabel="R, bits per parameter")


_Models = list[tuple[str, style.Colour, str]]
"""Name, colour and marker of each model."""


def _draw(
    drawn: pd.DataFrame,
    draw: Callable[[Axes, pd.DataFrame, _Models], None],
    *,
    note: str,
    ylabel: str,
) -> Figure:
    """The panels with equal heights, titles, legend and note."""
    panels = list(drawn.groupby(PANEL, sort=False))[:MAX_PANELS]
    names = sorted({(row["n_params"], row["model"]) for row in drawn.to_dict("records")})
    places = range(len(names[:MAX_MODELS]))
    colours, markers = style.colours_of(places), style.markers_of(places)
    models = [(str(names[i][1]), colours[i], markers[i]) for i in places]
    figure, grid = style.panels(len(panels), n_notes=1)
    for axes, (_, own) in zip(grid, panels, strict=True):
        draw(axes, own, models)
    # Equal for all panels, so that heights can be compared.
    ends = [end for axes in grid for end in axes.get_ylim()]
    for axes in grid:
        axes.set_ylim(min(ends), max(ends))
    for axes in style.left_panels(grid):
        axes.set_ylabel(ylabel)
    titles = [_title(key) for key, _ in panels]
    style.title_panels(figure, grid, titles)
    style.legend(figure, [style.series_handle(*model) for model in models], title="Model")
    style.write_notes(figure, [note])
    return figure


def _title(key: object) -> tuple[str, ...]:
    assert isinstance(key, tuple), "grouped by several columns"
    dataset, n_people, exposures = key
    people = f"{style.short_count(n_people)} people"
    return *dataset_parts(str(dataset)), people, f"{exposures:g} exposures"

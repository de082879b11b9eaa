"""Share of the demand that is stored, by attribute."""

import pandas as pd
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
    panels = list(drawn.groupby(PANEL, sort=False))[:MAX_PANELS]
    models = sorted({(row["n_params"], row["model"]) for row in drawn.to_dict("records")})
    models = [name for _, name in models][:MAX_MODELS]
    lines = ["1: all there is to know; below 0: worse than chance. Mean over seeds."]
    figure, grid = style.panels(len(panels), n_notes=len(lines))
    places = range(len(models))
    colours, markers = style.colours_of(places), style.markers_of(places)
    for axes, (_, own) in zip(grid, panels, strict=True):
        labels = list(dict.fromkeys(own["attribute"]))
        for i, model in enumerate(models):
            means = own[own["model"] == model].groupby("attribute")["share"].mean()
            if len(means):
                values = means.reindex(labels)
                axes.plot(range(len(labels)), values, marker=markers[i], color=colours[i], lw=0.8)
        for y in (0.0, 1.0):
            axes.axhline(y, color="0.8", lw=0.8, ls="--", zorder=0)
        axes.set_xticks(range(len(labels)), labels, rotation=40, ha="right", fontsize=7)
    # Equal for all panels, so that heights can be compared.
    ends = [end for axes in grid for end in axes.get_ylim()]
    for axes in grid:
        axes.set_ylim(min(ends), max(ends))
    for axes in style.left_panels(grid):
        axes.set_ylabel("Stored, share of the demand")
    titles = [_title(key) for key, _ in panels]
    style.title_panels(figure, grid, titles)
    handles = [
        style.series_handle(str(name), colours[i], markers[i]) for i, name in enumerate(models)
    ]
    style.legend(figure, handles, title="Model")
    style.write_notes(figure, lines)
    return figure


def _title(key: object) -> tuple[str, ...]:
    assert isinstance(key, tuple), "grouped by several columns"
    dataset, n_people, exposures = key
    people = f"{style.short_count(n_people)} people"
    return *dataset_parts(str(dataset)), people, f"{exposures:g} exposures"

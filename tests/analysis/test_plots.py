"""Figures: what is drawn, what is only mentioned, and that drawing leaves no trace."""

import functools
import json

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis.figures.style import (
    NothingToDrawError,
    legend,
    panel_titles,
    series_handle,
    short_count,
)
from analysis.figures.symbols import set_own_symbols
from analysis.load import ResultsError, load_results
from analysis.plots import check_request, draw, fit_inputs, save
from analysis.published import published_rows
from analysis.verbs import results_of

NAMES = ["capacity", "ratio", "exposures", "residuals", "tuning", "training"]
SIZES = ((2, 2), (4, 2), (4, 3), (4, 4), (6, 4))


@pytest.fixture(name="inputs", scope="module")
def inputs_fixture(make_rows, spoil, write_run, tmp_path_factory):
    """A small run with two exposures, and rows that failed or store negative bits."""
    tmp_path = tmp_path_factory.mktemp("plots")
    rows = spoil(make_rows(exposures=(100, 1000), n_people=(50_000, 100_000, 200_000), sizes=SIZES))
    return fit_inputs(load_results([write_run(tmp_path / "run", rows)]))


@pytest.fixture(name="figure_of", scope="module")
def figure_of_fixture(inputs):
    """A figure of these inputs by name, drawn once."""
    return functools.cache(lambda name: draw(name, inputs))


def texts(figure):
    return " ".join(t.get_text() for t in figure.findobj(Text))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_figure_is_drawn_and_leaves_no_global_state(name, inputs):
    """No pyplot figure and no changed setting remains; every panel holds data and labels."""
    settings = dict(matplotlib.rcParams)
    figure = draw(name, inputs)
    assert plt.get_fignums() == []
    assert dict(matplotlib.rcParams) == settings
    for axes in figure.axes:
        assert axes.lines
        assert axes.get_xlabel()


def test_rows_that_cannot_be_drawn_are_mentioned(figure_of):
    """Failed rows and negative bits are in a note, with their number and reason."""
    shown = texts(figure_of("capacity"))
    assert "2 failed, 1 diverged" in shown
    assert "zero or negative" in shown


def test_measured_points_are_drawn_where_they_were_measured(inputs, figure_of):
    """Every positive cell of a panel is a point at (parameters, stored bits)."""
    used = inputs.results.used
    rows = used[(used["stored_bits"] > 0) & (used["exposures"] == 1000)]
    axes = figure_of("capacity").axes[1]
    drawn = np.concatenate([line.get_xydata() for line in axes.lines])
    for point in rows[["n_params", "stored_bits"]].to_numpy(float):
        assert np.isclose(drawn, point).all(axis=1).any()


def test_published_points_appear_only_beside_the_same_setting(make_rows, write_run, tmp_path):
    """Miniature pools are another data set: no published point belongs in their figure."""
    mini = make_rows(mini=True, n_people=(500, 1000), exposures=(1000,), sizes=((1, 1), (2, 2)))
    inputs = fit_inputs(load_results([write_run(tmp_path / "mini", mini, with_cells=False)]))
    assert "published" not in texts(draw("capacity", inputs))
    full = make_rows(n_people=(50_000,), exposures=(1000,), sizes=SIZES)
    inputs = fit_inputs(load_results([write_run(tmp_path / "full", full, with_cells=False)]))
    assert "published" in texts(draw("capacity", inputs))


def test_published_points_among_the_rows_are_hollow_and_ours_are_full(
    make_rows, write_run, tmp_path
):
    """As the legend says, also where both are asked for: `plot --published DIR`."""
    full = make_rows(n_people=(50_000,), exposures=(1000,), sizes=SIZES)
    run = write_run(tmp_path / "full", full, with_cells=False)
    (axes,) = draw("capacity", fit_inputs(results_of([run], published=True))).axes[1:]
    marked = [line for line in axes.lines if line.get_linestyle() == "None"]
    hollow = [line for line in marked if line.get_markerfacecolor() == "none"]
    ours = [line for line in marked if line not in hollow]
    n_published = (published_rows()["exposures"] == 1000).sum()
    assert sum(np.size(line.get_xdata()) for line in ours) == len(full)
    assert sum(np.size(line.get_xdata()) for line in hollow) == n_published


def test_panels_stay_inside_the_figure_and_apart(figure_of):
    """No panel's labels run into another panel, the legend or the edge."""
    figure = figure_of("capacity")
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [box for axes in figure.axes if (box := axes.get_tightbbox(renderer)) is not None]
    assert len(boxes) == len(figure.axes)
    boxes += [found.get_window_extent(renderer) for found in figure.legends]
    width, height = figure.bbox.width, figure.bbox.height
    for i, box in enumerate(boxes):
        assert box.x0 >= -1 and box.x1 <= width + 1 and box.y0 >= -1 and box.y1 <= height + 1
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_figures_without_data_say_what_they_need(make_rows, write_run, tmp_path):
    """A run without tuning, curves or several exposures has no such figures, and no empty ones."""
    rows = make_rows(exposures=(100,), n_people=(50_000,), sizes=((2, 2),))
    inputs = fit_inputs(load_results([write_run(tmp_path / "run", rows, with_cells=False)]))
    for name in ("exposures", "tuning", "training"):
        with pytest.raises(NothingToDrawError, match=name):
            draw(name, inputs)
    negative = rows.assign(stored_bits=-1.0, capacity_ratio=-1e-6)
    inputs = fit_inputs(load_results([write_run(tmp_path / "neg", negative, with_cells=False)]))
    for name in ("capacity", "ratio"):
        with pytest.raises(NothingToDrawError, match="more than zero"):
            draw(name, inputs)


def test_the_same_data_give_the_same_file(inputs, tmp_path):
    """SVG files carry no date and no random names."""
    files = [save(draw("ratio", inputs), tmp_path / f"{i}.svg").read_bytes() for i in range(2)]
    assert files[0] == files[1]


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["pdf", "svg", "png"])
def test_each_format_is_written(figure_of, tmp_path, ending):
    """The file's ending chooses the format; missing folders are made."""
    path = save(figure_of("exposures"), tmp_path / "new" / f"figure.{ending}")
    signature = {"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG"}[ending]
    assert path.read_bytes().startswith(signature)


def test_unknown_figures_and_formats_are_refused(tmp_path):
    """The message lists what there is."""
    with pytest.raises(ResultsError, match="capacity, ratio"):
        check_request("pie", tmp_path / "a.pdf")
    with pytest.raises(ResultsError, match=r"\.pdf, \.svg or \.png"):
        check_request("ratio", tmp_path / "a.docx")


def test_counts_are_short():
    """Three significant digits and a suffix, also just below a power of 1000."""
    assert [short_count(v) for v in (100, 816_000, 999_999, 1.5e6, 2e9)] == [
        "100",
        "816K",
        "1M",
        "1.5M",
        "2G",
    ]


def test_titles_hold_what_differs():
    """What all panels share is said once."""
    shared, titles = panel_titles([("bioS", "gpt2", "", "30 x"), ("bioS", "llama", "", "30 x")])
    assert shared == "bioS, 30 x"
    assert titles == ["gpt2", "llama"]


def test_no_law_and_no_band_is_drawn_over_a_single_demand(make_cells, write_run, tmp_path):
    """Three seeds at one R_max are three points: nothing but them and R = R_max."""
    rows = make_cells({"gpt2": 1.0}, sizes=((2, 1),))
    inputs = fit_inputs(load_results([write_run(tmp_path / "run", rows, with_cells=False)]))
    assert len(rows) == 3
    axes = draw("ratio", inputs).axes[0]
    assert len(axes.lines) == 2
    assert not axes.collections


def test_residuals_are_those_of_every_positive_cell(inputs, figure_of):
    """Each panel has all cells, whichever are saturated."""
    used = inputs.results.used
    n_positive = int((used["capacity_ratio"] > 0).sum())
    for axes in figure_of("residuals").axes:
        points = sum(len(np.asarray(line.get_xdata())) for line in axes.lines)
        assert points == n_positive + 2  # and the two ends of the line at 1


def test_the_landscape_shows_every_trial_and_what_was_chosen(make_cells, write_run, tmp_path):
    """Trials by learning rate and weight decay, lost ones as crosses, a star for each cell; cells
    at the edge of their ranges are counted. Without two weight decays there is no landscape.
    """
    rows = make_cells({"gpt2": 1.0}, seeds=(0,)).assign(edge=["", "lr high", ""])
    folder = write_run(tmp_path / "run", rows)
    with pytest.raises(NothingToDrawError, match="several rates and weight decays"):
        draw("landscape", fit_inputs(load_results([folder])))
    for row in rows.to_dict("records"):
        trials = [
            {"lr": lr, "weight_decay": decay, "bits": 1e3 * lr, "status": "ok"}
            for lr, decay in ((1e-3, 0.01), (2e-3, 0.1), (1e-2, 0.03))
        ]
        trials.append({"lr": 1e-1, "weight_decay": 0.03, "bits": None, "status": "diverged"})
        text = "".join(json.dumps(trial) + "\n" for trial in trials)
        (folder / "cells" / row["cell_id"] / "trials.jsonl").write_text(text)
    figure = draw("landscape", fit_inputs(load_results([folder])))
    panel = figure.axes[0]
    (points,) = [one for one in panel.collections if np.shape(one.get_offsets()) == (9, 2)]
    shares = points.get_array()
    assert shares is not None
    assert np.unique(np.round(shares, 9)).tolist() == [0.1, 0.2, 1.0]
    lost, chosen = (np.size(line.get_xdata()) for line in panel.lines)
    assert (lost, chosen) == (3, 3)
    assert "1 of 3 cells chose a point at the edge" in texts(figure)


STRANGE = r"_tuples-$\frac{1$ [/b] ${}"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_shown_as_it_is_written(name, make_rows, spoil, write_run, tmp_path):
    """Whatever it holds that would be mathematics elsewhere; kcap's own symbols are set as such."""
    rows = spoil(make_rows(exposures=(100, 1000), n_people=(50_000, 200_000), sizes=SIZES))
    inputs = fit_inputs(load_results([write_run(tmp_path / "run", rows.assign(dataset=STRANGE))]))
    figure = draw(name, inputs)
    save(figure, tmp_path / "figure.svg")
    assert STRANGE in " ".join(texts(figure).split())
    found = [t for t in figure.findobj(Text) if isinstance(t, Text) and "$R" in t.get_text()]
    assert all(text.get_parse_math() for text in found)
    assert found or name in ("capacity", "training")


def test_names_beside_symbols_are_escaped():
    """In one text, so that both are shown as they should be."""
    figure = Figure()
    label = figure.text(0, 0, r"$R$ over that of $\frac{1$, $R = R_{max}$")
    set_own_symbols(figure)
    assert label.get_text() == r"$R$ over that of \$\frac{1\$, $R = R_{max}$"
    FigureCanvasAgg(figure).draw()


def test_no_entry_is_left_out_of_a_legend():
    """Names that begin with an underscore are those of matplotlib's own artists."""
    figure = Figure()
    legend(figure, [series_handle("_mine", "0.5")])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [" _mine"]


def test_bits_while_training_are_drawn_with_their_errors(make_rows, write_run, tmp_path):
    """One line a cell, at the points that were measured; and none where no cell was."""
    rows = make_rows(exposures=(100,), n_people=(50_000,), sizes=SIZES[:2])
    folder = write_run(tmp_path / "run", rows)
    with pytest.raises(NothingToDrawError):
        draw("growth", fit_inputs(load_results([folder])))
    for row in rows.to_dict("records"):
        path = folder / "cells" / row["cell_id"] / "history.parquet"
        curve = pd.read_parquet(path)
        is_measured = np.arange(len(curve)) % 20 == 19
        curve["capacity_ratio"] = np.where(is_measured, curve["exposures"] / 100, np.nan)
        curve["stored_bits_se"] = np.where(is_measured, 0.1 * row["n_params"], np.nan)
        curve.to_parquet(path)
    figure = draw("growth", fit_inputs(load_results([folder])))
    bars = [bar for axes in figure.axes for bar in axes.containers]
    assert len(bars) == len(rows)
    for line, _, (errors,) in bars:
        x, y = line.get_data()
        assert len(x) == 10
        assert y == pytest.approx(x / 100)
        lengths = [ends[1, 1] - ends[0, 1] for ends in errors.get_segments()]
        assert lengths == pytest.approx([0.2] * 10)

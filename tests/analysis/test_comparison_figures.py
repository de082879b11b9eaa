"""Figures of comparisons: drawn where the rows can show them, and readable."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from analysis.architectures import compare_architectures
from analysis.comparison_tables import (
    architectures_table,
    bands_table,
    junk_table,
    ladder_table,
)
from analysis.figures.style import NothingToDrawError
from analysis.load import load_results
from analysis.plots import Inputs, draw
from analysis.report import write_report
from analysis.words import Names

NAMES = ("architectures", "ladder", "moe", "junk", "bands", "parts")
LLAMA = {"llama": 0.8, "llama-standard": 0.9, "llama-standard-tied-gelu": 0.95}
BAND = {"table": "bioS-mini", "n_people": 400, "demand_bits": 1000.0}


def make_everything(make_cells):
    """Rows that every one of the figures can be drawn from."""
    mixed = make_cells({"gpt2": 1.0, "gpt2 (muon)": 1.2, "gpt2-moe32": 0.3, **LLAMA}, seeds=(0, 1))
    bands = [{**BAND, "band": i, "exposures": 10.0**i, "stored_bits": 300.0 * i} for i in range(3)]
    zipf = make_cells({"gpt2": 1.0}, dataset="bioS-mini-zipf1").assign(groups=json.dumps(bands))
    junk = make_cells({"gpt2": 0.2}, dataset="bioS-mini-junk7x1M", seeds=(0, 1))
    biod = make_cells({"gpt2": 1.0}, dataset="bioD-K1-C1-D9-L1-T20-mini")
    parts = {"name_bits": -0.2, "value_bits": 1.1, "diversity_bits": 0.1}
    biod = biod.assign(**{part: share * biod["stored_bits"] for part, share in parts.items()})
    return pd.concat([mixed, zipf, junk, biod], ignore_index=True)


@pytest.fixture(name="folder", scope="module")
def folder_fixture(make_cells, write_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures") / "run"
    return write_run(folder, make_everything(make_cells), with_cells=False)


def inputs_of(folder):
    return Inputs(results=load_results([folder]), fits=(), exposure_fits=())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_panels_and_legend_stay_inside_the_figure_and_apart(name, folder):
    """No label runs over the edge or into another panel; nothing global remains."""
    figure = draw(name, inputs_of(folder))
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [box for axes in figure.axes if (box := axes.get_tightbbox(renderer)) is not None]
    boxes += [found.get_window_extent(renderer) for found in figure.legends]
    width, height = figure.bbox.width, figure.bbox.height
    for i, box in enumerate(boxes):
        assert box.x0 >= -1 and box.x1 <= width + 1 and box.y0 >= -1 and box.y1 <= height + 1
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
    for axes in figure.axes:
        assert axes.has_data()
        assert axes.get_xlabel()
    assert plt.get_fignums() == []


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_shown_as_it_is_written(name, make_cells, write_run, tmp_path):
    """Also where it would be mathematics, and beside kcap's own symbols."""
    rows = make_everything(make_cells).replace("-mini", r"-$\\frac{1$", regex=True)
    figure = draw(name, inputs_of(write_run(tmp_path / "run", rows, with_cells=False)))
    FigureCanvasAgg(figure).draw()
    shown = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    assert any(r"$\frac{1$" in text.get_text() for text in shown)
    assert all(text.get_parse_math() for text in shown if "$R" in text.get_text())


@pytest.mark.parametrize("name", NAMES)
def test_rows_that_cannot_show_it_give_no_figure(name, make_cells, write_run, tmp_path):
    """One family, no junk, no bands, no bioD: the message says what each needs."""
    folder = write_run(tmp_path / "plain", make_cells({"gpt2": 1.0}), with_cells=False)
    with pytest.raises(NothingToDrawError, match=name):
        draw(name, inputs_of(folder))


def test_every_ratio_is_a_dot_where_it_was_measured(folder):
    """And GPT-2 itself stands at 1."""
    inputs = inputs_of(folder)
    (axes,) = draw("architectures", inputs).axes
    drawn = np.concatenate([line.get_xdata() for line in axes.lines])
    ratios = [c.ratio.value for c in compare_architectures(inputs.results.used) if c.ratio]
    assert len(ratios) == 5
    for ratio in [*ratios, 1.0]:
        assert np.isclose(drawn, ratio).any()


def test_architectures_stand_in_the_order_of_their_capacity(folder):
    """The best on top."""
    (axes,) = draw("architectures", inputs_of(folder)).axes
    names = [label.get_text().rsplit("   ", 1)[0] for label in axes.get_yticklabels()]
    compared = compare_architectures(inputs_of(folder).results.used)
    found = {c.subject.name: c.ratio.value for c in compared if c.ratio is not None}
    assert names == sorted(names, key=lambda name: -found.get(name, 1.0))
    assert axes.yaxis_inverted()


def test_a_ratio_without_interval_is_said_to_rest_on_one_seed(make_cells, write_run, tmp_path):
    """On the figure itself."""
    rows = make_cells({"gpt2": 1.0, "llama": 0.8}, seeds=(0,))
    folder = write_run(tmp_path / "one", rows, with_cells=False)
    figure = draw("architectures", inputs_of(folder))
    shown = " ".join(text.get_text() for text in figure.findobj(Text))
    assert "1 of 1 ratios rest on one seed: no interval" in shown


def test_parts_of_a_bar_add_up_to_its_ratio(folder):
    """Widths of a stack, the negative part too, sum to R, a mean over seeds."""
    (axes,) = draw("parts", inputs_of(folder)).axes
    widths = [bar.get_width() for container in axes.containers for bar in container]
    used = inputs_of(folder).results.used
    own = used[used["dataset"].str.startswith("bioD")]
    best = own.groupby(["dataset", "model", "exposures"])["capacity_ratio"].mean().max()
    assert min(widths) < 0
    assert sum(widths) == pytest.approx(best)


@pytest.mark.slow
def test_report_shows_relative_capacity_as_figure_and_table(make_cells, write_run, tmp_path):
    """And no heading of what there is not."""
    rows = make_cells({"gpt2": 1.0, "llama": 0.8}, sizes=((4, 2),))
    folder = write_run(tmp_path / "run", rows, with_cells=False)
    page = write_report(folder).read_text(encoding="utf-8")
    assert "<h2>Relative capacity" in page
    assert "R at the same layers and heads" in page
    assert (folder / "figures" / "architectures.svg").stat().st_size > 0
    assert "<h2>Junk" not in page


@pytest.mark.parametrize(
    ("make_table", "n_lines"),
    # 5 families beside gpt2; 3 variants of LLaMA and GPT-2; one case; 3 bands of 3 sizes.
    [(architectures_table, 5), (ladder_table, 4), (junk_table, 1), (bands_table, 9)],
)
def test_tables_have_a_line_for_each_comparison(make_table, n_lines, folder):
    """A cell for each heading, and no table where the rows have nothing for it."""
    used = load_results([folder]).used
    names = Names.of(used["dataset"])
    table = make_table(used, names)
    assert len(table.rows) == n_lines
    assert all(len(row.cells) == len(table.heads) for row in table.rows)
    assert make_table(used.iloc[:0], names) is None

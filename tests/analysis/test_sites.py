"""Where knowledge is, as tables and a figure."""

import json

import pandas as pd
import pytest

from analysis.figures.sites import draw_layers, draw_sites
from analysis.figures.style import NothingToDrawError
from analysis.sites import find_layers, find_sites
from analysis.tables import make_table

SITE = {"table": "bioS", "demand_bits": 100.0, "stored_bits": 40.0, "loss_nats": 3.0}


def rows_of(sites: object, layers: object) -> pd.DataFrame:
    cell = {
        "dataset": "bioS",
        "n_people": 50,
        "exposures": 100,
        "arch": "gpt2",
        "optimizer": "adamw",
        "model": "gpt2-2-2",
        "n_params": 1000,
        "seed": 0,
        "quantization": "none",
        "capacity_ratio": 0.4,
    }
    return pd.DataFrame([{**cell, "sites": sites, "layers": layers}])


def both() -> pd.DataFrame:
    sites = [
        {**SITE, "attribute": "name", "token_nats": [1.0, 2.0]},
        {**SITE, "attribute": "year", "demand_bits": None, "token_nats": [3.0]},
    ]
    return rows_of(json.dumps(sites), json.dumps([0.1, None]))


def test_a_row_per_attribute_and_per_layer() -> None:
    sites = find_sites(both())
    assert sites["share"].tolist()[0] == 0.4 and pd.isna(sites["share"].tolist()[1])
    assert sites["token_2_nats"].tolist()[0] == 2.0
    layers = find_layers(both())
    assert layers["layer"].tolist() == [1, 2] and layers["whole"].tolist() == [0.4, 0.4]
    records = make_table("layers", both())
    assert [record["without"] for record in records] == [0.1, None]
    assert len(make_table("sites", both())) == 2


def test_rows_of_earlier_versions_have_none() -> None:
    assert find_sites(rows_of(None, None)).empty and find_layers(rows_of("", None)).empty
    with pytest.raises(NothingToDrawError):
        draw_sites(find_sites(rows_of(None, None)))
    with pytest.raises(NothingToDrawError):
        draw_layers(find_layers(rows_of(None, "")))


def test_the_figure_shows_what_is_known() -> None:
    figure = draw_sites(find_sites(both()))
    (line,) = [line for line in figure.axes[0].lines if line.get_marker() not in ("", "None")]
    assert line.get_ydata().tolist() == [0.4]  # pyright: ignore


def test_the_figure_of_layers_begins_with_the_whole_model() -> None:
    """R is 0.4 as it is and 0.1 without layer 1; that of layer 2 is not known."""
    figure = draw_layers(find_layers(both()))
    (line,) = [line for line in figure.axes[0].lines if line.get_marker() not in ("", "None")]
    assert list(line.get_xdata()) == [0, 1]  # pyright: ignore
    assert list(line.get_ydata()) == [0.4, 0.1]  # pyright: ignore

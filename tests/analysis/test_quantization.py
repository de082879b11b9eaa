"""How rows say that they were quantized, and the figures about it."""

import json
from collections.abc import Iterable
from typing import Any

import matplotlib.colors
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis.claims.relative import QUANTIZED
from analysis.figures.style import NothingToDrawError
from analysis.load import load_results
from analysis.plots import Inputs, draw
from analysis.quantizers import DEFAULTS, find_quantized, quantizer_of
from analysis.runs import runs_of
from kcap_ray.quantize.config import QuantizeConfig

KEPT = {8: 0.998, 6: 0.98, 5: 0.93, 4: 0.8, 3: 0.35, 2: -0.4}
"""Share of R that is left, as GPTQ leaves it in small models."""
WAYS = [
    *(QuantizeConfig(bits=bits) for bits in KEPT),
    *(QuantizeConfig(bits=bits, method="rtn") for bits in KEPT),
    *(QuantizeConfig(bits=bits, method="hqq") for bits in (4, 3)),
    *(QuantizeConfig(bits=bits, embedding=True) for bits in KEPT),
    *(QuantizeConfig(bits=bits, finetune_exposures=5) for bits in (4, 3, 2)),
    QuantizeConfig(method="fp16", bits=16),
    QuantizeConfig(method="fp16", bits=16, finetune_exposures=5),
    *(
        QuantizeConfig(bits=4, calibration=kind, calibration_people=n)
        for kind in ("people", "junk", "random_tokens")
        for n in (10, 100, 1000)
        if (kind, n) != ("people", 1000)  # the default
    ),
]


def kept(config: QuantizeConfig) -> float:
    """Share of R that is left, made up but in the right order."""
    if config.method == "fp16":
        return 1.0
    share = KEPT[config.bits] - {"gptq": 0.0, "rtn": 0.1, "hqq": 0.05}[config.method]
    share -= 0.05 * config.embedding
    share -= {"people": 0.0, "junk": 0.03, "random_tokens": 0.15}[config.calibration]
    share -= 0.04 * (3 - np.log10(config.calibration_people))
    return share + (1 - share) * 0.7 * (config.finetune_exposures > 0)


def bits_per_weight(config: QuantizeConfig) -> float:
    """Of a model half of which is the embedding."""
    if config.method == "fp16":
        return 16.0
    return config.bits + 16 / 128 if config.embedding else (config.bits + 16 / 128 + 16) / 2


def quantized(rows: pd.DataFrame, ways: Iterable[QuantizeConfig] = WAYS) -> pd.DataFrame:
    """The rows, and each of them quantized in all ways."""
    rng = np.random.default_rng(0)
    found: list[dict[Any, Any]] = []
    for row in rows.assign(bits_per_weight=32.0, quantization_config=None).to_dict("records"):
        found.append(row)
        for config in ways:
            share = kept(config) * np.exp(rng.normal(0, 0.01))
            own = {
                "quantization": config.label,
                "quantization_config": json.dumps(config.to_dict()),
                "capacity_ratio": row["capacity_ratio"] * share,
                "stored_bits": row["stored_bits"] * share,
                "bits_per_weight": bits_per_weight(config),
            }
            found.append({**row, **own})
    return pd.DataFrame(found)


@pytest.fixture(name="rows")
def rows_fixture(make_cells) -> pd.DataFrame:
    """Two data sets of three sizes and two seeds, quantized in all ways."""
    return quantized(make_cells({"gpt2": 1.1}, n_people=(400, 1600), seeds=(0, 1)))


def figure_of(name: str, rows: pd.DataFrame, write_run, tmp_path) -> Figure:
    results = load_results([write_run(tmp_path, rows, with_cells=False)])
    return draw(name, Inputs(results=results, fits=(), exposure_fits=()))


def texts(figure: Figure) -> str:
    return " ".join(t.get_text() for t in figure.findobj(Text))


def points(figure: Figure, panel: int = 0) -> np.ndarray:
    """Every point of every line of a panel."""
    return np.concatenate([np.asarray(line.get_xydata()) for line in figure.axes[panel].lines])


def is_among(point: tuple[float, float], drawn: np.ndarray) -> bool:
    return bool(np.isclose(drawn, point, rtol=1e-6).all(axis=1).any())


def test_a_label_and_its_settings_are_read_back():
    """Of every way that `kcap quantize` has: method, bits, and what was not left as it was."""
    for config in [*WAYS, QuantizeConfig(backend="auto-gptq", group_size=None, act_order=True)]:
        found = quantizer_of(config.label, json.dumps(config.to_dict()))
        assert (found.method, found.bits) == (config.method, config.bits)
        assert found.changed == set(config.non_default(tuple(DEFAULTS)))
        assert found.is_float == (config.method == "fp16")


def test_defaults_are_those_of_the_quantizer():
    """A row without settings is read as the defaults of `kcap quantize`."""
    fresh = QuantizeConfig().to_dict()
    assert {name: fresh[name] for name in DEFAULTS} == DEFAULTS
    assert quantizer_of("gptq-int8-g128", None).changed == set()


@pytest.mark.parametrize(
    ("settings", "variant"),
    [
        ({"bits": 4}, "gptq-g128"),
        ({"bits": 4, "calibration": "random_tokens", "calibration_people": 10}, "gptq-g128"),
        ({"bits": 3, "calibration": "junk", "embedding": True}, "gptq-g128-embedding"),
        ({"bits": 2, "method": "rtn", "group_size": None}, "rtn-row"),
        ({"bits": 16, "method": "fp16", "finetune_exposures": 5}, "fp16-finetune5"),
        (
            {"bits": 8, "backend": "auto-gptq", "finetune_exposures": 5},
            "gptq-g128-auto-gptq-finetune5",
        ),
    ],
)
def test_variant_is_the_label_without_bits_and_calibration(settings, variant):
    """So all widths of one method share a line, and all calibrations a panel."""
    config = QuantizeConfig(**settings)
    found = quantizer_of(config.label, json.dumps(config.to_dict())).variant
    assert found == variant


def test_only_the_model_of_largest_ratio_of_a_seed_is_a_peak(rows):
    """One of the three sizes for each number of people and seed, in all ways alike."""
    found = find_quantized(rows)
    assert len(found) == len(rows)
    peaks = {one.run.cell for one in found if one.is_peak}
    assert len(peaks) == 2 * 2
    assert sum(one.is_peak for one in found) == len(peaks) * (1 + len(WAYS))


def test_cells_that_were_not_quantized_are_left_out(make_cells):
    """A run without quantized rows has none of these figures."""
    assert find_quantized(make_cells({"gpt2": 1.1})) == []


def test_capacity_is_drawn_before_and_after_gptq(rows, write_run, tmp_path):
    """A point for every cell as trained and at 8 and 4 bits with default settings; no other."""
    figure = figure_of("quantization", rows, write_run, tmp_path)
    drawn = points(figure)
    for row in rows.to_dict("records"):
        point = (row["n_params"], row["stored_bits"])
        is_shown = row["quantization"] in ("none", "gptq-int8-g128", "gptq-int4-g128")
        assert is_among(point, drawn) == is_shown
    assert "gptq-int8-g128" in texts(figure)
    assert "embedding" not in texts(figure)


def test_other_solvers_are_drawn_where_ours_was_not_asked(make_cells, write_run, tmp_path):
    """They agree with ours, and would hide its points."""
    cells = make_cells({"gpt2": 1.1}, seeds=(0,))
    theirs = QuantizeConfig(bits=4, backend="auto-gptq")
    alone = figure_of("quantization", quantized(cells, [theirs]), write_run, tmp_path / "alone")
    assert theirs.label in texts(alone)
    rows = quantized(cells, [theirs, QuantizeConfig(bits=4)])
    both = figure_of("quantization", rows, write_run, tmp_path / "both")
    assert theirs.label not in texts(both)


def test_models_that_lost_everything_are_mentioned(make_cells, write_run, tmp_path):
    """A logarithmic axis has no place for them."""
    ways = [QuantizeConfig(bits=8), QuantizeConfig(bits=4)]
    rows = quantized(make_cells({"gpt2": 1.1}, seeds=(0,)), ways)
    is_int4 = rows["quantization"] == "gptq-int4-g128"
    rows.loc[is_int4, ["capacity_ratio", "stored_bits"]] *= -1
    shown = texts(figure_of("quantization", rows, write_run, tmp_path))
    assert "3 model(s) that store no bits (gptq-int4-g128)" in shown


def labels_of(figure: Figure, panel: int = 0) -> list[str]:
    return [label.get_text() for label in figure.axes[panel].get_yticklabels()]


@pytest.mark.slow
def test_each_bit_width_and_method_has_a_labelled_row(rows, write_run, tmp_path):
    """R and R over the effective bits per weight, means over the peaks, most bits first: with
    floats at 16 and 32, without unusual calibrations, and told by names instead of colours.
    """
    figure = figure_of("bit_width", rows, write_run, tmp_path)
    names = labels_of(figure)
    assert names[0] == "as trained"
    assert set(names[1:3]) == {"fp16-finetune5", "fp16"}
    # Four ways at 4 bits with default calibration: rtn, gptq, hqq, with embedding; and fine-tuned.
    at_four = names[names.index("gptq-g128-finetune5") :][:5]
    assert set(at_four) >= {"gptq-g128", "rtn-g128", "hqq-g128", "gptq-g128-embedding"}
    peaks = [one for one in find_quantized(rows) if one.is_peak]
    for label, place in (("none", 0), ("fp16", names.index("fp16"))):
        own = [one for one in peaks if one.quantizer.label == label]
        mean = float(np.mean([one.run.ratio for one in own]))
        assert is_among((mean, place), points(figure, 0))
        assert is_among((mean / own[0].bits_per_weight, place), points(figure, 1))
    colours = {line.get_color() for axes in figure.axes for line in axes.lines}
    assert all(len(set(matplotlib.colors.to_rgb(colour))) == 1 for colour in colours)


@pytest.mark.slow
def test_two_bits_do_not_take_all_the_room(rows, write_run, tmp_path):
    """Values far below 0 are cut off, and that is said."""
    figure = figure_of("bit_width", rows, write_run, tmp_path)
    for axes in figure.axes:
        low, high = axes.get_xlim()
        assert low >= -0.5 * high
    assert "Arrows: further out, at the number beside them" in texts(figure)
    lost = [o for o in find_quantized(rows) if o.is_peak and o.quantizer.label == "rtn-int2-g128"]
    assert f"{np.mean([one.run.ratio for one in lost]):.2g}" in texts(figure)


def test_calibrations_are_drawn_over_the_people_read(rows, write_run, tmp_path):
    """One panel, for the one method and width that was calibrated in several ways, with a line for
    each kind of text: mean share of R that is left.
    """
    figure = figure_of("calibration", rows, write_run, tmp_path)
    assert len(figure.axes) == 1
    assert "gptq-g128, int4" in " ".join(texts(figure).split())
    found = [one for one in find_quantized(rows) if one.is_peak]
    before = {one.run.cell: one.run.ratio for one in found if one.quantizer.label == "none"}
    for label, n_read in (("gptq-int4-g128", 1000), ("gptq-int4-g128-junk-people10", 10)):
        own = [one for one in found if one.quantizer.label == label]
        shares = [one.run.ratio / before[one.run.cell] for one in own]
        assert is_among((n_read, float(np.mean(shares))), points(figure))
    lines = {line.get_label() for line in figure.legends[0].get_lines()}
    assert lines == {"people of the data", "other people", "random tokens"}


def test_the_claim_about_gptq_is_judged_by_its_default_settings(make_cells):
    """Fine-tuned models and other calibrations are not the paper's."""
    runs = runs_of(quantized(make_cells({"gpt2": 1})))
    found = [one for stated in QUANTIZED for one in stated.find(runs)]
    names = dict.fromkeys(one.subject.name for one in found)
    assert list(names) == ["gpt2 gptq-int8-g128", "gpt2 gptq-int4-g128"]


@pytest.mark.parametrize("name", ["capacity", "ratio"])
def test_figures_of_the_law_show_models_as_trained(name, rows, write_run, tmp_path):
    """A panel for each of dozens of quantizations would hide them."""
    figure = figure_of(name, rows, write_run, tmp_path)
    assert len(figure.axes) == 1
    assert "gptq" not in texts(figure)


@pytest.mark.parametrize("name", ["quantization", "bit_width", "calibration"])
def test_figures_without_quantized_rows_say_what_they_need(name, make_cells, write_run, tmp_path):
    """A run as it is before `kcap quantize`."""
    with pytest.raises(NothingToDrawError, match=rf"^{name}: no finished .*quantized"):
        figure_of(name, make_cells({"gpt2": 1.1}), write_run, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quantization", "bit_width", "calibration"])
def test_panels_stay_inside_the_figure_and_apart(name, rows, make_cells, write_run, tmp_path):
    """With two families, so that there are several panels."""
    both = pd.concat([rows, quantized(make_cells({"llama": 0.9}, seeds=(0, 1)))])
    figure = figure_of(name, both, write_run, tmp_path)
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [box for axes in figure.axes if (box := axes.get_tightbbox(renderer)) is not None]
    assert len(boxes) > 1
    boxes += [found.get_window_extent(renderer) for found in figure.legends]
    for i, box in enumerate(boxes):
        assert box.x0 >= -1 and box.x1 <= figure.bbox.width + 1
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])

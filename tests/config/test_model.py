"""Models that are brought along, as a sweep file asks for them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kcap_ray.config.cell import Cell, ModelConfig
from kcap_ray.config.contents import with_source
from kcap_ray.config.errors import UserError
from kcap_ray.config.model import Settings
from kcap_ray.planning.sweep import Sweep, load_sweep
from tests.tiny import tiny_cell

HF = Settings(model_type="qwen3", hidden_size=16)
BASE = """
base:
  data: {kind: bioD, pools: mini, n_people: 12, K: 2, C: 2, D: 4, L: 2, T: 20, style: compact}
  train: {exposures: 3, batch_windows: 2, window_tokens: 32, precision: fp32}
  train.lr: 1.0e-3
  train.weight_decay: 0.1
"""


def swept(folder: Path, model: str, overrides: dict[str, str] | None = None) -> Sweep:
    file = folder / "sweep.yaml"
    file.write_text(BASE + model, encoding="utf-8")
    return load_sweep(file, overrides)


def with_model(**model: Any) -> Cell:
    return replace(tiny_cell(), model=ModelConfig(**model))


def test_a_grid_mixes_names_files_and_configurations(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("", encoding="utf-8")
    grid = """
grid:
  model:
    - gpt2-1-1
    - {hf: {model_type: qwen3, rope_parameters: {rope_theta: 10.0}, layer_types: [full_attention]}}
    - {file: mine.py, build: M, kwargs: {width: 8}, label: small}
  model.head_dim: [8]
"""
    named, hf, own = swept(tmp_path, grid).cells
    assert named.model.name == "gpt2-1-1" and not named.model.is_own
    assert hf.model.hf == {
        "model_type": "qwen3",
        "rope_parameters": {"rope_theta": 10.0},
        "layer_types": ["full_attention"],
    }
    assert own.model.kwargs == {"width": 8} and own.model.title == "M-small"
    assert "-M-small-s0-" in own.cell_id and "-hf-qwen3-" in hf.cell_id
    for cell in (named, hf, own):
        assert Cell.from_dict(cell.to_dict()) == cell
        assert hash(cell.model) == hash(Cell.from_dict(cell.to_dict()).model)


def test_settings_of_a_model_are_axes_and_can_be_set(tmp_path: Path) -> None:
    base = "  model: {hf: {model_type: qwen3, hidden_size: 16}}\n"
    grid = "grid:\n  model.hf.num_hidden_layers: [1, 2]\n"
    cells = swept(tmp_path, base + grid, {"model.hf.hidden_size": "32"}).cells
    assert [cell.model.hf for cell in cells] == [
        {"model_type": "qwen3", "hidden_size": 32, "num_hidden_layers": n} for n in (1, 2)
    ]
    (cell,) = swept(tmp_path, base, {"model": "gpt2-1-1"}).cells
    assert (cell.model.name, cell.model.hf) == ("gpt2-1-1", None)


def test_contents_and_settings_are_the_identity_and_place_and_label_are_not(tmp_path: Path) -> None:
    places = [tmp_path / "a.py", tmp_path / "b.py", tmp_path / "c.py"]
    for place, text in zip(places, ("x = 1", "x = 1", "x = 2"), strict=True):
        place.write_text(text, encoding="utf-8")
    here, there, changed = (
        with_source(ModelConfig(file=str(place), build="M", kwargs=Settings(n=1)))
        for place in places
    )
    base = tiny_cell()
    ids = [replace(base, model=model).cell_id for model in (here, there, changed)]
    assert ids[0] == ids[1] != ids[2]
    others = [
        replace(here, build="N"),
        replace(here, kwargs=Settings(n=2)),
        replace(here, kwargs=None),
    ]
    assert len({ids[0], *(replace(base, model=model).cell_id for model in others)}) == 4
    labelled = replace(base, model=replace(here, label="x")).cell_id
    assert labelled.rpartition("-")[2] == ids[0].rpartition("-")[2]
    # Settings of kcap's own models are none of theirs.
    assert replace(base, model=replace(here, head_dim=8)).cell_id == ids[0]


def test_equal_numbers_are_one_setting() -> None:
    one, other = (with_model(hf=Settings(HF, x=value, y=[value])) for value in (1, 1.0))
    assert one.cell_id == other.cell_id


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({}, "model: write a name"),
        ({"name": "gpt2-1-1", "hf": HF}, "name and hf each say which one"),
        ({"file": "a.py"}, "file and build belong together"),
        ({"build": "M", "hf": HF}, "file and build belong together"),
        ({"hf": Settings(hidden_size=1)}, "has no model_type"),
        ({"hf": HF, "kwargs": Settings(a=1)}, "model.kwargs"),
        ({"name": "gpt2-1-1", "label": "x"}, "model.label"),
        ({"hf": HF, "label": "a/b"}, "model.label"),
        ({"hf": Settings(model_type="../x")}, "model.hf.model_type"),
        ({"file": "a.py", "build": "a.b"}, "model.build"),
    ],
)
def test_what_is_no_model_is_refused(model: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        with_model(**model)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("  train.steps: 3\n", "no value for model"),
        ("  model: {hf: 3}\n", "model.hf: got 3"),
        ("  model: {hf: {model_type: qwen3, a.b: 1}}\n", "without a dot"),
        ("  model: {hf: {model_type: qwen3, day: 2026-01-01}}\n", "model.hf.day"),
        ("  model: {file: absent.py, build: M}\n", "model.file: absent.py: no such file"),
        ("  model: {files: absent.py, build: M}\n", "did you mean model.file?"),
    ],
)
def test_a_sweep_file_says_what_is_wrong_with_its_model(
    tmp_path: Path, model: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        swept(tmp_path, model)


def test_own_models_get_gpt2s_settings_and_the_plan_says_so(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "base: {data.n_people: 50_000, train.exposures: 100, model: {hf: {model_type: qwen3}}}",
        encoding="utf-8",
    )
    sweep = load_sweep(file)
    assert "gpt2 in place of own" in sweep.notes[0]

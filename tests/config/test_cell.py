import dataclasses
import json
from typing import Any

import pytest

from kcap_ray.config.cell import Cell, ModelConfig, Range, TrainConfig, TuneConfig
from kcap_ray.config.data import DataConfig
from kcap_ray.config.errors import UserError
from tests.tiny import BIOD, BIOS, tiny_cell

CELLS = [
    tiny_cell(BIOS),
    tiny_cell(BIOD, grad_clip=1.0),
    tiny_cell(tune=TuneConfig(trials=3, lr=Range(low=1e-4, high=1e-2), fused=2)),
    tiny_cell(
        model="gpt2-2-2-mlp1/4",
        tune=TuneConfig(trials=2, weight_decay=Range(low=0.0, high=1.0, log=False)),
    ),
]


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_comes_back_from_json(cell: Cell) -> None:
    """`from_dict` is the inverse of `to_dict`, through JSON too, and keeps the identity."""
    back = Cell.from_dict(json.loads(json.dumps(cell.to_dict())))
    assert back == cell
    assert back.cell_id == cell.cell_id


def test_the_id_is_readable_and_can_name_a_directory() -> None:
    """It says what the cell is, and has no slash, even where the model's name has one."""
    cell = tiny_cell(model="gpt2-2-2-mlp1/4", seed=7)
    assert cell.cell_id.startswith("bioD-n12-e10-gpt2-2-2-mlp1_4-s7-")
    assert "/" not in cell.cell_id


def test_a_cell_cannot_be_changed() -> None:
    """A cell is a value: `replace` makes another one."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny_cell().seed = 1  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("make", "wrong", "needed"),
    [
        (DataConfig, {"n_people": 0}, r"data\.n_people: got 0; at least 1"),
        (
            DataConfig,
            {"n_people": 5, "kind": "bios"},
            r"data\.kind: got 'bios' \(did you mean bioS\?\); allowed are bioS",
        ),
        (DataConfig, {"n_people": 5, "kind": "bioD", "K": 3}, r"bioD needs data\.C, data\.D"),
        (DataConfig, {"n_people": 5, "K": 3}, r"data\.K: only for data\.kind: bioD"),
        (DataConfig, {"n_people": 5, "style": "compact"}, r"data\.style: only for data\.kind"),
        (ModelConfig, {"name": "gpt2-1-1", "head_dim": 15}, r"model\.head_dim: got 15.*even"),
        (TrainConfig, {"lr": 0.0}, r"train\.lr: got 0\.0; it must be positive"),
        (TrainConfig, {"weight_decay": -0.1}, r"train\.weight_decay: got -0\.1; at least 0"),
        (TrainConfig, {"grad_clip": 0.0}, r"train\.grad_clip: got 0\.0; a positive number"),
        (TrainConfig, {"precision": "fp8"}, r"train\.precision: got 'fp8'; allowed are fp32"),
        (TrainConfig, {"exposures": 0}, r"train\.exposures: got 0; at least 1"),
        (TrainConfig, {"batch_windows": 3, "workers": 4}, r"4 workers cannot share a batch of 3"),
        (TrainConfig, {"micro_windows": 0}, r"train\.micro_windows: got 0; at least 1"),
        (TuneConfig, {"trials": 0}, r"tune\.trials: got 0; at least 1"),
        (TuneConfig, {"trials": 2}, r"neither tune\.lr nor tune\.weight_decay has a range"),
        (TuneConfig, {"fused": 0}, r"tune\.fused: got 0; at least 1"),
        (Range, {"low": 0.0, "high": 1.0}, r"needs 0 < low <= high when log"),
        (Range, {"low": 2.0, "high": 1.0}, r"low 2\.0, high 1\.0"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(
    make: type, wrong: dict[str, Any], needed: str
) -> None:
    """`UserError` names the key, what was given and what to write."""
    rest = dataclasses.asdict(tiny_cell().train) if make is TrainConfig else {}
    with pytest.raises(UserError, match=needed):
        make(**{**rest, **wrong})


def test_a_range_clips_to_its_ends() -> None:
    """The nearest value inside."""
    found = Range(low=0.1, high=1.0)
    assert [found.clip(value) for value in (0.01, 0.1, 0.5, 1.0, 7.0)] == [0.1, 0.1, 0.5, 1.0, 1.0]

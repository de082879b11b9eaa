"""Settings, and the names that results have of them."""

from typing import Any

import pytest

from kcap_ray.config.errors import UserError
from kcap_ray.quantize.config import QuantizeConfig

SETTINGS: list[dict[str, Any]] = [
    {},
    {"bits": 4},
    {"backend": "auto-gptq"},
    {"backend": "gptqmodel"},
    {"group_size": None},
    {"group_size": 64},
    {"symmetric": False},
    {"act_order": True},
    {"damping": 0.1},
    {"embedding": True},
    {"calibration_people": 10},
    {"calibration": "junk"},
    {"calibration": "random_tokens"},
    {"finetune_exposures": 5},
    {"method": "rtn"},
    {"method": "rtn", "embedding": True},
    {"method": "hqq"},
    {"method": "fp16", "bits": 16},
]


@pytest.mark.parametrize(
    ("label", "settings"),
    [
        ("gptq-int8-g128", {}),
        ("rtn-int4-g64-embedding", {"method": "rtn", "bits": 4, "group_size": 64, "embedding": 1}),
        ("hqq-int3-row", {"method": "hqq", "bits": 3, "group_size": None}),
        ("fp16", {"method": "fp16", "bits": 16}),
        ("fp16-finetune5", {"method": "fp16", "bits": 16, "finetune_exposures": 5}),
        ("gptq-int8-g128-auto-gptq-asymmetric", {"backend": "auto-gptq", "symmetric": False}),
    ],
)
def test_a_label_reads_as_the_setting(label: str, settings: dict[str, Any]) -> None:
    """Method, bits and groups, then all that is not the default."""
    assert QuantizeConfig(**settings).label == label


def test_different_settings_have_different_labels() -> None:
    """A row is found by its cell and label; labels are safe as names of directories."""
    labels = [QuantizeConfig(**settings).label for settings in SETTINGS]
    assert len(set(labels)) == len(labels)
    assert all(set(label) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.") for label in labels)


@pytest.mark.parametrize("settings", SETTINGS)
def test_settings_come_back_from_plain_values(settings: dict[str, Any]) -> None:
    """As rows and checkpoints keep them."""
    config = QuantizeConfig(**settings)
    assert QuantizeConfig(**config.to_dict()) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 9}, "--bits 9: write 2 to 8, or --method fp16"),
        ({"bits": 1}, "--bits 1: write 2 to 8"),
        ({"bits": 8, "method": "fp16"}, "--bits 8: method fp16 has 16"),
        ({"method": "awq"}, "--method: got 'awq'; allowed are gptq, rtn, hqq, fp16"),
        ({"backend": "hf"}, "--backend: got 'hf'; allowed are native, auto-gptq, gptqmodel"),
        ({"calibration": "c4"}, "--calibration: got 'c4'; allowed are people, junk, random_tokens"),
        ({"group_size": 0}, "--group-size 0: write a positive number"),
        ({"damping": 0.0}, "--damping 0.0: write a positive number"),
        ({"calibration_people": 0}, "--calibration-people 0: at least 1"),
        ({"finetune_exposures": -1}, "--finetune-exposures -1: 0 or more"),
        ({"method": "rtn", "act_order": True}, "act-order: not a setting of method rtn"),
        ({"method": "hqq", "calibration": "junk"}, "calibration: not a setting of method hqq"),
        ({"method": "hqq", "symmetric": False}, "symmetric: not a setting of method hqq"),
        ({"method": "fp16", "bits": 16, "embedding": True}, "embedding: not a setting of method"),
    ],
)
def test_a_mistake_is_said_in_one_line(settings: dict[str, Any], message: str) -> None:
    """What was given, what is allowed."""
    with pytest.raises(UserError) as raised:
        QuantizeConfig(**settings)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)

"""The JSON schema of sweep files says of each key and value what reading the file says."""

import json
from pathlib import Path
from typing import Any

import pytest

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError
from kcap_ray.config.field_texts import field_texts
from kcap_ray.config.json_schema import sweep_schema
from kcap_ray.config.schema import field_types
from kcap_ray.config.sweep_file import read_sections, read_where
from kcap_ray.config.yaml import parse_yaml, read_yaml

jsonschema = pytest.importorskip("jsonschema", reason="Ray brings it")

SCHEMA = sweep_schema()
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)
SWEEPS = sorted((Path(__file__).parents[2] / "sweeps").glob("*.yaml"))
PART = {"n_people": 5, "weight": 1.0}
VALUES = [1, 0.5, 1e5, "gpt2-1-1", "auto", "fp32", "bioS", "mixed", True, None, [], {}, [1]]
VALUES += [[PART], [{**PART, "wieght": 2}], [{"n_people": 5}], [{**PART, "n_people": "x"}]]
VALUES += [{"low": 0.1}, {"low": "x"}, {"n_people": 3}, {"hidden_size": 8}, {"a.b": 1}]
VALUES += [[{**PART, "frequency": {"zipf": 1}}], [{**PART, "frequency.zipf": "x"}]]


def is_read(content: Any) -> bool:
    """Whether the sections of a sweep file are taken."""
    try:
        read_sections(content, default_name="any")
    except UserError:
        return False
    return True


def is_valid(content: Any) -> bool:
    """Whether an editor would mark nothing."""
    return VALIDATOR.is_valid(content)


def test_it_is_a_schema_and_every_sweep_of_kcap_is_valid() -> None:
    """Of draft 7, as JSON holds it."""
    jsonschema.Draft7Validator.check_schema(json.loads(json.dumps(SCHEMA)))
    assert len(SWEEPS) > 20
    for path in SWEEPS:
        _, content = read_yaml(path)
        assert [error.message for error in VALIDATOR.iter_errors(content)] == [], path


@pytest.mark.slow
@pytest.mark.parametrize("section", ["base", "grid", "tune"])
def test_keys_and_values_are_judged_as_the_file_is_read(section: str) -> None:
    """Each key of a cell with values of every type, alone and within its group."""
    verdicts = []
    for key in (*field_types(), "train.exposure", "model.hf.hidden_size", "model.kwargs.a.b"):
        if section == "tune" and not key.startswith("tune."):
            continue
        inner = key.removeprefix("tune.") if section == "tune" else key
        for value in (*VALUES, *([[value] for value in VALUES] if section == "grid" else [])):
            group, _, name = inner.partition(".")
            for content in ({inner: value}, {group: {name: value}} if name else {}):
                whole = {section: content}
                verdicts.append(is_read(whole))
                assert is_valid(whole) == verdicts[-1], whole
    assert set(verdicts) == {True, False}


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"base": None, "where": None},
        {"bse": {}},
        {"base": 3},
        {"where": {"max_capacity_ratio": {"low": 1}}},
        {"where": {"max_capacity_ratio": {}}},
        {"where": {"max_capacity_ratio": {"lo": 1}}},
        {"where": {"n_params": {"low": 1}}},
        {"grid": {"model": {"hf": {"hidden_size": [8, 16]}}}},
        {"grid": {"model": {"hf": {"hidden_size": 8}}}},
        {"grid": {"model.hf.rope": {"theta": [1.0]}}},
        {"grid": {"model.hf.rope": {"theta": 1.0}}},
        {"grid": {"nothing": {}}},
        [],
        None,
    ],
)
def test_sections_are_judged_as_the_file_is_read(content: Any) -> None:
    """Also the range of R_max."""
    is_fine = is_read(content)
    if is_fine and "where" in content:
        try:
            read_where(content["where"])
        except UserError:
            is_fine = False
    assert is_valid(content) == is_fine


def test_numbers_are_read_as_editors_read_them() -> None:
    """YAML 1.2 takes 50_000 for a text."""
    text = "base: {data.n_people: 50_000, train.lr: 1e-3, train.exposures: 1_0x}"
    read = parse_yaml(text.replace("1_0x", "10"), origin="test")
    assert is_valid(read)
    assert is_valid({"base": {"data.n_people": "50_000", "train.lr": "1_000.5"}})
    assert not is_valid({"base": {"data.n_people": "50"}})
    assert not is_valid({"base": {"train.exposures": "1_0x"}})


def test_every_key_says_what_it_means() -> None:
    """The sentence under the field, on one line, and its default."""
    told = {key: SCHEMA["definitions"][f"key:{key}"] for key in field_types()}
    assert [key for key, schema in told.items() if not schema.get("description")] == []
    assert told["train.exposures"]["description"].startswith("Times that each person's facts")
    assert told["train.window_tokens"]["default"] == 512
    assert "\n" not in "".join(schema["description"] for schema in told.values())
    assert field_texts(Cell)["seed"].startswith("Seed of the initial weights")

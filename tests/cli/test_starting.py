"""`kcap init` writes sweeps that can be planned; `kcap schema` prints what editors go by."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kcap_ray.cli.main import app
from kcap_ray.config.json_schema import sweep_schema
from kcap_ray.config.yaml import read_yaml
from kcap_ray.planning.sweep import load_sweep

WIDE = "country,capital,continent\nFrance,Paris,Europe\nPeru, Lima ,\n\nJapan,Tokyo,Asia\n"
MODEL = """\
from torch import nn


def tiny(vocab_size, ctx_len):
    return nn.Sequential(nn.Embedding(vocab_size, 8), nn.Linear(8, vocab_size))
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to work in, with facts and a model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wide.csv").write_text(WIDE)
    (tmp_path / "my_model.py").write_text(MODEL)
    return tmp_path


def run(*arguments: str) -> str:
    """What a verb prints."""
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return done.stdout


def refused(*arguments: str) -> str:
    """What is said to a command that cannot be obeyed."""
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


OWN = [[], ["--facts", "wide.csv"], ["--model", "my_model.py:tiny"]]
OWN += [["--facts", "wide.csv", "--model", "my_model.py:tiny"]]


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["laptop", "gpu", "cluster"])
@pytest.mark.parametrize("own", OWN, ids=["plain", "facts", "model", "both"])
def test_what_is_written_is_planned_by_the_next_command(machine: str, own: list[str]) -> None:
    """As it is said, and by its name; the editor's schema takes it."""
    jsonschema = pytest.importorskip("jsonschema", reason="Ray brings it")
    *_, last = run("init", "mine", "--for", machine, *own).splitlines()
    next_command = last.removeprefix("next:").split()
    assert next_command[:3] == ["kcap", "plan", "mine.yaml"]
    planned = run(*next_command[1:], *(["--json"] if machine == "laptop" else []))
    assert planned
    sweep = load_sweep("mine")
    assert sweep.question.endswith("?") and sweep.name == "mine"
    assert any(cell.model.is_own for cell in sweep.cells) == ("--model" in own)
    assert not sweep.n_left_out or not own
    text, content = read_yaml(Path("mine.yaml"))
    assert text.startswith("# yaml-language-server: $schema=kcap.schema.json\n")
    schema = json.loads(Path("kcap.schema.json").read_text())
    assert [
        error.message for error in jsonschema.Draft7Validator(schema).iter_errors(content)
    ] == []


def test_a_table_becomes_facts() -> None:
    """A row a thing; an empty field says nothing, and is no fact."""
    run("init", "mine", "--facts", "wide.csv")
    assert Path("mine_facts.csv").read_text().splitlines() == [
        "name,attribute,value",
        "France,capital,Paris",
        "France,continent,Europe",
        "Peru,capital,Lima",
        "Japan,capital,Tokyo",
        "Japan,continent,Asia",
    ]
    (cell, *_) = load_sweep("mine").cells
    assert (cell.data.kind, cell.data.n_people) == ("tuples", 3)
    Path("other").mkdir()
    run("init", "other/again", "--facts", "mine_facts.csv")
    (same, *_) = load_sweep("other/again.yaml").cells
    assert same.cell_id.rpartition("-")[2] == cell.cell_id.rpartition("-")[2]


def test_long_facts_get_a_window_that_holds_them() -> None:
    """The plan has nothing to warn of."""
    value = "very " * 200 + "long"
    Path("long.csv").write_text(f"name,attribute,value\nA,story,{value}\nB,story,short\n")
    run("init", "mine", "--facts", "long.csv")
    sweep = load_sweep("mine")
    assert sweep.cells[0].train.window_tokens == 256
    assert not any("does not fit" in note for note in sweep.notes)


def test_nothing_is_overwritten() -> None:
    """Neither a sweep, nor facts, nor a file that has the schema's name and is none."""
    run("init", "mine")
    assert "mine.yaml is there already" in refused("init", "mine")
    Path("new_facts.csv").write_text("mine\n")
    assert "new_facts.csv is there already" in refused("init", "new", "--facts", "wide.csv")
    assert Path("new_facts.csv").read_text() == "mine\n"
    assert not Path("new.yaml").exists()
    Path("kcap.schema.json").write_text("{}")
    run("init", "other")
    assert Path("kcap.schema.json").read_text() == "{}"
    assert not Path("other.yaml").read_text().startswith("# yaml")


def test_an_earlier_schema_of_kcap_is_renewed() -> None:
    """It is known by its title."""
    schema = sweep_schema()
    Path("kcap.schema.json").write_text(json.dumps({"title": schema["title"], "old": 1}))
    run("init", "mine")
    assert json.loads(Path("kcap.schema.json").read_text()) == schema


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["quickstart"], "comes with kcap"),
        (["a b"], "names no sweep"),
        (["nowhere/mine"], "no such directory"),
        (["mine", "--facts", "none.csv"], "none.csv: there is no such file"),
        (["mine", "--facts", "my_model.py"], "none of .parquet, .csv, .jsonl"),
        (["mine", "--model", "my_model.py"], "my_model.py:MyLM"),
        (["mine", "--model", "none.py:MyLM"], "none.py: there is no such file"),
        (["mine", "--facts", "one.csv"], "one column"),
        (["mine", "--facts", "ragged.csv"], "row 3 has 3 fields"),
    ],
)
def test_mistakes_are_told_in_a_line_and_leave_nothing(arguments: list[str], words: str) -> None:
    """What was given, and what to write instead."""
    Path("one.csv").write_text("country\nPeru\n")
    Path("ragged.csv").write_text("country,capital\nPeru,Lima\nFrance,Paris,Seine\n")
    before = sorted(Path().iterdir())
    assert words in refused("init", *arguments)
    assert sorted(set(Path().iterdir()) - {Path("kcap.schema.json")}) == before


def test_the_schema_is_printed() -> None:
    """As JSON, and nothing else."""
    assert json.loads(run("schema")) == sweep_schema()

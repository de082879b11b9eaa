"""The verbs about finished models, as a stranger uses them."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from kcap_ray.cli.main import app
from tests.rounding import float64

SWEEP = """\
name: measured
base:
  data: {kind: bioD, pools: mini, n_people: 12, K: 2, C: 1, D: 5, L: 1, T: 20, style: compact}
  model: gpt2-1-1-mlp0
  model.head_dim: 16
  train: {exposures: 2, lr: 1.0e-3, weight_decay: 0.1, batch_windows: 2, precision: fp32}
  train.window_tokens: 32
grid:
  seed: [0, 1]
"""


def run(*arguments: object) -> Any:
    """A verb's result: exit_code, stdout, stderr."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A sweep of two cells, the row of the second, and its model's directory beside the sweep; the
    cell is trained and measured in float64.
    """
    path = tmp_path_factory.mktemp("models")
    (path / "sweep.yaml").write_text(SWEEP)
    with float64():
        done = run("run-cell", path / "sweep.yaml", "--out", path / "run", "--cell", "*-s1-*")
    assert done.exit_code == 0, done.output
    (cell_directory,) = (path / "run" / "cells").iterdir()
    with float64():
        exported = run("export", cell_directory, path / "model")
    assert exported.exit_code == 0, exported.output
    assert "import kcap_ray.models.hugging_face" in exported.stdout
    return path, json.loads((cell_directory / "result.json").read_text())


@pytest.mark.slow
@pytest.mark.usefixtures("in_float64")
def test_measure_prints_the_numbers_of_the_row(finished: tuple[Path, dict[str, Any]]) -> None:
    """For programs under the names of the table's columns, for people rounded."""
    path, row = finished
    options = ("measure", path / "model", "--data", path / "sweep.yaml", "--cell", "*-s1-*")
    found = json.loads(run(*options, "--json").stdout)
    assert found["cell_id"] == row["cell_id"]
    for name in ("stored_bits", "demand_bits", "capacity_ratio", "max_capacity_ratio"):
        assert found[name] == pytest.approx(row[name], rel=1e-10)
    shown = run(*options)
    assert shown.exit_code == 0
    for number in (f"{row['capacity_ratio']:.4f}", f"{row['n_params']:,}", row["cell_id"]):
        assert number in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], ["nowhere", "config.json"]),
        (["model", "--cell", "nonesuch"], ["nonesuch"]),
        (["model", "--set", "data.T=60"], ["lacks", "kcap"]),
        (["model", "--set", "data.kind=bioX"], ["bioX"]),
    ],
)
def test_measure_explains_a_mistake(
    finished: tuple[Path, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: list[str],
) -> None:
    """One or two lines that repeat what is wrong, and exit status 2."""
    monkeypatch.chdir(finished[0])
    done = run("measure", *arguments, "--data", "sweep.yaml")
    assert done.exit_code == 2
    assert done.stdout == ""
    assert 1 <= len(done.stderr.splitlines()) <= 2
    for word in words:
        assert word in done.stderr


def test_measure_asks_which_data_is_meant(finished: tuple[Path, dict[str, Any]]) -> None:
    """Cells that differ in seed only have one data set; of several data sets none is guessed."""
    path, _ = finished
    several = SWEEP.replace("n_people: 12, ", "") + "  data.n_people: [12, 13]\n"
    (path / "several.yaml").write_text(several)
    done = run("measure", path / "model", "--data", path / "several.yaml")
    assert done.exit_code == 2
    assert "4 cells with 2 different data sets match" in done.stderr
    assert "--cell bioD-n12" in done.stderr
    one_of_them = ("--data", path / "several.yaml", "--cell", "bioD-n12-*")
    assert run("measure", path / "model", *one_of_them).exit_code == 0


def test_measure_needs_data(finished: tuple[Path, dict[str, Any]]) -> None:
    """Bits are bits about something."""
    done = run("measure", finished[0] / "model")
    assert done.exit_code == 2
    assert "--data" in done.stderr

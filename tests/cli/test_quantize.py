"""`kcap quantize` as it is typed, in this process."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import kcap_ray.cli.output
import kcap_ray.cli.quantize
from kcap_ray.cli.main import app
from kcap_ray.execution.cell import run_cells
from kcap_ray.planning.sweep import Sweep, load_sweep
from kcap_ray.runs.manifest import write_manifest
from kcap_ray.runs.results import RunDirectory

SWEEP = """\
name: small
base:
  data: {kind: bioD, pools: mini, n_people: 12, K: 2, C: 1, D: 4, L: 1, T: 20, style: compact}
  model.head_dim: 16
  model: gpt2-1-1
  train: {exposures: 20, batch_windows: 2, window_tokens: 32, precision: fp32, init_std: 0.2}
  train.lr: 6.0e-3
  train.weight_decay: 0.01
grid:
  seed: [0, 1]
"""


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A sweep of two cells."""
    path = tmp_path_factory.mktemp("sweep") / "small.yaml"
    path.write_text(SWEEP)
    return load_sweep(path)


@pytest.fixture(scope="module")
def finished(sweep: Sweep, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Its run, which no test changes."""
    directory = RunDirectory(tmp_path_factory.mktemp("finished") / "run")
    directory.prepare()
    write_manifest(
        directory,
        name=sweep.name,
        question=sweep.question,
        sweep_file=sweep.path,
        cells=sweep.cells,
    )
    device = torch.device("cpu")
    run_cells(sweep.cells, sweep.neighbour, directory, sweep="small", device=device)
    directory.collect(sweep.cells)
    return directory


@pytest.fixture
def run(finished: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """A copy of it, for which reports are only named: they take seconds to write."""
    shutil.copytree(finished.path, tmp_path / "run")
    for module in (kcap_ray.cli.quantize, kcap_ray.cli.output):
        monkeypatch.setattr(module, "report_of", lambda path: path / "report.html")
    return RunDirectory(tmp_path / "run")


def kcap(*arguments: object) -> Any:
    """Result of a verb: exit_code, stdout, stderr."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    """What is said to a command that cannot be obeyed: at most two lines, exit status 2."""
    done = kcap("quantize", *arguments)
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert 1 <= len(done.stderr.splitlines()) <= 2
    return done.stderr


def rows_of(run: RunDirectory) -> pd.DataFrame:
    """results.parquet."""
    return pd.read_parquet(run.results_file)


def test_every_cell_is_quantized_at_every_width(run: RunDirectory, sweep: Sweep) -> None:
    """8 and 4 bits if nothing is said; a line each, a table and two paths; done ones are skipped;
    the sweep's own table keeps them.
    """
    done = kcap("quantize", run.path, "--in-process", "--group-size", 16)
    assert done.exit_code == 0, done.output
    logged = [line.split()[3] for line in done.stderr.splitlines()]
    assert logged == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]
    lines = done.stdout.splitlines()
    assert lines[-2:] == [
        f"report: {run.path / 'report.html'}",
        f"table:  {run.path / 'results.parquet'}",
    ]
    rows = rows_of(run)
    assert list(rows["quantization"]) == ["none", "gptq-int4-g16", "gptq-int8-g16"] * 2
    assert (rows["status"] == "ok").all()

    again = kcap("quantize", run.path, "--in-process", "--group-size", 16, "--bits", 4, "--bits", 3)
    assert again.exit_code == 0, again.output
    assert len(again.stderr.splitlines()) == 2
    resumed = kcap("run-cell", sweep.path, "--out", run.path)
    assert resumed.exit_code == 0, resumed.output
    assert len(rows_of(run)) == 2 + 6


def test_rows_are_json_alone(run: RunDirectory, sweep: Sweep) -> None:
    """Of `quantize` and of `run-cell`: all columns, and nothing else on standard output."""
    options = ["--in-process", "--group-size", 16, "--bits", 4, "--json"]
    done = kcap("quantize", run.path, *options)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [row["quantization"] for row in found] == ["gptq-int4-g16"] * 2
    assert "table:" in done.stderr
    again = kcap("run-cell", sweep.path, "--out", run.path, "--cell", "*-s1-*", "--json")
    assert again.exit_code == 0, again.output
    (row,) = json.loads(again.stdout)
    assert (row["cell_id"], row["status"]) == (sweep.cells[1].cell_id, "ok")
    assert row["capacity_ratio"] == rows_of(run)["capacity_ratio"].iloc[2]


def test_cells_and_settings_can_be_chosen(run: RunDirectory, sweep: Sweep) -> None:
    """By a glob; all options reach the row."""
    options = ["--bits", 3, "--group-size", "row", "--asymmetric", "--act-order", "--embedding"]
    options += ["--damping", 0.1, "--calibration-people", 5, "--calibration", "junk"]
    done = kcap("quantize", run.path, "--in-process", "--cell", "*-s1-*", *options)
    assert done.exit_code == 0, done.output
    rows = rows_of(run)
    label = "gptq-int3-row-asymmetric-actorder-damping0.1-junk-people5-embedding"
    assert list(rows["quantization"]) == ["none", "none", label]
    assert rows["cell_id"].iloc[2] == sweep.cells[1].cell_id


def test_fp16_needs_no_bits(run: RunDirectory) -> None:
    """One row for each cell, at 16 bits."""
    done = kcap("quantize", run.path, "--in-process", "--method", "fp16")
    assert done.exit_code == 0, done.output
    rows = rows_of(run)
    assert list(rows[rows["quantization"] == "fp16"]["bits_per_weight"]) == [16, 16]


def test_a_model_without_weights_fails_and_the_others_go_on(
    run: RunDirectory, sweep: Sweep
) -> None:
    """Exit status 1, a row with the reason, and one line about it; it can be tried again."""
    first = run.cell(sweep.cells[0].cell_id)
    first.checkpoint.rename(run.path / "kept")
    options = ["--in-process", "--method", "rtn", "--bits", 8]
    done = kcap("quantize", run.path, *options)
    assert done.exit_code == 1, done.output
    assert list(rows_of(run)["status"]) == ["ok", "failed", "ok", "ok"]
    assert done.stderr.splitlines()[-1].startswith("1 of 2 quantized models have no result")
    (run.path / "kept").rename(first.checkpoint)
    assert kcap("quantize", run.path, *options).exit_code == 1
    assert kcap("quantize", run.path, *options, "--retry-failed").exit_code == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--method", "awq"], ["--method", "awq", "hqq"]),
        (["--bits", 9], ["--bits 9", "2 to 8"]),
        (["--bits", "four"], ["--bits", "integer", "quantize --help"]),
        (["--backend", "triton"], ["--backend", "triton", "auto-gptq"]),
        (["--group-size", "big"], ["--group-size big", "row"]),
        (["--cell", "x*"], ["--cell x*", "no such cell"]),
        (["--method", "rtn", "--act-order"], ["act-order", "rtn"]),
        (["--device", "gpu", "--in-process"], ["--device gpu", "cpu"]),
    ],
)
def test_a_mistake_is_explained(run: RunDirectory, options: list[object], words: list[str]) -> None:
    """Before anything is quantized; nothing is left behind."""
    if "--device" in options and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    message = refused(run.path, *options)
    for word in words:
        assert word in message
    assert not list(run.path.glob("cells/*/quantized"))


def test_a_directory_that_is_no_run_is_named(tmp_path: Path, sweep: Sweep) -> None:
    """Neither is one in which no cell has finished."""
    assert "not a run directory" in refused(tmp_path)
    directory = RunDirectory(tmp_path / "run")
    directory.prepare()
    write_manifest(
        directory,
        name=sweep.name,
        question=sweep.question,
        sweep_file=sweep.path,
        cells=sweep.cells,
    )
    assert "none of 2 cells has a result" in refused(directory.path)

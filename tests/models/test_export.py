import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError
from kcap_ray.execution.cell import run_cell
from kcap_ray.execution.cell_run import CellRun
from kcap_ray.models.checkpoint import load_cell_model
from kcap_ray.models.export import export_cell
from kcap_ray.planning.run_length import spec_of
from kcap_ray.runs.results import CellDirectory
from kcap_ray.text.stream.corpus import build_corpus
from tests.rounding import assert_same_but_for_rounding
from tests.tiny import random_tokens, tiny_cell


def finished(path: Path, model: str) -> tuple[Cell, Path]:
    """A tiny cell of that model, trained."""
    cell = tiny_cell(model=model, exposures=3)
    run = CellRun(cell=cell, directory=CellDirectory(path), device=torch.device("cpu"))
    run_cell(run, sweep="tiny")
    return cell, path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cell, Path]:
    """A finished cell that can be exported."""
    return finished(tmp_path_factory.mktemp("trained") / "cell", "gpt2-1-1")


@pytest.mark.slow
@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize(
    "model",
    [
        "gpt2-2-2",
        "llama-1-2",
        "mistral-1-4",
        "gpt2-1-1-untied",
        "gpt2-1-1-mlp0",
        "llama-1-2-moe2-canon-ssd",
    ],
)
def test_the_exported_model_is_the_cells_best(tmp_path: Path, model: str) -> None:
    """transformers reads it and finds the same logits and the same parameter count."""
    cell, directory = finished(tmp_path / "cell", model)
    export_cell(directory, tmp_path / "out")
    ours, loaded_cell = load_cell_model(directory)
    ours.eval()
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    vocab_size = spec_of(cell).vocab_size
    tokens_BT = random_tokens(3, cell.train.window_tokens, vocab_size=vocab_size)
    with torch.no_grad():
        assert_same_but_for_rounding(ours(tokens_BT), theirs(tokens_BT).logits)
    assert loaded_cell == cell
    assert theirs.num_parameters() == spec_of(cell).n_params


def test_the_vocabulary_beside_it_reads_the_tokens(
    tmp_path: Path, trained: tuple[Cell, Path]
) -> None:
    """kcap_vocab.json has the GPT-2 id of every token of the model and its end of text."""
    cell, directory = trained
    export_cell(directory, tmp_path / "out")
    vocab = json.loads((tmp_path / "out" / "kcap_vocab.json").read_text())
    own = build_corpus(cell.data).vocab
    assert vocab == {"gpt2_ids": own.gpt2_ids.tolist(), "eos": own.eos}
    assert vocab["gpt2_ids"][vocab["eos"]] == 50_256
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["vocab_size"] == len(vocab["gpt2_ids"])
    assert config["eos_token_id"] == vocab["eos"]


def test_a_directory_without_weights_says_so(tmp_path: Path) -> None:
    """A cell that is not finished, or any other directory, is a mistake that names what to give."""
    with pytest.raises(UserError, match="no checkpoint of a finished cell in it; name DIR/cells"):
        export_cell(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["cell.json", "model.safetensors", "kcap_vocab.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_weights_that_cannot_be_read_say_so(
    tmp_path: Path, trained: tuple[Cell, Path], name: str, content: bytes
) -> None:
    """A damaged checkpoint is named, and nothing is written."""
    directory = tmp_path / "cell"
    shutil.copytree(trained[1], directory)
    (directory / "checkpoint" / name).write_bytes(content)
    with pytest.raises(
        UserError, match=r"checkpoint cannot be read .*; delete .* and run the cell again"
    ):
        export_cell(directory, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_to_is_named(
    tmp_path: Path, trained: tuple[Cell, Path]
) -> None:
    """An OUT that is a file is not overwritten."""
    _, directory = trained
    out = tmp_path / "out"
    out.write_text("mine")
    with pytest.raises(UserError, match="out: cannot write there"):
        export_cell(directory, out)
    assert out.read_text() == "mine"


def test_files_of_somebody_else_are_left_alone(tmp_path: Path, trained: tuple[Cell, Path]) -> None:
    """A directory with another model in it keeps it; what an export wrote may be written again."""
    _, directory = trained
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("mine")
    with pytest.raises(UserError, match="mine: holds files that kcap did not write"):
        export_cell(directory, tmp_path / "mine")
    assert [file.read_text() for file in (tmp_path / "mine").iterdir()] == ["mine"]
    assert export_cell(directory, tmp_path / "out") == export_cell(directory, tmp_path / "out")


@pytest.mark.parametrize(("model", "is_ours"), [("gpt2-1-1", False), ("gpt2-1-1-mlp0", True)])
def test_the_line_that_reads_it_is_in_its_readme(tmp_path: Path, model: str, is_ours: bool) -> None:
    """Only a model that transformers has no class for needs kcap to be read."""
    _, directory = finished(tmp_path / "cell", model)
    line = export_cell(directory, tmp_path / "out")
    assert ("import kcap_ray.models.hugging_face" in line) == is_ours
    assert line in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.slow
def test_the_line_that_reads_it_works_in_a_new_process(tmp_path: Path) -> None:
    """With transformers alone imported before."""
    _, directory = finished(tmp_path / "cell", "gpt2-1-1-mlp0")
    line = export_cell(directory, tmp_path / "out")
    code = f"from transformers import AutoModelForCausalLM; DIRECTORY = 'out'; {line}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr

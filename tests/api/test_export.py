"""An exported directory as somebody without kcap uses it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, GenerationConfig

from kcap_ray.api.export import export
from kcap_ray.config.cell import Cell, ModelConfig
from kcap_ray.config.data import DataConfig, JunkConfig
from kcap_ray.config.errors import UserError
from kcap_ray.config.model import Settings
from kcap_ray.execution.cell import run_cell
from kcap_ray.execution.cell_run import CellRun
from kcap_ray.measure.directory import measure_directory
from kcap_ray.runs.results import CellDirectory
from kcap_ray.text.kinds.render import biography_records, first_people
from kcap_ray.text.stream.corpus import build_corpus
from kcap_ray.text.tokenizer.hugging_face import save_tokenizer
from tests.models.test_own_model import QWEN, from_file
from tests.tiny import BIOD, BIOS, tiny_cell

CPU = torch.device("cpu")
MARKED = DataConfig(n_people=6, pools="mini", junk=JunkConfig(n_people=5, token=True))

WITHOUT_KCAP = """
import importlib.abc, sys
class NoKcap(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("kcap_ray", "analysis"):
            raise ModuleNotFoundError(f"No module named {name!r}")
sys.meta_path.insert(0, NoKcap())
"""


def finished(path: Path, cell: Cell) -> Path:
    run_cell(CellRun(cell=cell, directory=CellDirectory(path), device=CPU), sweep="tiny")
    return path


@pytest.mark.parametrize("data", [BIOS, BIOD, MARKED], ids=["bioS", "bioD", "marked"])
def test_the_tokenizer_gives_the_models_own_ids(tmp_path: Path, data: DataConfig) -> None:
    """Every biography is cut as it was for training, and comes back as it was written."""
    corpus = build_corpus(data)
    save_tokenizer(tmp_path, corpus.vocab.gpt2_ids.tolist(), n_tokens=128)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    people = first_people(corpus, corpus.main, 5)
    for exposure in range(3):
        for record in biography_records(corpus.main, people, exposure, "train", seed=0):
            ids = tokenizer(record["text"])["input_ids"]
            np.testing.assert_array_equal(ids, corpus.vocab.encode(record["token_ids"]))
            assert tokenizer.decode(ids) == record["text"]
    assert tokenizer.eos_token_id == corpus.vocab.eos
    if corpus.vocab.marker is not None:
        assert tokenizer.convert_tokens_to_ids("<|useful|>") == corpus.vocab.marker
    # Other text has ids, and comes back too.
    assert tokenizer.decode(tokenizer("Zürich?! \t ok")["input_ids"]) == "Zürich?! \t ok"


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        ModelConfig(name="gpt2-1-1", head_dim=16),
        ModelConfig(name="llama-1-2", head_dim=8),
        ModelConfig(hf=Settings(QWEN)),
    ],
    ids=lambda model: model.title,
)
def test_the_printed_example_runs_where_kcap_is_not_installed(
    tmp_path: Path, model: ModelConfig
) -> None:
    """Three lines; what they print is text of the data. Measured again, it has the cell's bits."""
    cell = tiny_cell(BIOD)
    cell = Cell(data=cell.data, model=model, train=cell.train)
    directory = finished(tmp_path / "cell", cell)
    example = export(directory, tmp_path / "out")
    assert len(example.strip().splitlines()) == 3
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_KCAP + example],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("<|endoftext|>") and len(done.stdout) > 20
    generation = GenerationConfig.from_pretrained(tmp_path / "out")
    assert generation.eos_token_id == build_corpus(cell.data).vocab.eos
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    row = CellDirectory(directory).result()
    assert row is not None and row.capacity_ratio is not None
    for said in (cell.cell_id, f"R = {row.capacity_ratio:.3f}", example.strip()):
        assert said in card
    found = measure_directory(tmp_path / "out", cell, device=CPU)
    assert found.stored_bits == pytest.approx(row.stored_bits, rel=1e-4)
    export(directory, tmp_path / "out")  # its own directory is written again


def test_a_model_from_a_file_is_not_exported_and_says_where_it_is(tmp_path: Path) -> None:
    cell = tiny_cell(BIOD)
    own = Cell(data=cell.data, model=from_file("Recurrent"), train=cell.train)
    directory = finished(tmp_path / "cell", own)
    with pytest.raises(UserError, match=r"no class for it.*model\.py"):
        export(directory, tmp_path / "out")


def test_the_card_says_whose_knowledge_it_is(tmp_path: Path) -> None:
    """Of made-up people that nothing is about anybody; facts of a file may be."""
    facts = tmp_path / "facts.csv"
    facts.write_text("name,attribute,value\nAda,city,Rome\nBob,city,Oslo\n")
    own = DataConfig(kind="tuples", n_people=2, file=str(facts))
    for data, said, unsaid in (
        (BIOD, "12 made-up people", "read from"),
        (own, "read from `facts.csv`", "made-up"),
    ):
        cell = tiny_cell(data, exposures=2)
        out = tmp_path / data.kind
        export(finished(tmp_path / f"cell-{data.kind}", cell), out)
        card = (out / "README.md").read_text(encoding="utf-8")
        assert said in card and unsaid not in card

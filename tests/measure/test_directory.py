import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertLMHeadModel,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from kcap_ray.config.cell import Cell
from kcap_ray.config.data import DataConfig, FrequencyConfig
from kcap_ray.config.errors import UserError
from kcap_ray.execution.cell import run_cell
from kcap_ray.execution.cell_run import CellRun
from kcap_ray.measure.directory import MeasureOptions, measure_directory
from kcap_ray.models.export import export_cell
from kcap_ray.runs.results import CellDirectory
from kcap_ray.text.tokenizer import bpe
from tests.tiny import BIOD, BIOS, tiny_cell

CPU = torch.device("cpu")
GPT2_IDS = MeasureOptions(gpt2_ids=True)
MEASURED = (
    "loss_name_nats",
    "loss_value_nats",
    "loss_value_attribute_nats",
    "loss_value1_nats",
    "loss_value1_attribute_nats",
    "name_bits",
    "value_bits",
    "diversity_bits",
    "stored_bits",
    "demand_bits",
    "capacity_ratio",
    "max_capacity_ratio",
    "n_params",
)
CELLS = {
    "bioS": tiny_cell(BIOS, exposures=20, lr=1e-2),
    "bioD": tiny_cell(BIOD, model="llama-1-2", exposures=20, lr=1e-2),
    "our own class": tiny_cell(BIOD, model="gpt2-1-2-mlp0-canon", exposures=20, lr=1e-2),
    "bands": tiny_cell(replace(BIOD, frequency=FrequencyConfig(zipf=1.0, bands=2)), lr=1e-2),
}


def exported(path: Path, cell: Cell) -> tuple[dict[str, Any], Path]:
    """The row of the cell, trained, and the directory of its model."""
    run = CellRun(cell=cell, directory=CellDirectory(path / "cell"), device=CPU)
    run_cell(run, sweep="tiny")
    export_cell(path / "cell", path / "out")
    return json.loads((path / "cell" / "result.json").read_text()), path / "out"


def add_gpt2_tokenizer(path: Path) -> None:
    """As a stranger's model has it: with a tokenizer, without our vocabulary."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe.tokenizer(), eos_token="<|endoftext|>")
    tokenizer.save_pretrained(path)
    (path / "kcap_vocab.json").unlink(missing_ok=True)


def assert_same(found: dict[str, Any], row: dict[str, Any]) -> None:
    """All measured numbers agree, but for what float64 rounds."""
    for name in MEASURED:
        if row[name] is None:
            assert found[name] is None
        else:
            assert found[name] == pytest.approx(row[name], rel=1e-10), name


@pytest.mark.slow
@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("kind", CELLS)
def test_an_exported_cell_measures_as_its_row(tmp_path: Path, kind: str) -> None:
    """From the files alone come the losses, bits, counts and ratios of the row."""
    row, path = exported(tmp_path, CELLS[kind])
    found = measure_directory(path, CELLS[kind], device=CPU).to_dict()
    assert_same(found, row)
    assert found["class"] == ("KcapForCausalLM" if kind == "our own class" else found["class"])
    bands = json.loads(row["groups"] or "null")
    assert (found["groups"] is None) == (bands is None)
    for ours, theirs in zip(found["groups"] or [], bands or [], strict=True):
        assert ours["stored_bits"] == pytest.approx(theirs["stored_bits"], rel=1e-10)


@pytest.mark.slow
@pytest.mark.usefixtures("in_float64")
def test_gpt2s_tokenizer_and_no_tokenizer_lead_to_the_same_numbers(tmp_path: Path) -> None:
    """A model over GPT-2's ids measures the same by our vocabulary, by its tokenizer, and by the
    size of its vocabulary alone.
    """
    cell = tiny_cell(replace(BIOS, vocab="full", n_people=4), exposures=1, lr=1e-2)
    row, path = exported(tmp_path, cell)
    by_size = shutil.copytree(path, tmp_path / "by_size")
    (by_size / "kcap_vocab.json").unlink()
    by_tokenizer = shutil.copytree(path, tmp_path / "by_tokenizer")
    add_gpt2_tokenizer(by_tokenizer)
    found = [
        measure_directory(p, cell, device=CPU, options=GPT2_IDS).to_dict()
        for p in (path, by_size, by_tokenizer)
    ]
    with pytest.raises(UserError, match=r"no tokenizer in it.*--gpt2-ids"):
        measure_directory(by_size, cell, device=CPU)
    for one in found:
        assert_same(one, row)
    assert len({one["tokens"] for one in found}) == 3


def gpt2(path: Path, **settings: Any) -> Path:
    """A tiny model of transformers over GPT-2's vocabulary, with all probabilities equal."""
    config = GPT2Config(**{"n_embd": 4, "n_layer": 1, "n_head": 1, "n_positions": 128, **settings})
    model = GPT2LMHeadModel(config)
    torch.nn.init.zeros_(model.transformer.wte.weight)
    model.save_pretrained(path)
    return path


@pytest.mark.usefixtures("in_float64")
def test_equal_probabilities_cost_the_logarithm_of_the_vocabulary(tmp_path: Path) -> None:
    """Each token of a name costs ln 50,257, and the name what rules out one person; a tied
    embedding counts once in P.
    """
    cell = tiny_cell(replace(BIOS, n_people=5))
    path = gpt2(tmp_path / "model")
    found = measure_directory(path, cell, device=CPU, options=GPT2_IDS).to_dict()
    tokens = (found["loss_name_nats"] - math.log(5 / 4)) / math.log(50_257)
    assert tokens == pytest.approx(round(5 * tokens) / 5, abs=1e-10)
    assert found["n_params"] == (50_257 + 128) * 4 + 12 * 4 * 4 + 9 * 4 + 4 * 4 + 2 * 4
    assert found["stored_bits"] < 0


def without_config(path: Path) -> None:
    gpt2(path)
    (path / "config.json").unlink()


def with_broken_config(path: Path) -> None:
    gpt2(path)
    (path / "config.json").write_text("{")


def with_an_unknown_type(path: Path) -> None:
    gpt2(path)
    (path / "config.json").write_text('{"model_type": "abacus"}')


def with_broken_weights(path: Path) -> None:
    gpt2(path)
    (path / "model.safetensors").write_bytes(b"broken")


def without_weights(path: Path) -> None:
    gpt2(path)
    (path / "model.safetensors").unlink()


def without_all_weights(path: Path) -> None:
    config = GPT2Config(n_embd=4, n_layer=1, n_head=1, n_positions=128, tie_word_embeddings=False)
    GPT2Model(config).save_pretrained(path)


def with_encoder_and_decoder(path: Path) -> None:
    config = T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=50)
    T5ForConditionalGeneration(config).save_pretrained(path)


def that_sees_the_future(path: Path) -> None:
    config = BertConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        vocab_size=bpe.VOCAB_SIZE,
    )
    BertLMHeadModel(config).save_pretrained(path)


def with_a_short_context(path: Path) -> None:
    gpt2(path, n_positions=16)


def with_other_tokens(path: Path) -> None:
    gpt2(path, vocab_size=60)


def with_a_broken_vocabulary(path: Path) -> None:
    gpt2(path)
    (path / "kcap_vocab.json").write_text('{"eos": 3}')


def with_a_vocabulary_of_other_data(path: Path) -> None:
    gpt2(path)
    (path / "kcap_vocab.json").write_text('{"gpt2_ids": [1, 2, 50256], "eos": 2}')


def with_a_vocabulary_of_another_model(path: Path) -> None:
    gpt2(path, vocab_size=60)
    ids = np.arange(bpe.VOCAB_SIZE).tolist()
    (path / "kcap_vocab.json").write_text(json.dumps({"gpt2_ids": ids, "eos": bpe.EOS}))


def with_a_broken_tokenizer(path: Path) -> None:
    gpt2(path)
    (path / "tokenizer.json").write_text("{")


def with_a_tokenizer_of_another_model(path: Path) -> None:
    gpt2(path, vocab_size=60)
    add_gpt2_tokenizer(path)


def with_a_tokenizer_without_an_end(path: Path) -> None:
    gpt2(path)
    PreTrainedTokenizerFast(tokenizer_object=bpe.tokenizer()).save_pretrained(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda path: None, ["no config.json", "kcap export"]),
        (without_config, ["no config.json"]),
        (with_broken_config, ["not a causal language model that can be read"]),
        (with_an_unknown_type, ["not a causal language model that can be read", "abacus"]),
        (with_broken_weights, ["not a causal language model that can be read"]),
        (without_weights, ["not a causal language model that can be read"]),
        (without_all_weights, ["1 of the weights of a GPT2LMHeadModel", "lm_head.weight"]),
        (with_encoder_and_decoder, ["not a causal language model that can be read"]),
        (that_sees_the_future, ["not causal"]),
        (with_a_short_context, ["reads 16 tokens", "longer context"]),
        (with_other_tokens, ["60 tokens are not GPT-2's 50257", "tokenizer.json"]),
        (with_a_broken_vocabulary, ["kcap_vocab.json cannot be read", "gpt2_ids"]),
        (with_a_vocabulary_of_other_data, ["lacks", "--cell"]),
        (with_a_vocabulary_of_another_model, ["50257 tokens and the model 60"]),
        (with_a_broken_tokenizer, ["tokenizer cannot be read"]),
        (with_a_tokenizer_of_another_model, ["its tokenizer gives token", "the model has 60"]),
        (with_a_tokenizer_without_an_end, ["no end of text", "--eos TOKEN"]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_directory_that_cannot_be_measured_says_why(
    tmp_path: Path, made: Any, words: list[str]
) -> None:
    """In one or two lines that name the directory, what is wrong and what to do."""
    path = tmp_path / "model"
    made(path)
    with pytest.raises(UserError) as caught:
        cell = tiny_cell(DataConfig(n_people=4, pools="mini"))
        measure_directory(path, cell, device=CPU, options=GPT2_IDS)
    message = str(caught.value)
    assert str(path) in message
    assert len(message.splitlines()) <= 2
    for word in words:
        assert word in message

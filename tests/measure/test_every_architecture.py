"""`kcap measure` on 29 architectures of transformers, held against a plain evaluation."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from kcap_ray.config.errors import UserError
from kcap_ray.config.model import Settings
from kcap_ray.measure.directory import MeasureOptions, measure_directory
from kcap_ray.models.own_hugging_face import hugging_face_model
from kcap_ray.text.evaluation import evaluation_documents
from kcap_ray.text.stream.corpus import build_corpus
from tests.tiny import BIOD, tiny_cell

CPU = torch.device("cpu")
CELL = tiny_cell(BIOD)
N_TOKENS = 64
LLAMA = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 32,
}
HEADS = {**LLAMA, "head_dim": 8}
EXPERTS = {**LLAMA, "num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2},
    "gpt_neox": {k: v for k, v in LLAMA.items() if k != "num_key_value_heads"},
    "gpt_neo": {
        "hidden_size": 16,
        "num_layers": 2,
        "num_heads": 2,
        "attention_types": [[["global", "local"], 1]],
    },
    "gptj": {"n_embd": 16, "n_layer": 2, "n_head": 2, "rotary_dim": 4},
    "gpt_bigcode": {"n_embd": 16, "n_layer": 2, "n_head": 2},
    "codegen": {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4},
    "bloom": {"hidden_size": 16, "n_layer": 2, "n_head": 2},
    "mpt": {"d_model": 16, "n_layers": 2, "n_heads": 2},
    "opt": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "ffn_dim": 32,
        "word_embed_proj_dim": 16,
    },
    "falcon": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    "llama": LLAMA,
    "mistral": LLAMA,
    "mixtral": {k: v for k, v in EXPERTS.items() if k != "num_experts"},
    "qwen2": LLAMA,
    "qwen3": HEADS,
    "gemma": HEADS,
    "gemma2": {**HEADS, "query_pre_attn_scalar": 8},
    "gemma3_text": {**HEADS, "query_pre_attn_scalar": 8},
    "phi": LLAMA,
    "phi3": LLAMA,
    "olmo": LLAMA,
    "olmo2": LLAMA,
    "olmoe": {k: v for k, v in EXPERTS.items() if k != "num_local_experts"},
    "stablelm": LLAMA,
    "starcoder2": LLAMA,
    "cohere": LLAMA,
    "granite": LLAMA,
    "mamba": {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 8},
    "mamba2": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_heads": 4,
        "head_dim": 8,
        "state_size": 8,
        "n_groups": 1,
        "chunk_size": 16,
    },
}


def saved(path: Path, kind: str, vocab_size: int, **changed: Any) -> torch.nn.Module:
    """A tiny model of the kind, with weights large enough to tell tokens apart."""
    torch.manual_seed(0)
    settings = Settings({"model_type": kind, **ARCHITECTURES[kind], **changed})
    model = hugging_face_model(settings, vocab_size, N_TOKENS).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(path)  # pyright: ignore[reportCallIssue]
    return model


def plainly(model: torch.nn.Module) -> tuple[float, float]:
    """Losses on names and on values in nats per person: one document at a time, in float64 from the
    logits on.
    """
    corpus = build_corpus(CELL.data)
    n_people, names, values = CELL.data.n_people, [], []
    for person in range(n_people):
        document = evaluation_documents(
            corpus.main,
            range(person, person + 1),
            CELL.seed,
            eos=corpus.vocab.eos,
            max_tokens=N_TOKENS,
        )
        tokens = torch.from_numpy(document.tokens_PT.astype(np.int64))
        with torch.no_grad():
            logits = model(tokens).logits[0].double()
        nats = -logits.log_softmax(-1)[:-1].gather(-1, tokens[0, 1:, None])[:, 0]
        target = torch.from_numpy(document.target_PT)[0, 1:]
        names.append(float(nats[target == 1].sum()))
        values.append(float(nats[target >= 2].sum()))
    return sum(names) / n_people + math.log(n_people / (n_people - 1)), sum(values) / n_people


@pytest.mark.slow
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_architecture_measures_as_a_plain_evaluation(tmp_path: Path, kind: str) -> None:
    """Losses agree to 1e-5: float32 in batches against one document at a time. `capacity_ratio` is
    by all weights, and all tokens of the vocabulary are used.
    """
    corpus = build_corpus(CELL.data)
    model = saved(tmp_path, kind, corpus.vocab.size)
    vocab = {"gpt2_ids": corpus.vocab.gpt2_ids.tolist(), "eos": corpus.vocab.eos}
    (tmp_path / "kcap_vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    found = measure_directory(tmp_path, CELL, device=CPU).to_dict()
    name, value = plainly(model)
    assert found["loss_name_nats"] == pytest.approx(name, rel=1e-5)
    assert found["loss_value_nats"] == pytest.approx(value, rel=1e-5)
    n_params = sum(parameter.numel() for parameter in model.parameters())
    assert found["n_params"] == found["n_params_used"] == n_params
    assert found["capacity_ratio"] == pytest.approx(found["stored_bits"] / n_params)


def test_there_are_at_least_25_architectures() -> None:
    assert len(ARCHITECTURES) >= 25


def byte_tokenizer(path: Path, n_extra: int = 0, **special: str) -> PreTrainedTokenizerFast:
    """One token per byte, which begins texts as its special tokens say."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: number for number, token in enumerate(alphabet)}
    vocab |= {token: len(vocab) + number for number, token in enumerate(special.values())}
    raw = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, **special)
    tokenizer.add_tokens([f"<extra{number}>" for number in range(n_extra)])
    tokenizer.save_pretrained(path)
    return tokenizer


def test_a_tokenizer_may_have_more_tokens_than_the_model_uses(tmp_path: Path) -> None:
    """Refused only where a text has one; P is counted a second time, by the rows that are used."""
    saved(tmp_path, "llama", 300, max_position_embeddings=256)
    byte_tokenizer(tmp_path, n_extra=100, eos_token="</s>")
    found = measure_directory(tmp_path, CELL, device=CPU).to_dict()
    unused = 300 - found["n_tokens_used"]
    assert 0 < unused < 300
    assert found["n_params"] - found["n_params_used"] == 2 * 16 * unused
    assert found["capacity_ratio_used"] == pytest.approx(
        found["stored_bits"] / found["n_params_used"]
    )


def test_documents_begin_as_the_tokenizer_begins_them_unless_told(tmp_path: Path) -> None:
    saved(tmp_path, "llama", 300, max_position_embeddings=256)
    byte_tokenizer(tmp_path, eos_token="</s>", bos_token="<s>")
    losses = {}
    for bos in ("auto", "yes", "no"):
        found = measure_directory(
            tmp_path, CELL, device=CPU, options=MeasureOptions(bos=bos)
        ).to_dict()
        losses[bos] = found["loss_name_nats"]
        assert found["begins_with_bos"] == (bos == "yes")  # this one adds nothing by itself
    assert losses["auto"] == losses["no"] != losses["yes"]
    with pytest.raises(UserError, match="write auto, yes or no"):
        MeasureOptions(bos="maybe")


def test_a_tokenizer_without_an_end_of_text_can_be_told_one(tmp_path: Path) -> None:
    saved(tmp_path, "llama", 300, max_position_embeddings=256)
    byte_tokenizer(tmp_path)
    with pytest.raises(UserError, match="--eos TOKEN"):
        measure_directory(tmp_path, CELL, device=CPU)
    with pytest.raises(UserError, match="no such token"):
        measure_directory(tmp_path, CELL, device=CPU, options=MeasureOptions(eos="absent"))
    found = measure_directory(tmp_path, CELL, device=CPU, options=MeasureOptions(eos="!")).to_dict()
    assert found["stored_bits"] < found["demand_bits"]


def test_a_long_biography_is_refused_by_max_seq_len_too(tmp_path: Path) -> None:
    saved(tmp_path, "mpt", 300, max_seq_len=16)
    byte_tokenizer(tmp_path, eos_token="</s>")
    with pytest.raises(UserError, match="reads 16 tokens at most"):
        measure_directory(tmp_path, CELL, device=CPU)


def test_bf16_measures_nearly_the_same(tmp_path: Path) -> None:
    """bf16 keeps 8 bits of each number."""
    saved(tmp_path, "llama", 300, max_position_embeddings=256)
    byte_tokenizer(tmp_path, eos_token="</s>")
    whole, half = (
        measure_directory(tmp_path, CELL, device=CPU, options=MeasureOptions(dtype=dtype)).to_dict()
        for dtype in ("fp32", "bf16")
    )
    assert half["loss_value_nats"] == pytest.approx(whole["loss_value_nats"], rel=2**-6)
    assert half["loss_value_nats"] != whole["loss_value_nats"]

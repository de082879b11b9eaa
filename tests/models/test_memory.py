"""What only a memory of n-grams and weight-tied depth have."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from kcap_ray.config.errors import UserError
from kcap_ray.models import counts
from kcap_ray.models.convert import to_hugging_face
from kcap_ray.models.decoder import Decoder
from kcap_ray.models.memory import hashed_rows
from kcap_ray.models.spec import parse_model
from kcap_ray.planning.cost import flops_per_token
from kcap_ray.quantize.config import QuantizeConfig
from kcap_ray.quantize.decoder import quantize_decoder
from tests.tiny import random_decoder, random_tokens


def test_a_row_depends_on_the_last_two_or_three_tokens_and_on_nothing_else() -> None:
    tokens = random_tokens(1, 40)
    rows = hashed_rows(tokens, 1_000_003)[0]
    for changed in (37, 38, 39):
        other = tokens.clone()
        other[0, changed] += 1
        is_same = (hashed_rows(other, 1_000_003)[0, 39] == rows[39]).tolist()
        assert is_same == [changed == 37] * 2 + [False] * 2
    later = torch.cat([random_tokens(1, 5), tokens], dim=1)
    assert torch.equal(hashed_rows(later, 1_000_003)[0, 7:], rows[2:])


def test_rows_are_used_evenly_and_tables_by_different_hashes() -> None:
    """All pairs of 100 tokens in 64 rows: as even as 10,000 throws are; two n-grams that share a
    row of one table share one of the other in about 1 of 64 cases.
    """
    first, second = torch.meshgrid(torch.arange(100), torch.arange(100), indexing="ij")
    rows = hashed_rows(torch.stack([first.flatten(), second.flatten()], dim=1), 64)[:, 1]
    for table in range(2):
        n_expected = 10_000 / 64
        chi2 = sum(
            (n - n_expected) ** 2 / n_expected for n in Counter(rows[:, table].tolist()).values()
        )
        assert 63 - 5 * 126**0.5 < chi2 < 63 + 5 * 126**0.5
    pairs = Counter(map(tuple, rows[:, :2].tolist()))
    assert len(pairs) > 0.9 * 64 * 64 * (1 - (1 - 1 / 4096) ** 10_000)


@pytest.mark.parametrize("name", ["gpt2-2-2-memory20", "llama-4-3-memory50", "gpt2-1-2-memory20"])
def test_the_memory_has_its_share_of_the_weights(name: str) -> None:
    """To within a row of each table, which is what can be had."""
    spec = parse_model(name, head_dim=64, vocab_size=10)
    share = counts.memory(spec) / spec.n_params_non_embedding
    row = counts.N_MEMORY_TABLES * counts.memory_width(spec) / spec.n_params_non_embedding
    assert abs(share - spec.memory_percent / 100) <= row


def test_looped_layers_count_once_and_compute_twice() -> None:
    """And equal a model of twice the layers with the same weights."""
    once = parse_model("gpt2-2-2", head_dim=16, vocab_size=101)
    looped = replace(once, n_loop=2)
    assert looped.n_params == once.n_params
    four = parse_model("gpt2-4-2", head_dim=16, vocab_size=101)
    assert flops_per_token(looped, 64) == flops_per_token(four, 64)
    model = random_decoder("gpt2-2-2-loop2").eval()
    unrolled = Decoder(four, n_tokens=24).eval()
    state = model.state_dict()
    for name, value in model.state_dict().items():
        if name.startswith("blocks."):
            _, number, rest = name.split(".", 2)
            state[f"blocks.{int(number) + 2}.{rest}"] = value
    unrolled.load_state_dict(state)
    tokens = random_tokens(2, 9)
    assert torch.equal(model(tokens), unrolled(tokens))


@pytest.mark.parametrize("name", ["gpt2-2-2-loop2", "gpt2-2-2-memory20"])
def test_no_class_of_transformers_holds_them_so_the_export_is_ours(name: str) -> None:
    model = random_decoder(name).eval()
    exported = to_hugging_face(model, eos=0)
    assert type(exported).__name__ == "KcapForCausalLM"
    tokens = random_tokens(2, 9)
    assert torch.equal(exported(input_ids=tokens).logits, model(tokens))


@pytest.mark.parametrize("name", ["gpt2-1-1-loop2", "gpt2-1-1-memory20"])
def test_they_are_quantized_to_nearest_and_refused_where_inputs_matter(name: str) -> None:
    model = random_decoder(name).eval()
    weights = quantize_decoder(model, QuantizeConfig(bits=8, method="rtn"))
    assert "blocks.0.attention.qkv.weight" in weights.matrices
    with pytest.raises(UserError, match="rtn or hqq"):
        quantize_decoder(model, QuantizeConfig(bits=8), random_tokens(2, 9))


@pytest.mark.parametrize("name", ["gpt2-2-2-memory20", "gpt2-1-1-memory50", "llama-2-1-memory20"])
def test_a_layer_that_does_nothing_can_be_left_out(name: str) -> None:
    """The memory before it stays: what it knows is not the layer's."""
    model = random_decoder(name).eval()
    last = model.spec.n_layer - 1
    with torch.no_grad():
        for part, parameter in model.blocks[last].named_parameters():
            if part.endswith(("out.weight", "out.bias", "down.weight", "down.bias")):
                parameter.zero_()
    tokens = random_tokens(2, 9)
    before = model(tokens)
    model.left_out = last
    torch.testing.assert_close(model(tokens), before)


def test_a_share_that_the_memory_cannot_have_is_refused() -> None:
    """Where key and value alone are more, tables of one row would be the same for every share."""
    with pytest.raises(UserError, match=r"key and value.*write memory8 or more"):
        parse_model("gpt2-2-2-memory5", head_dim=64, vocab_size=10)
    spec = parse_model("gpt2-2-2-memory8", head_dim=64, vocab_size=10)
    assert counts.memory_rows(spec) > 1


@pytest.mark.parametrize("word", ["loop1", "loop0", "memory0", "memory95", "loop", "memory"])
def test_words_without_sense_are_refused(word: str) -> None:
    with pytest.raises(UserError, match=word):
        parse_model(f"gpt2-2-2-{word}", head_dim=16, vocab_size=101)

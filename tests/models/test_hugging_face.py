from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from kcap_ray.models.hugging_face import KcapForCausalLM, as_kcap_model
from tests.rounding import assert_same_but_for_rounding
from tests.tiny import MODELS, random_decoder, random_tokens

transformers_logging.disable_progress_bar()


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_logits_survive_a_round_trip_through_a_directory(tmp_path: Path, name: str) -> None:
    """Saved and loaded by transformers, any variant has the same logits bit for bit, and the number
    of parameters of the closed formula.
    """
    model = random_decoder(name).eval()
    as_kcap_model(model, eos_token_id=0).save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert isinstance(loaded, KcapForCausalLM)
    tokens_BT = random_tokens(3, 24)
    with torch.no_grad():
        assert torch.equal(loaded(tokens_BT).logits, model(tokens_BT))
    assert loaded.num_parameters() == model.spec.n_params
    assert loaded.config.eos_token_id == 0


def test_layers_are_torchs_own() -> None:
    """Every matrix of the blocks is in an nn.Linear, which is what quantizers look for."""
    exported = as_kcap_model(random_decoder("llama-2-2-mlp1/4"))
    matrices = {
        name for name, parameter in exported.model.blocks.named_parameters() if parameter.dim() == 2
    }
    linears = {
        f"{name}.weight"
        for name, module in exported.model.blocks.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    assert matrices == linears
    assert len(linears) == 2 * 4


@pytest.mark.usefixtures("in_float64")
def test_loss_is_that_of_the_decoder() -> None:
    """Labels are shifted inside, as everywhere in transformers, and -100 counts nothing."""
    model = random_decoder("gpt2-1-1-gated")
    exported, tokens_BT = as_kcap_model(model), random_tokens(3, 12)
    found = exported(tokens_BT, labels=tokens_BT).loss
    assert_same_but_for_rounding(found, model.loss(tokens_BT))
    labels_BT = tokens_BT.clone()
    labels_BT[:, 7:] = -100
    found = exported(tokens_BT, labels=labels_BT).loss
    assert_same_but_for_rounding(found, model.loss(tokens_BT[:, :7]))


def test_what_the_decoder_cannot_do_is_refused() -> None:
    """Padding, and a sequence beyond its tables, are errors that say so; a full mask is none."""
    exported, tokens_BT = as_kcap_model(random_decoder("gpt2-1-1-mlp0")), random_tokens(2, 6)
    mask_BT = torch.ones_like(tokens_BT)
    assert torch.equal(exported(tokens_BT, mask_BT).logits, exported(tokens_BT).logits)
    mask_BT[1, 0] = 0
    with pytest.raises(ValueError, match="no padding"):
        exported(tokens_BT, mask_BT)
    with pytest.raises(ValueError, match=r"25 tokens is too long for this model.* 24"):
        exported(random_tokens(1, 25))


def test_generation_takes_the_likeliest_token_each_time() -> None:
    """`generate` without sampling goes on as the decoder's logits say."""
    model = random_decoder("gpt2-1-2-ssd-canon").eval()
    exported: Any = as_kcap_model(model, pad_token_id=0).eval()
    tokens_BT = random_tokens(1, 5)
    generated_BT = exported.generate(
        input_ids=tokens_BT,
        attention_mask=torch.ones_like(tokens_BT),  # as a tokenizer gives it
        max_new_tokens=4,
        do_sample=False,
    )
    for length in range(5, 9):
        with torch.no_grad():
            likeliest = model(generated_BT[:, :length])[0, -1].argmax()
        assert generated_BT[0, length] == likeliest


def test_a_model_made_from_a_config_starts_from_drawn_weights(tmp_path: Path) -> None:
    """Without a file of weights they are drawn as for training."""
    model = random_decoder("llama-1-2-moe2-canon")
    as_kcap_model(model).save_pretrained(tmp_path)
    new = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path))
    model.init_weights(seed=0, std=0.02)
    for ours, theirs in zip(model.parameters(), new.parameters(), strict=True):
        if ours.dim() > 1:
            assert torch.equal(ours, theirs)

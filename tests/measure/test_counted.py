"""Losses at the tokens that count are those of a whole forward pass."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
)

from kcap_ray.measure.causal_model import logits_of
from kcap_ray.measure.counted import CountedPositions
from kcap_ray.measure.nats import Ends, nats_of_logits

V, P, T = 60, 3, 12
CONFIG = GPT2Config(n_layer=1, n_head=2, n_embd=16, n_positions=T, vocab_size=V)
TOKENS = torch.arange(P * T).view(P, T) % V
COUNTED = torch.zeros(P, T, dtype=torch.bool)
COUNTED[0, 3:5] = COUNTED[1, 1] = COUNTED[2, -1] = True
NUMBER = torch.zeros(P, T, dtype=torch.long)
NUMBER[0, 4] = NUMBER[2, -1] = 1
ENDS = Ends(NUMBER, torch.arange(V).unsqueeze(0) % 3 == 0)


class Normalized(GPT2LMHeadModel):
    """One whose logits depend on all hidden states, behind the head."""

    def forward(self, *arguments: Any, **more: Any) -> Any:
        out: Any = super().forward(*arguments, **more)
        out.logits = out.logits - out.logits.mean(dim=1, keepdim=True)
        return out


class Viewed(GPT2LMHeadModel):
    """One that takes the logits for those of all tokens."""

    def forward(self, *arguments: Any, **more: Any) -> Any:
        out: Any = super().forward(*arguments, **more)
        out.logits = out.logits.view(P, T - 1, V)
        return out


def whole(model: PreTrainedModel, ends: Ends | None) -> Tensor:
    """The losses at all tokens."""
    return nats_of_logits(logits_of(model, TOKENS[:, :-1])[None], TOKENS, ends)


def gemma() -> PreTrainedModel:
    """One that bounds its logits behind the head."""
    return Gemma2ForCausalLM(
        Gemma2Config(
            num_hidden_layers=1,
            hidden_size=16,
            intermediate_size=16,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            vocab_size=V,
        )
    )


@pytest.mark.parametrize("ends", [None, ENDS], ids=["", "with ends"])
@pytest.mark.parametrize("make", [lambda: GPT2LMHeadModel(CONFIG), gemma], ids=["gpt2", "gemma2"])
@torch.no_grad()
def test_what_counts_has_the_losses_of_the_whole_pass(
    make: Callable[[], PreTrainedModel], ends: Ends | None
) -> None:
    """From the first block, which is made both ways, and from the next; all else is 0 there."""
    torch.manual_seed(0)
    model = make().eval()
    counted = CountedPositions(model)
    widths = []
    head: Any = model.get_output_embeddings()
    head.register_forward_hook(lambda _, given, __: widths.append(tuple(given[0].shape[:-1])))
    expected = whole(model, ends)
    counted(TOKENS, ends, COUNTED)
    found = counted(TOKENS, ends, COUNTED)
    torch.testing.assert_close(found[:, COUNTED], expected[:, COUNTED])
    assert (found[:, ~COUNTED] == 0).all()
    all_tokens, some = (P, T - 1), (1, int(COUNTED.sum()))
    assert widths == [all_tokens, all_tokens, some, some]


@pytest.mark.parametrize("kind", [Normalized, Viewed])
@torch.no_grad()
def test_a_model_that_needs_all_hidden_states_gets_them(
    kind: type[GPT2LMHeadModel], caplog: pytest.LogCaptureFixture
) -> None:
    """Its losses are right from the first block on, and the log says that it was so."""
    torch.manual_seed(0)
    model = kind(CONFIG).eval()
    counted = CountedPositions(model)
    expected = whole(model, ENDS)
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            found = counted(TOKENS, ENDS, COUNTED)
            torch.testing.assert_close(found[:, COUNTED], expected[:, COUNTED])
    assert kind.__name__ in caplog.text


@torch.no_grad()
def test_a_check_without_memory_is_made_again() -> None:
    """The documents come again, fewer at a time, and the model is still one that needs all."""
    torch.manual_seed(0)
    model = Normalized(CONFIG).eval()
    counted, expected = CountedPositions(model), whole(model, ENDS)
    head: Any = model.get_output_embeddings()
    n_calls = 0

    def fill_memory(*_: object) -> None:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 2:
            raise torch.OutOfMemoryError

    head.register_forward_hook(fill_memory)
    with pytest.raises(torch.OutOfMemoryError):
        counted(TOKENS, ENDS, COUNTED)
    for _ in range(2):
        found = counted(TOKENS, ENDS, COUNTED)
        torch.testing.assert_close(found[:, COUNTED], expected[:, COUNTED])

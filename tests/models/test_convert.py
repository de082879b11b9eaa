import pytest
import torch

from kcap_ray.models.convert import to_hugging_face
from tests.rounding import assert_same_but_for_rounding
from tests.tiny import random_decoder, random_tokens

EXPORTABLE = {
    "gpt2-2-2": "GPTNeoXForCausalLM",
    "gpt2-1-3-untied": "GPTNeoXForCausalLM",
    "gpt2-2-2-mlp1/4": "GPTNeoXForCausalLM",
    "gpt2-2-2-relu2": "GPTNeoXForCausalLM",
    "llama-2-2-standard-layernorm-bias": "GPTNeoXForCausalLM",
    "llama-2-2": "LlamaForCausalLM",
    "llama-2-3-tied": "LlamaForCausalLM",
    "llama-2-2-relu2": "LlamaForCausalLM",
    "gpt2-2-2-gated-rmsnorm-nobias": "LlamaForCausalLM",
    "mistral-2-4": "MistralForCausalLM",
    "mistral-2-3": "LlamaForCausalLM",
}
"""Models that a class of transformers can hold."""


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("name", EXPORTABLE)
def test_logits_and_gradients_equal_those_of_the_hugging_face_class(name: str) -> None:
    """Same weights, same logits, same gradient of the embedding."""
    model = random_decoder(name)
    exported = to_hugging_face(model, eos=0)
    assert type(exported).__name__ == EXPORTABLE[name]
    tokens_BT = random_tokens(3, 24)
    ours, theirs = model(tokens_BT), exported(tokens_BT).logits
    assert_same_but_for_rounding(ours, theirs)
    ours.square().mean().backward()
    theirs.square().mean().backward()
    their_grad = exported.get_input_embeddings().get_parameter("weight").grad
    assert model.embedding.grad is not None
    assert their_grad is not None
    assert_same_but_for_rounding(model.embedding.grad, their_grad)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize(
    ("name", "rotary", "exported_as"),
    [
        ("gpt2-2-2", {"rotary_frac": 0.25}, "GPTNeoXForCausalLM"),
        ("gpt2-2-2", {"rotary_frac": 0.5, "rope_base": 500.0}, "GPTNeoXForCausalLM"),
        ("llama-2-2", {"rope_base": 500.0}, "LlamaForCausalLM"),
        ("mistral-2-4", {"rope_base": 1e6}, "MistralForCausalLM"),
        ("llama-2-2", {"rotary_frac": 0.5}, "KcapForCausalLM"),
    ],
)
def test_share_and_base_of_the_rotary_embedding_are_exported(
    name: str, rotary: dict[str, float], exported_as: str
) -> None:
    """Logits are equal, also through config.json; they are not those of the default."""
    model = random_decoder(name, rotary=rotary)
    exported = to_hugging_face(model, eos=0)
    assert type(exported).__name__ == exported_as
    tokens_BT = random_tokens(3, 24)
    assert_same_but_for_rounding(model(tokens_BT), exported(tokens_BT).logits)
    assert not torch.allclose(model(tokens_BT), random_decoder(name)(tokens_BT))
    again = type(exported)(type(exported.config).from_dict(exported.config.to_dict())).eval()
    again.load_state_dict(exported.state_dict())
    assert_same_but_for_rounding(model(tokens_BT), again(tokens_BT).logits)


@pytest.mark.parametrize("name", EXPORTABLE)
def test_exported_model_has_the_parameters_of_the_closed_formula(name: str) -> None:
    """Hugging Face's count (tied weights once), our count and the closed formula are one number."""
    model = random_decoder(name)
    assert sum(p.numel() for p in model.parameters()) == model.spec.n_params
    assert sum(p.numel() for p in to_hugging_face(model, eos=0).parameters()) == model.spec.n_params


@pytest.mark.parametrize(
    "name",
    ["gpt2-1-1-mlp0", "gpt2-1-1-gated", "llama-1-2-moe2", "llama-1-2-canon", "llama-1-2-ssd"],
)
def test_variant_without_a_hugging_face_class_gets_our_own(name: str) -> None:
    """No class of transformers has these layers, so none is bent to them."""
    assert type(to_hugging_face(random_decoder(name), eos=0)).__name__ == "KcapForCausalLM"

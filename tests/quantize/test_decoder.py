"""Whole models: what is quantized, and on which inputs."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor

import kcap_ray.quantize.decoder
from kcap_ray.models.decoder import Decoder
from kcap_ray.models.moe import MixtureOfExperts
from kcap_ray.quantize.config import QuantizeConfig
from kcap_ray.quantize.decoder import SEQUENCES_AT_ONCE, quantize_decoder
from kcap_ray.quantize.grid import QuantizedMatrix
from kcap_ray.quantize.rtn import rtn
from kcap_ray.quantize.weights import QuantizedWeights
from tests.rounding import assert_same_but_for_rounding
from tests.tiny import random_decoder, random_tokens

MODELS = [
    "gpt2-2-2",
    "llama-2-2",
    "mistral-2-4",
    "gpt2-2-2-mlp0",
    "gpt2-2-2-moe4",
    "llama-2-3-moe3-tied",
    "mistral-2-4-canon",
    "gpt2-2-2-ssd",
]


def with_weights(model: Decoder, weights: QuantizedWeights) -> Decoder:
    """The model as it is read back."""
    again = Decoder(model.spec, n_tokens=model.n_tokens)
    again.load_state_dict(weights.state_dict())
    return again.eval()


class Spy:
    """A quantizer that rounds to nearest and keeps the inputs it is given."""

    def __init__(self) -> None:
        self.inputs: list[list[Tensor]] = []

    def __call__(
        self, weight_OI: Tensor, inputs: Iterable[Tensor], config: QuantizeConfig
    ) -> QuantizedMatrix:
        self.inputs.append(list(inputs))
        return rtn(weight_OI, (), QuantizeConfig(method="rtn", bits=config.bits))


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    """Stands for the method."""
    spy = Spy()
    monkeypatch.setattr(kcap_ray.quantize.decoder, "layer_quantizer", lambda config: spy)
    return spy


def routed(moe: MixtureOfExperts, x_MD: Tensor, x_XPI: Tensor) -> list[Tensor]:
    """Of the places of each expert those that hold a token; from the router alone."""
    chosen_MK = moe.router(x_MD).topk(moe.spec.experts_per_token, dim=-1).indices
    counts = [int((chosen_MK == expert).sum()) for expert in range(moe.spec.n_expert)]
    return [x_PI[:n] for x_PI, n in zip(x_XPI, counts, strict=True)]


def inputs_seen_by(model: Decoder, names: list[str], tokens_BT: Tensor) -> list[Tensor]:
    """Inputs of the layers while the model reads the tokens, those of experts one by one and of all
    their passes.
    """
    caught: dict[str, list[Tensor]] = {}

    def keep(name: str) -> Callable[[Any, tuple[Tensor, ...]], None]:
        return lambda _, given: caught.setdefault(name, []).append(given[0])

    for name, module in model.named_modules():
        module.register_forward_pre_hook(keep(name))
    model(tokens_BT)
    seen = []
    for name in names:
        if ".experts." in name:
            mlp = name.partition(".experts.")[0]
            moe = model.get_submodule(mlp)
            assert isinstance(moe, MixtureOfExperts)
            seen += routed(moe, caught[mlp][0], torch.cat(caught[name], dim=-2))
        else:
            seen.append(caught[name][0].flatten(0, -2))
    return seen


@pytest.mark.slow
@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("model_name", MODELS)
@torch.no_grad()
def test_each_layer_is_calibrated_on_what_it_will_get(model_name: str, spy: Spy) -> None:
    """The inputs are those of the finished quantized model: all layers before are quantized; an
    expert's are those routed to it, in however many passes. So too for more sequences than pass
    through at once.
    """
    model = random_decoder(model_name, capacity_factor=0.5)
    tokens_BT = random_tokens(SEQUENCES_AT_ONCE + 3, 24)
    weights = quantize_decoder(model, QuantizeConfig(bits=3), tokens_BT)
    finished = with_weights(model, weights)
    names = [name.removesuffix(".weight") for name in weights.matrices]
    for number, part_BT in enumerate(tokens_BT.split(SEQUENCES_AT_ONCE)):
        expected = inputs_seen_by(finished, names, part_BT)
        given = [batches[number] for batches in spy.inputs]
        for ours, theirs in zip(given, expected, strict=True):
            assert_same_but_for_rounding(ours, theirs)


@pytest.mark.parametrize("model_name", MODELS)
@pytest.mark.parametrize("embedding", [False, True])
def test_matrices_are_quantized_and_all_else_is_16_bit(model_name: str, embedding: bool) -> None:
    """Every matrix inside the blocks but routers and step sizes; embedding and head on demand; what
    stays has the value of its 16-bit float.
    """
    model = random_decoder(model_name)
    config = QuantizeConfig(method="rtn", bits=4, group_size=32, embedding=embedding)
    weights = quantize_decoder(model, config)
    parameters = dict(model.named_parameters())
    kept = ("router.weight", "step.weight", *(() if embedding else ("embedding", "head")))
    expected = {
        name
        for name, parameter in parameters.items()
        if parameter.dim() >= 2 and not name.endswith((*kept, "bias", "taps"))
    }
    assert set(weights.matrices) == expected
    assert weights.matrices.keys() | weights.others.keys() == parameters.keys()
    for name, tensor in weights.others.items():
        assert torch.equal(tensor, parameters[name].half())
    for name, matrix in weights.matrices.items():
        experts = parameters[name].detach().reshape(-1, *parameters[name].shape[-2:])
        alone = torch.stack([rtn(own, (), config).dequantized() for own in experts])
        assert torch.equal(matrix.dequantized(), alone.view(parameters[name].shape))


@pytest.mark.parametrize("model_name", MODELS)
@pytest.mark.parametrize(
    "method", ["gptq", *(pytest.param(other, marks=pytest.mark.slow) for other in ("rtn", "hqq"))]
)
@torch.no_grad()
def test_more_bits_are_nearer_to_the_model(model_name: str, method: str) -> None:
    """Logits come closer with more bits: 4 bits more are steps of a sixteenth."""
    model = random_decoder(model_name).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tokens_BT = random_tokens(8, 24)
    logits = model(tokens_BT)
    errors = []
    for bits in (2, 4, 8):
        config = QuantizeConfig(method=method, bits=bits, group_size=16)  # pyright: ignore
        found = with_weights(model, quantize_decoder(model, config, tokens_BT))(tokens_BT)
        errors.append(float((found - logits).norm() / logits.norm()))
    assert errors[0] > errors[1] > errors[2]
    # A mixture of experts may send a token elsewhere for any change at all.
    assert model.spec.n_expert or errors[2] < errors[1] / 5
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@torch.no_grad()
def test_fp16_is_the_model_in_16_bit_floats() -> None:
    """Nothing but the rounding of `half`."""
    model = random_decoder("llama-2-2")
    weights = quantize_decoder(model, QuantizeConfig(method="fp16", bits=16))
    tokens_BT = random_tokens(2, 24)
    found = with_weights(model, weights)(tokens_BT)
    for parameter in model.parameters():
        parameter.copy_(parameter.half())
    assert torch.equal(found, model.eval()(tokens_BT))


def test_a_quantized_embedding_is_calibrated_on_too(spy: Spy) -> None:
    """The first layer's inputs come from the embedding as it is stored."""
    model, tokens_BT = random_decoder("gpt2-1-1"), random_tokens(2, 24)
    for embedding in (False, True):
        quantize_decoder(model, QuantizeConfig(bits=2, embedding=embedding), tokens_BT)
    first, second = (spy.inputs[number][0] for number in (0, 4))
    assert float((first - second).norm() / first.norm()) > 0.1

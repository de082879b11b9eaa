"""A whole model quantized: block after block, each on what the blocks before make once they are
quantized (GPTQ, arXiv 2210.17323, section 4).

Linear layers inside the blocks are quantized, each expert's by itself. Routers and the step sizes
of a state-space mixer, which are computed at full precision in training too, and everything that is
no matrix stay 16-bit floats.

Shapes as in models/decoder.py; X experts, P places of an expert, I inputs of a layer, n rows of
inputs.
"""

import copy
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kcap_ray.config.errors import UserError
from kcap_ray.models.decoder import Block, Decoder
from kcap_ray.models.moe import MixtureOfExperts
from kcap_ray.models.stacked import StackedLinear
from kcap_ray.quantize.config import QuantizeConfig
from kcap_ray.quantize.grid import QuantizedMatrix
from kcap_ray.quantize.method import layer_quantizer
from kcap_ray.quantize.rtn import rtn
from kcap_ray.quantize.weights import QuantizedWeights

SEQUENCES_AT_ONCE = 16
"""Calibration sequences that pass through a block together."""

_FULL_PRECISION = ("router", "step")
_EMBEDDINGS = ("embedding", "head")


@torch.no_grad()
def quantize_decoder(
    model: Decoder, config: QuantizeConfig, tokens_BT: Tensor | None = None
) -> QuantizedWeights:
    """Quantize a model without a trials axis, which stays as it is; the result is on its device.

    `tokens_BT`: calibration text, for a method that reads any. Raises `UserError` where the method
    cannot be had or does not work.
    """
    assert model.n_trials is None, "trials are quantized one by one"
    weights = dict(model.named_parameters())
    stored = copy.deepcopy(model).eval()  # every weight as it will be read back
    for parameter in stored.parameters():
        parameter.copy_(parameter.half())
    matrices: dict[str, QuantizedMatrix] = {}
    if config.embedding:
        for name in _EMBEDDINGS:
            if name in weights:
                matrices[name] = rtn(weights[name], (), config)
                stored.get_parameter(name).copy_(matrices[name].dequantized())
    if config.method != "fp16":
        matrices |= _quantize_blocks(stored, weights, config, tokens_BT)
    return QuantizedWeights.of(stored, matrices)


def _quantize_blocks(
    stored: Decoder,
    weights: dict[str, nn.Parameter],
    config: QuantizeConfig,
    tokens_BT: Tensor | None,
) -> dict[str, QuantizedMatrix]:
    """Quantize the blocks of `stored` in place, from the exact `weights`."""
    if tokens_BT is not None and (stored.spec.n_loop > 1 or stored.memory is not None):
        raise UserError(
            f"--method {config.method}: a layer that is passed through several times, or stands "
            "behind a memory, has no one input to be quantized on; write --method rtn or hqq"
        )
    quantize = layer_quantizer(config)
    stream = _Stream(stored, tokens_BT)
    matrices = {}
    for number, block in enumerate(stored.blocks):
        assert isinstance(block, Block)
        for path, layer in quantized_layers(block):
            name = f"blocks.{number}.{path}.weight"
            inputs = stream.inputs_of(layer, block)
            weight = weights[name].detach()
            if isinstance(layer, StackedLinear):
                pairs = zip(weight, inputs, strict=True)
                experts = [quantize(own_OI, own, config) for own_OI, own in pairs]
                matrices[name] = QuantizedMatrix.stack(experts)
            else:
                matrices[name] = quantize(weight, inputs[0], config)
            layer.weight.copy_(matrices[name].dequantized())
        stream.advance(block)
    return matrices


def quantized_layers(block: nn.Module) -> list[tuple[str, nn.Linear | StackedLinear]]:
    """The linear layers of a block that are quantized, in the order in which they compute."""
    return [
        (path, layer)
        for path, layer in block.named_modules()
        if isinstance(layer, (nn.Linear, StackedLinear))
        and path.rpartition(".")[2] not in _FULL_PRECISION
    ]


class _Stream:
    """The residual stream of the calibration text in front of a block, in batches [M, D]."""

    def __init__(self, model: Decoder, tokens_BT: Tensor | None) -> None:
        self._batches: list[Tensor] = []
        if tokens_BT is not None:
            n_tokens = tokens_BT.shape[1]
            self._rope = model.cos_TC[:n_tokens], model.sin_TC[:n_tokens]
            tokens_BT = tokens_BT.to(model.embedding.device)
            self._batches = [
                F.embedding(part_BT.reshape(-1), model.embedding)
                for part_BT in tokens_BT.split(SEQUENCES_AT_ONCE)
            ]

    def advance(self, block: Block) -> None:
        """Pass through the block."""
        self._batches = [self._after(block, x_MD) for x_MD in self._batches]

    def inputs_of(self, layer: nn.Linear | StackedLinear, block: Block) -> list[Iterable[Tensor]]:
        """Inputs [n, I] of a layer of the block, batch by batch: one list, or one per expert.

        Those of a plain layer are made while they are read. Those of experts are kept, in the
        memory of the host, since each batch has some of every expert.
        """
        if isinstance(layer, nn.Linear):
            return [self._one_by_one(layer, block)]
        moe = block.mlp
        assert isinstance(moe, MixtureOfExperts), "only experts are stacked"
        kept: list[list[Tensor]] = [[] for _ in range(moe.spec.n_expert)]
        for x_MD in self._batches:
            x_XPI = self._caught(layer, block, x_MD)
            for own, x_PI, n_rows in zip(kept, x_XPI, _filled(moe, x_MD), strict=True):
                own.append(x_PI[:n_rows].cpu())
        return [_on(layer.weight.device, own) for own in kept]

    def _one_by_one(self, layer: nn.Linear, block: Block) -> Iterator[Tensor]:
        for x_MD in self._batches:
            yield self._caught(layer, block, x_MD).flatten(0, -2)

    def _caught(self, layer: nn.Module, block: Block, x_MD: Tensor) -> Tensor:
        """What the layer gets while the batch passes through the block; experts' places of all
        passes in a row.
        """
        caught: list[Tensor] = []
        hook = layer.register_forward_pre_hook(lambda _, given: caught.append(given[0]))
        try:
            self._after(block, x_MD)
        finally:
            hook.remove()
        return torch.cat(caught, dim=-2) if len(caught) > 1 else caught[0]

    def _after(self, block: Block, x_MD: Tensor) -> Tensor:
        return block(x_MD, x_MD.new_zeros(()), *self._rope)[0]


def _filled(moe: MixtureOfExperts, x_MD: Tensor) -> list[int]:
    """Places of each expert with a token in them, which are its first ones, in the last batch."""
    n_choices = len(x_MD) * moe.spec.experts_per_token
    return (moe.load_EX * n_choices).round().long().tolist()


def _on(device: torch.device, parts: list[Tensor]) -> Iterator[Tensor]:
    for part in parts:
        yield part.to(device)

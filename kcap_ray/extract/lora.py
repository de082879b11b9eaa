"""Low-rank adapters on a decoder (LoRA, arXiv 2106.09685): on the embedding that it reads, and on
queries and values.

Shapes: O outputs, I inputs, R rank, V vocabulary, D model width.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from kcap_ray.config.errors import UserError
from kcap_ray.models.decoder import Decoder


class LowRank(nn.Module):
    """W + B A on some rows of a matrix W [O, I], of which B begins as 0: a change of nothing."""

    def __init__(
        self, shape: Sequence[int], rows: Sequence[slice], rank: int, generator: torch.Generator
    ) -> None:
        """`rows`: parts of W that have a change of their own, each of this rank."""
        super().__init__()
        n_out, n_in = shape
        self.rows = [range(*part.indices(n_out)) for part in rows]
        bound = 1 / math.sqrt(n_in)  # as torch draws a linear layer, and peft A
        self.down = nn.ParameterList(
            nn.Parameter((2 * torch.rand(rank, n_in, generator=generator) - 1) * bound)
            for _ in rows
        )
        self.up = nn.ParameterList(nn.Parameter(torch.zeros(len(part), rank)) for part in self.rows)

    def forward(self, weight_OI: Tensor) -> Tensor:
        changed, done = [], 0
        for part, down_RI, up_OR in zip(self.rows, self.down, self.up, strict=True):
            changed += [weight_OI[done : part.start], weight_OI[part.start : part.stop]]
            changed[-1] = changed[-1] + up_OR @ down_RI
            done = part.stop
        return torch.cat([*changed, weight_OI[done:]])


def with_new_tokens(model: Decoder, n_new: int, *, std: float, seed: int) -> Decoder:
    """A copy with rows for `n_new` more tokens, drawn as weights are that were never trained, and
    with an output head of its own, equal to the embedding where that was tied.

    The paper's models have a row for each of GPT-2's tokens, of which those outside of biographies
    are untrained when the questions come. A head of its own keeps what is predicted as it was while
    the embedding that is read changes.
    """
    spec = replace(model.spec, vocab_size=model.spec.vocab_size + n_new, tied=False)
    copy = Decoder(spec, n_tokens=model.n_tokens)
    state = dict(model.state_dict())
    generator = torch.Generator().manual_seed(seed)
    new_ND = std * torch.randn(n_new, spec.d_model, generator=generator)
    head_VD = state.get("head", state["embedding"])
    new_ND = new_ND.to(head_VD.device)
    state["embedding"] = torch.cat([state["embedding"], new_ND])
    state["head"] = torch.cat([head_VD, new_ND])
    copy.load_state_dict(state)
    return copy.to(head_VD.device)


def add_adapters(
    model: Decoder, *, rank_embedding: int, rank_attention: int, seed: int
) -> list[nn.Parameter]:
    """Freeze the model, put adapters on it, and return their weights.

    `UserError` where no layer of the model has queries and values.
    """
    spec = model.spec
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    device = model.embedding.device
    embedding = LowRank(model.embedding.shape, [slice(None)], rank_embedding, generator)
    parametrize.register_parametrization(model, "embedding", embedding.to(device))
    rows = [slice(0, spec.d_model), slice(spec.d_model + spec.d_kv, None)]
    layers = [
        layer
        for name, layer in model.named_modules()
        if name.endswith("attention.qkv") and isinstance(layer, nn.Linear)
    ]
    if not layers:
        raise UserError(f"{spec.arch}: no layer of it has queries and values to adapt")
    adapters = [embedding]
    for layer in layers:
        adapters.append(LowRank(layer.weight.shape, rows, rank_attention, generator).to(device))
        parametrize.register_parametrization(layer, "weight", adapters[-1])
    return [parameter for adapter in adapters for parameter in adapter.parameters()]

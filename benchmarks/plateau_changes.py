"""Variants of a study of the plateau: one change each, by a setting or in the code."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from kcap_ray.models.decoder import Decoder, is_matrix
from kcap_ray.text.kinds.bios import BioSRenderer


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One change from the recipe."""

    name: str
    settings: dict[str, str] = field(default_factory=dict)
    lr_factors: tuple[float, ...] = (1.0,)
    decay_factors: tuple[float, ...] = ()
    rotary_frac: float = 1.0
    rotary_base: float = 10_000.0
    one_template: bool = False
    one_order: bool = False
    decays_embedding: bool = True
    embedding_factor: float = 1.0
    """Initial deviation of the embedding, as a multiple of that of the other weights."""
    residual_bf16: bool = False
    """Whether what runs through the blocks is bfloat16 (with bf16 products it is float32)."""
    softmax_bf16: bool = False
    """Whether the loss is taken of bfloat16 logits, in bfloat16."""
    texts: str = "stream"
    """A way of `plateau_texts.py` to make the windows; `stream` is the package's own."""


def rotary_tables(frac: float, base: float) -> Callable[..., tuple[Tensor, Tensor]]:
    """Tables that turn only so large a share of each head, spread over both of its halves."""

    def tables(n_tokens: int, spec: Any) -> tuple[Tensor, Tensor]:
        n_pairs, n_turned = spec.head_dim // 2, round(frac * spec.head_dim / 2)
        rates = torch.zeros(n_pairs, dtype=torch.float64)
        rates[:n_turned] = base ** -(torch.arange(n_turned, dtype=torch.float64) / max(1, n_turned))
        angles = torch.outer(torch.arange(n_tokens, dtype=torch.float64), rates)
        cos_TC = torch.cat([angles.cos(), angles.cos()], dim=-1)
        sin_TC = torch.cat([-angles.sin(), angles.sin()], dim=-1)
        return cos_TC.float(), sin_TC.float()

    return tables


def _fixed_draw(variant: Variant) -> Callable[..., Any]:
    draw = BioSRenderer._draw

    def fixed_draw(self: Any, draw_P: Any, key: int) -> tuple[Any, Any]:
        template_AP, order_P = draw(self, draw_P, key)
        if variant.one_template:
            template_AP = np.zeros_like(template_AP)
        return template_AP, np.zeros_like(order_P) if variant.one_order else order_P

    return fixed_draw


def _scaled_embedding(factor: float) -> Callable[..., Any]:
    init_weights = Decoder.init_weights

    def scaled(self: Decoder, *, seed: int, std: float) -> None:
        init_weights(self, seed=seed, std=std)
        with torch.no_grad():
            self.embedding.mul_(factor)

    return scaled


def _loss_in_bf16(self: Decoder, features_EMD: Tensor, targets_M: Tensor) -> Tensor:
    logits_EMV = self._logits(features_EMD).bfloat16()
    with torch.autocast(features_EMD.device.type, enabled=False):
        picked_EM = logits_EMV.log_softmax(dim=-1).gather(
            -1, targets_M.expand(logits_EMV.shape[:-1]).unsqueeze(-1)
        )
    return -picked_EM.squeeze(-1).float()


def _block_in_bf16(forward: Callable[..., Any]) -> Callable[..., Any]:
    def rounded(self: Any, x_EMD: Tensor, *rest: Any) -> Any:
        if not torch.is_autocast_enabled(x_EMD.device.type):  # measured in float32, as ever
            return forward(self, x_EMD, *rest)
        x_EMD, balance_E = forward(self, x_EMD.bfloat16(), *rest)
        return x_EMD.bfloat16(), balance_E

    return rounded


@contextlib.contextmanager
def changed_code(variant: Variant) -> Iterator[None]:
    """What a variant changes that is no setting."""
    from kcap_ray.models.decoder import Block

    with contextlib.ExitStack() as stack:

        def patch(target: Any, name: str, value: Any) -> None:
            stack.enter_context(mock.patch.object(target, name, value))

        if (variant.rotary_frac, variant.rotary_base) != (1.0, 10_000.0):
            tables = rotary_tables(variant.rotary_frac, variant.rotary_base)
            stack.enter_context(mock.patch("kcap_ray.models.decoder.rotary_tables", tables))
        if variant.one_template or variant.one_order:
            patch(BioSRenderer, "_draw", _fixed_draw(variant))
        if not variant.decays_embedding:
            decays = mock.patch(
                "kcap_ray.training.optimizer.is_matrix",
                lambda name: is_matrix(name) and name not in ("embedding", "head"),
            )
            stack.enter_context(decays)
        if variant.embedding_factor != 1.0:
            patch(Decoder, "init_weights", _scaled_embedding(variant.embedding_factor))
        if variant.softmax_bf16:
            patch(Decoder, "_nats", _loss_in_bf16)
        if variant.residual_bf16:
            patch(Block, "forward", _block_in_bf16(Block.forward))
        yield

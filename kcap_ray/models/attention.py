"""Causal self-attention with rotary embedding.

Shapes as in decoder.py; R channels of a head that are turned.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kcap_ray.models.canon import canon_at
from kcap_ray.models.spec import ModelSpec
from kcap_ray.models.stacked import linear


def rotary_tables(n_tokens: int, spec: ModelSpec) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines [T, R] of the rotary angles of the R channels that are turned;
    channel c pairs with c + R/2 (GPT-NeoX's layout).

    The sines of the first half are negative: with them a rotation is x * cos + (x with its halves
    swapped) * sin.
    """
    exponents = torch.arange(0, spec.rotary_dim, 2, dtype=torch.float64) / spec.rotary_dim
    angles = torch.outer(torch.arange(n_tokens, dtype=torch.float64), spec.rope_base**-exponents)
    cos_TR = torch.cat([angles.cos(), angles.cos()], dim=-1)
    sin_TR = torch.cat([-angles.sin(), angles.sin()], dim=-1)
    return cos_TR.float(), sin_TR.float()


def rotate(x_BHTC: Tensor, cos_TR: Tensor, sin_TR: Tensor) -> Tensor:
    """Rotary position embedding (RoFormer, arXiv 2104.09864, equation 34) over the first R channels
    of each head, which may be all.
    """
    n_turned = cos_TR.shape[-1]
    if n_turned < x_BHTC.shape[-1]:
        turned_BHTR, rest = x_BHTC.split([n_turned, x_BHTC.shape[-1] - n_turned], dim=-1)
        return torch.cat([rotate(turned_BHTR, cos_TR, sin_TR), rest], dim=-1)
    swapped_BHTC = x_BHTC.roll(n_turned // 2, dims=-1)
    cos_TR, sin_TR = cos_TR.to(x_BHTC.dtype), sin_TR.to(x_BHTC.dtype)
    return torch.addcmul(x_BHTC * cos_TR, swapped_BHTC, sin_TR)


class Attention(nn.Module):
    """Softmax attention; trials are folded into the batch for the attention itself."""

    def __init__(self, trials: tuple[int, ...], spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        d_qkv = spec.d_model + 2 * spec.d_kv
        self.qkv = linear(trials, spec.d_model, d_qkv, bias=spec.bias)
        self.canon_b = canon_at("B", trials, spec, d_qkv)
        self.out = linear(trials, spec.d_model, spec.d_model, bias=spec.bias)

    def forward(self, x_EMD: Tensor, cos_TR: Tensor, sin_TR: Tensor) -> Tensor:
        spec, n_tokens = self.spec, cos_TR.shape[0]
        qkv = self.qkv(x_EMD)
        if self.canon_b is not None:
            qkv = self.canon_b(qkv, n_tokens)
        heads = qkv.view(-1, n_tokens, spec.n_head + 2 * spec.n_kv_head, spec.head_dim)
        # Queries and keys turn together: half the operations, which is what a small model's step is
        # made of.
        qk, v_BKTC = heads.transpose(1, 2).split(
            [spec.n_head + spec.n_kv_head, spec.n_kv_head], dim=1
        )
        q_BHTC, k_BKTC = rotate(qk, cos_TR, sin_TR).split([spec.n_head, spec.n_kv_head], dim=1)
        mixed_BHTC = F.scaled_dot_product_attention(
            q_BHTC,
            k_BKTC,
            v_BKTC,
            is_causal=True,
            enable_gqa=spec.n_kv_head != spec.n_head,
        )
        return self.out(mixed_BHTC.transpose(1, 2).reshape(x_EMD.shape))

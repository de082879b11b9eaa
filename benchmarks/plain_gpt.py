"""GPT-2 with rotary embedding as a plain module, in the manner of the short public training loops:
what a careful reader would write for one model. A peer, and a check of our decoder.

Shapes: B sequences, T tokens, D model width, H heads, C width of a head, V vocabulary.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kcap_ray.models.decoder import Decoder
from kcap_ray.models.spec import ModelSpec


class _Attention(nn.Module):
    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.n_head = spec.n_head
        self.qkv = nn.Linear(spec.d_model, 3 * spec.d_model)
        self.out = nn.Linear(spec.d_model, spec.d_model)

    def forward(self, x_BTD: Tensor, cos_TC: Tensor, sin_TC: Tensor) -> Tensor:
        q_BHTC, k_BHTC, v_BHTC = (
            part.unflatten(-1, (self.n_head, -1)).transpose(1, 2)
            for part in self.qkv(x_BTD).chunk(3, dim=-1)
        )
        q_BHTC, k_BHTC = (_rotated(part, cos_TC, sin_TC) for part in (q_BHTC, k_BHTC))
        mixed_BHTC = F.scaled_dot_product_attention(q_BHTC, k_BHTC, v_BHTC, is_causal=True)
        return self.out(mixed_BHTC.transpose(1, 2).flatten(2))


def _rotated(x_BHTC: Tensor, cos_TC: Tensor, sin_TC: Tensor) -> Tensor:
    first, second = x_BHTC.chunk(2, dim=-1)
    turned = x_BHTC * cos_TC + torch.cat([-second, first], dim=-1) * sin_TC
    return turned.to(x_BHTC.dtype)


class _Mlp(nn.Module):
    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.up = nn.Linear(spec.d_model, spec.d_ff)
        self.down = nn.Linear(spec.d_ff, spec.d_model)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x_BTD), approximate="tanh"))


class _Block(nn.Module):
    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(spec.d_model, eps=spec.norm_eps)
        self.attention = _Attention(spec)
        self.mlp_norm = nn.LayerNorm(spec.d_model, eps=spec.norm_eps)
        self.mlp = _Mlp(spec)

    def forward(self, x_BTD: Tensor, cos_TC: Tensor, sin_TC: Tensor) -> Tensor:
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), cos_TC, sin_TC)
        return x_BTD + self.mlp(self.mlp_norm(x_BTD))


class PlainGpt(nn.Module):
    """Mean next-token loss of inputs [B, T] and targets [B, T]."""

    def __init__(self, spec: ModelSpec, *, n_tokens: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(spec.vocab_size, spec.d_model))
        self.blocks = nn.ModuleList(_Block(spec) for _ in range(spec.n_layer))
        self.final_norm = nn.LayerNorm(spec.d_model, eps=spec.norm_eps)
        exponents = torch.arange(0, spec.head_dim, 2) / spec.head_dim
        angles = torch.outer(torch.arange(n_tokens), spec.rope_base**-exponents).repeat(1, 2)
        self.register_buffer("cos_TC", angles.cos(), persistent=False)
        self.register_buffer("sin_TC", angles.sin(), persistent=False)

    def forward(self, inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
        x_BTD = F.embedding(inputs_BT, self.embedding)
        for block in self.blocks:
            x_BTD = block(x_BTD, self.cos_TC, self.sin_TC)
        logits_BTV = F.linear(self.final_norm(x_BTD), self.embedding)
        return F.cross_entropy(logits_BTV.flatten(0, 1).float(), targets_BT.flatten())


def plain_gpt(model: Decoder) -> PlainGpt:
    """The same model, with the same weights, on the same device. Only for `gpt2` without variants,
    whose weights have the same names here.
    """
    plain = PlainGpt(model.spec, n_tokens=model.n_tokens)
    plain.load_state_dict(model.state_dict())
    return plain.to(model.embedding.device)

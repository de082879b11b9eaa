"""How many weights each part of a model has, by closed formula.

No torch here: `kcap plan` counts before anything is built. The tests hold every formula against the
built model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kcap_ray.models.spec import ModelSpec

CANON_KERNEL = 4
"""Tokens that a Canon layer looks at: its own and the three before (arXiv 2512.17351)."""

MEMORY_N_GRAMS = (2, 3)
"""Lengths of the n-grams that a memory knows (arXiv 2601.07372)."""

MEMORY_HEADS = 2
"""Tables for each length, each with a hash of its own: of two n-grams that share a row in one, the
other tells them apart.
"""

N_MEMORY_TABLES = len(MEMORY_N_GRAMS) * MEMORY_HEADS

LOGITS_AT_ONCE = 2**29
"""Most logits that training holds at a time: with their gradient, 3 to 5 GB. All 50,257 tokens
reach this at 20 windows of 512; the compact vocabulary hardly ever does.
"""


@dataclass(frozen=True, kw_only=True)
class MlpKind:
    """A form of MLP, as far as it is counted."""

    n_params: Callable[[ModelSpec], int]
    """Weights at the spec's `d_ff`."""
    n_hidden: int
    """Values before the activation, as a multiple of `d_ff`."""
    d_ff_per_d: Fraction
    """Hidden width by default, as a multiple of the model's; rounded to the nearest integer, since
    arXiv 2404.05405 states no rule and no kernel here asks for a multiple.
    """


def linear(d_in: int, d_out: int, *, bias: bool) -> int:
    """A matrix, and a bias for each output."""
    return d_out * (d_in + bias)


def norm(spec: ModelSpec) -> int:
    """A scale, and for a LayerNorm in a model with biases a bias."""
    return spec.d_model * (2 if spec.bias and spec.norm == "layernorm" else 1)


def canon(spec: ModelSpec, site: str, width: int) -> int:
    """Taps of the Canon layer at `site`, one for each channel and token; 0 without the layer."""
    return CANON_KERNEL * width if site in spec.canon else 0


def attention(spec: ModelSpec) -> int:
    """Queries, keys and values, and the projection back."""
    d, d_qkv = spec.d_model, spec.d_model + 2 * spec.d_kv
    projections = linear(d, d_qkv, bias=spec.bias) + linear(d, d, bias=spec.bias)
    return projections + canon(spec, "B", d_qkv)


def ssd(spec: ModelSpec) -> int:
    """The matrices of attention, and per head a step size (d weights and a bias) and a rate."""
    return attention(spec) + linear(spec.d_model, spec.n_head, bias=True) + spec.n_head


def standard_mlp(spec: ModelSpec) -> int:
    """One matrix in, one out: 2 d d_ff and biases."""
    d, d_ff = spec.d_model, spec.d_ff
    return linear(d, d_ff, bias=spec.bias) + linear(d_ff, d, bias=spec.bias)


def gated_mlp(spec: ModelSpec) -> int:
    """Two matrices in, one out: 3 d d_ff and biases."""
    d, d_ff = spec.d_model, spec.d_ff
    return linear(d, 2 * d_ff, bias=spec.bias) + linear(d_ff, d, bias=spec.bias)


MIXERS: dict[str, Callable[[ModelSpec], int]] = {"attention": attention, "ssd": ssd}
"""What carries information from token to token, by name."""

MLPS: dict[str, MlpKind] = {
    # 8 d^2 weights in both: widths of 4 d and 8/3 d.
    "standard": MlpKind(n_params=standard_mlp, n_hidden=1, d_ff_per_d=Fraction(4)),
    "gated": MlpKind(n_params=gated_mlp, n_hidden=2, d_ff_per_d=Fraction(8, 3)),
}
"""What works on each token by itself, by name."""


def mlp(spec: ModelSpec, *, only_active: bool) -> int:
    """The MLP of one layer with the norm before it; of experts only those that one token uses."""
    if spec.mlp == "none":
        return 0
    kind = MLPS[spec.mlp]
    around = norm(spec) + canon(spec, "C", spec.d_model)
    if spec.n_expert == 0:
        return around + kind.n_params(spec) + canon(spec, "D", kind.n_hidden * spec.d_ff)
    n_used = spec.experts_per_token if only_active else spec.n_expert
    router = linear(spec.d_model, spec.n_expert, bias=False)
    return around + router + n_used * kind.n_params(spec)


def layer(spec: ModelSpec, *, only_active: bool = False) -> int:
    """One layer, with its norms."""
    mixer = norm(spec) + canon(spec, "A", spec.d_model) + MIXERS[spec.mixer](spec)
    return mixer + mlp(spec, only_active=only_active)


def memory_width(spec: ModelSpec) -> int:
    """Width of a row of a table of n-grams: together the tables give about one model width."""
    return max(1, spec.d_model // N_MEMORY_TABLES)


def memory_rows(spec: ModelSpec) -> int:
    """Rows of each table, so that the memory has its share of the weights outside of embedding and
    head; at least 1.
    """
    rest = spec.n_layer * layer(spec) + norm(spec)
    share = spec.memory_percent / 100
    tables = rest * share / (1 - share) - _memory_projections(spec)
    return max(1, round(tables / (N_MEMORY_TABLES * memory_width(spec))))


def _memory_projections(spec: ModelSpec) -> int:
    return 2 * linear(N_MEMORY_TABLES * memory_width(spec), spec.d_model, bias=False)


def memory(spec: ModelSpec, *, only_active: bool = False) -> int:
    """The tables of n-grams, of which a token reads one row each, and a key and a value of what is
    read; 0 without a memory.
    """
    if spec.memory_percent == 0:
        return 0
    n_rows = 1 if only_active else memory_rows(spec)
    return N_MEMORY_TABLES * n_rows * memory_width(spec) + _memory_projections(spec)


def computed(spec: ModelSpec) -> int:
    """Weights outside of the embedding and the head that a token is multiplied by, those of layers
    that are passed through several times as often.
    """
    layers = spec.n_loop * spec.n_layer * layer(spec, only_active=True)
    return layers + memory(spec, only_active=True) + norm(spec)


def non_embedding(spec: ModelSpec, *, only_active: bool = False) -> int:
    """Everything but the token embedding and the output head; layers that are passed through
    several times count once.

    For gpt2 this is l (12 d^2 + 13 d) + 2 d, which with V d for the tied embedding gives the 60
    sizes of Figure 1 of arXiv 2404.05405 at V = 3,275.
    """
    layers = spec.n_layer * layer(spec, only_active=only_active)
    return layers + memory(spec, only_active=only_active) + norm(spec)

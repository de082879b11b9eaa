"""What a model name means: sizes and variants as one frozen value, and its parameter counts.

Names are `<arch>-<layers>-<heads>[-<variant>...]`. The architectures are those of arXiv 2404.05405,
section 2.3 and appendix B: `gpt2` (GPT-2 with rotary embedding), `llama`, `mistral`. No torch here:
`kcap plan` counts parameters.
"""

import difflib
import re
from dataclasses import dataclass, replace
from typing import Literal

from kcap_ray.user_error import UserError

Mlp = Literal["standard", "gated", "none"]
Activation = Literal["gelu", "silu"]
Norm = Literal["layernorm", "rmsnorm"]


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A decoder-only transformer, pre-norm, with rotary embedding over whole heads."""

    arch: str
    """Family, the first part of the name."""
    n_layer: int
    n_head: int
    head_dim: int
    n_kv_head: int
    """Heads of keys and values; fewer than `n_head` is grouped-query attention."""
    d_ff: int
    """Hidden width of the MLP; 0 without one."""
    vocab_size: int
    mlp: Mlp
    activation: Activation
    norm: Norm
    bias: bool
    """Whether linear layers and norms have biases (an RMSNorm never has)."""
    tied: bool
    """Whether the output head is the token embedding."""
    rope_base: float = 10_000.0
    """Base of the rotary frequencies (RoFormer, arXiv 2104.09864, section 3.3)."""
    norm_eps: float = 1e-5
    """Added to the variance in a norm (GPT-2's value)."""

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.n_head * self.head_dim

    @property
    def d_kv(self) -> int:
        """Width of the keys, and of the values."""
        return self.n_kv_head * self.head_dim

    @property
    def n_norms_per_layer(self) -> int:
        """A layer without MLP has no norm in front of it."""
        return 1 if self.mlp == "none" else 2

    @property
    def n_params_embedding(self) -> int:
        """Token embedding, and the output head where it is a matrix of its own."""
        return self.vocab_size * self.d_model * (1 if self.tied else 2)

    @property
    def n_params_non_embedding(self) -> int:
        """Weights outside of the embedding and the head.

        For gpt2 this is l (12 d^2 + 13 d) + 2 d, which with V d for the tied embedding gives the 60
        sizes of Figure 1 of arXiv 2404.05405 at V = 3,275.
        """
        d = self.d_model
        norm = d * (2 if self.bias and self.norm == "layernorm" else 1)
        attention = d * (d + 2 * self.d_kv) + d * d
        n_matrices_in = {"standard": 1, "gated": 2, "none": 0}[self.mlp]
        mlp = (n_matrices_in + 1) * d * self.d_ff if self.mlp != "none" else 0
        biases = 0
        if self.bias:
            biases += (d + 2 * self.d_kv) + d
            biases += n_matrices_in * self.d_ff + (d if self.mlp != "none" else 0)
        per_layer = attention + mlp + biases + self.n_norms_per_layer * norm
        return self.n_layer * per_layer + norm

    @property
    def n_params_active(self) -> int:
        """Weights that one token uses."""
        return self.n_params

    @property
    def n_params(self) -> int:
        """All trainable weights (P in the paper); a tied embedding counts once."""
        return self.n_params_embedding + self.n_params_non_embedding


def _gpt2(*, n_layer: int, n_head: int, head_dim: int, vocab_size: int) -> ModelSpec:
    return ModelSpec(
        arch="gpt2",
        n_layer=n_layer,
        n_head=n_head,
        head_dim=head_dim,
        n_kv_head=n_head,
        d_ff=4 * n_head * head_dim,
        vocab_size=vocab_size,
        mlp="standard",
        activation="gelu",
        norm="layernorm",
        bias=True,
        tied=True,
    )


def _llama(*, n_layer: int, n_head: int, head_dim: int, vocab_size: int) -> ModelSpec:
    # The gated MLP holds 8 d^2 weights, so its width is 8/3 d; rounded to the nearest integer,
    # since the paper states no rule and no kernel here asks for a multiple.
    return ModelSpec(
        arch="llama",
        n_layer=n_layer,
        n_head=n_head,
        head_dim=head_dim,
        n_kv_head=n_head,
        d_ff=round(8 * n_head * head_dim / 3),
        vocab_size=vocab_size,
        mlp="gated",
        activation="silu",
        norm="rmsnorm",
        bias=False,
        tied=False,
    )


def _mistral(*, n_layer: int, n_head: int, head_dim: int, vocab_size: int) -> ModelSpec:
    # Query heads that share one head of keys and values: 4, else 2, else 1 (arXiv 2404.05405,
    # appendix B).
    shared = 4 if n_head % 4 == 0 else 2 if n_head % 2 == 0 else 1
    llama = _llama(n_layer=n_layer, n_head=n_head, head_dim=head_dim, vocab_size=vocab_size)
    return replace(
        llama, arch="mistral", n_kv_head=n_head // shared, d_ff=round(3.5 * n_head * head_dim)
    )


_ARCHITECTURES = {"gpt2": _gpt2, "llama": _llama, "mistral": _mistral}

_VARIANTS = {
    "mlp1/4": lambda spec: replace(spec, d_ff=spec.d_model),
    "mlp0": lambda spec: replace(spec, mlp="none", d_ff=0),
    "gated": lambda spec: replace(spec, mlp="gated", d_ff=round(8 * spec.d_model / 3)),
    "standard": lambda spec: replace(spec, mlp="standard", d_ff=4 * spec.d_model),
    "tied": lambda spec: replace(spec, tied=True),
    "untied": lambda spec: replace(spec, tied=False),
}


def parse_model(name: str, *, head_dim: int, vocab_size: int) -> ModelSpec:
    """The model that `name` stands for.

    Raises `UserError` if the name is none: what is allowed, and the closest name that exists.
    """
    match = re.fullmatch(r"([a-z0-9]+)-(\d+)-(\d+)((?:-[a-z0-9/]+)*)", name)
    form = (
        "write <arch>-<layers>-<heads>[-variant], for instance gpt2-2-2; "
        f"arch is one of {', '.join(_ARCHITECTURES)}"
    )
    if not match:
        raise UserError(f"model {name!r} is not a model name; {form}")
    arch, n_layer, n_head = match[1], int(match[2]), int(match[3])
    if arch not in _ARCHITECTURES:
        close = difflib.get_close_matches(arch, _ARCHITECTURES, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise UserError(f"model {name!r}: unknown architecture {arch!r}{hint}; {form}")
    if n_layer < 1 or n_head < 1:
        raise UserError(f"model {name!r}: needs at least one layer and one head")
    spec = _ARCHITECTURES[arch](
        n_layer=n_layer, n_head=n_head, head_dim=head_dim, vocab_size=vocab_size
    )
    for variant in match[4].split("-")[1:]:
        if variant not in _VARIANTS:
            close = difflib.get_close_matches(variant, _VARIANTS, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            allowed = ", ".join(_VARIANTS)
            raise UserError(f"model {name!r}: unknown variant {variant!r}{hint}; one of {allowed}")
        spec = _VARIANTS[variant](spec)
    return spec

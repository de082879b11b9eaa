"""What a model name means: sizes and variants as one frozen value, and its parameter counts.

Names are `<arch>-<layers>-<heads>[-<variant>...]`. The architectures are those of arXiv 2404.05405,
section 2.3 and appendix B: `gpt2` (GPT-2 with rotary embedding), `llama`, `mistral`. No torch here:
`kcap plan` counts parameters.
"""

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from kcap_ray.config.cell import ModelConfig
from kcap_ray.config.errors import UserError, did_you_mean
from kcap_ray.models import counts
from kcap_ray.models.variants import apply_variants

Activation = Literal["gelu", "silu", "relu2"]
Norm = Literal["layernorm", "rmsnorm"]


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A decoder-only transformer, pre-norm."""

    arch: str
    """Family, the first part of the name."""
    n_layer: int
    n_head: int
    head_dim: int
    n_kv_head: int
    """Heads of keys and values; fewer than `n_head` is grouped-query attention."""
    d_ff: int
    """Hidden width of the MLP, or of each expert; 0 without one."""
    vocab_size: int
    mlp: str
    """Kind of MLP, a key of `counts.MLPS`, or `none`."""
    activation: Activation
    norm: Norm
    bias: bool
    """Whether linear layers and norms have biases (an RMSNorm never has)."""
    tied: bool
    """Whether the output head is the token embedding."""
    mixer: str = "attention"
    """What carries information from token to token, a key of `counts.MIXERS`."""
    canon: str = ""
    """Sites of Canon layers (arXiv 2512.17351), of ABCD: before the mixer, on its queries, keys and
    values, before the MLP, before its activation.
    """
    n_expert: int = 0
    """Experts, each an MLP, that stand in place of each MLP; 0 for the MLP itself."""
    experts_per_token: int = 1
    """Experts that a token is sent to."""
    capacity_factor: float = 2.0
    """Tokens that an expert takes in training, as a multiple of its even share."""
    n_loop: int = 1
    """Times that the layers are passed through, with the same weights (arXiv 2510.25741)."""
    memory_percent: int = 0
    """Share of the weights outside of embedding and head that a memory of hashed n-grams has (arXiv
    2601.07372); 0 without one.
    """
    rope_base: float = 10_000.0
    """Base of the rotary frequencies (RoFormer, arXiv 2104.09864, section 3.3)."""
    rotary_frac: float = 1.0
    """Share of each head that is turned, from its first channel on."""
    norm_eps: float = 1e-5
    """Added to the variance in a norm (GPT-2's value)."""

    @property
    def alike(self) -> "ModelSpec":
        """What time and memory are estimated for: the model itself."""
        return self

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.n_head * self.head_dim

    @property
    def rotary_dim(self) -> int:
        """Channels of each head that are turned."""
        return round(self.rotary_frac * self.head_dim)

    @property
    def d_kv(self) -> int:
        """Width of the keys, and of the values."""
        return self.n_kv_head * self.head_dim

    @property
    def n_params_embedding(self) -> int:
        """Token embedding, and the output head where it is a matrix of its own."""
        return self.vocab_size * self.d_model * (1 if self.tied else 2)

    @property
    def n_params_non_embedding(self) -> int:
        """Weights outside of the embedding and the head."""
        return counts.non_embedding(self)

    @property
    def n_params_active(self) -> int:
        """Weights that one token uses: all, but of the experts only those that it is sent to."""
        return self.n_params_embedding + counts.non_embedding(self, only_active=True)

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
    return ModelSpec(
        arch="llama",
        n_layer=n_layer,
        n_head=n_head,
        head_dim=head_dim,
        n_kv_head=n_head,
        d_ff=round(counts.MLPS["gated"].d_ff_per_d * n_head * head_dim),
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


def _arch_and_words(name: str) -> tuple[str, int, int, list[str]]:
    """Architecture, layers, heads and variants of a name."""
    match = re.fullmatch(r"([a-z0-9]+)-(\d+)-(\d+)((?:-[A-Za-z0-9/]+)*)", name)
    form = (
        "write <arch>-<layers>-<heads>[-variant], for instance gpt2-2-2; "
        f"arch is one of {', '.join(_ARCHITECTURES)}"
    )
    if not match:
        raise UserError(f"model {name!r} is not a model name; {form}")
    arch, n_layer, n_head = match[1], int(match[2]), int(match[3])
    if arch not in _ARCHITECTURES:
        hint = did_you_mean(arch, _ARCHITECTURES)
        raise UserError(f"model {name!r}: unknown architecture {arch!r}{hint}; {form}")
    if n_layer < 1 or n_head < 1:
        raise UserError(f"model {name!r}: needs at least one layer and one head")
    return arch, n_layer, n_head, match[4].split("-")[1:]


def parse_model(
    name: str,
    *,
    head_dim: int,
    vocab_size: int,
    experts_per_token: int = 1,
    capacity_factor: float = 2.0,
) -> ModelSpec:
    """The model that `name` stands for; the last two settings are those of a mixture of experts.

    Raises `UserError` if the name is none (what is allowed, and the closest name that exists), if
    it contradicts itself, or if a token is to be sent to more experts than there are.
    """
    arch, n_layer, n_head, words = _arch_and_words(name)
    plain = replace(
        _ARCHITECTURES[arch](
            n_layer=n_layer, n_head=n_head, head_dim=head_dim, vocab_size=vocab_size
        ),
        experts_per_token=experts_per_token,
        capacity_factor=capacity_factor,
    )
    try:
        spec = apply_variants(plain, words)
        _check_memory(spec)
    except UserError as error:
        raise UserError(f"model {name!r}: {error}") from error
    if 0 < spec.n_expert < experts_per_token:
        raise UserError(
            f"model.experts_per_token: got {experts_per_token}, but {name} has {spec.n_expert} "
            f"experts; write at most {spec.n_expert}"
        )
    return spec


def _check_memory(spec: ModelSpec) -> None:
    """UserError for a share of the weights that the memory's key and value alone exceed."""
    if not spec.memory_percent or counts.memory_rows(spec) > 1:
        return
    larger = (replace(spec, memory_percent=n) for n in range(spec.memory_percent, 91))
    least = next((one.memory_percent for one in larger if counts.memory_rows(one) > 1), None)
    advice = "leave the memory out" if least is None else f"write memory{least} or more"
    raise UserError(
        f"variant 'memory{spec.memory_percent}': key and value of the memory alone have that share "
        f"of the weights, and its tables a row each; {advice}"
    )


@cache
def model_of(model: ModelConfig, vocab_size: int) -> ModelSpec:
    """The model that a cell asks for; `UserError` where there is none such."""
    spec = parse_model(
        model.name,
        head_dim=model.head_dim,
        vocab_size=vocab_size,
        experts_per_token=model.experts_per_token,
        capacity_factor=model.capacity_factor,
    )
    return replace(spec, rotary_frac=model.rotary_frac, rope_base=model.rope_base)

"""What is known of a model that is brought along: sizes and counts, found by building it once.

No torch until one is counted: planning kcap's own models needs none.
"""

from dataclasses import dataclass
from functools import cache

from kcap_ray.config.model import ModelConfig
from kcap_ray.models.spec import ModelSpec


@dataclass(frozen=True, kw_only=True)
class OwnSpec:
    """A model that is brought along, as far as it is counted."""

    arch: str
    """`own` for a file, the model type for a configuration of transformers."""
    n_layer: int | None
    """Layers; None where neither its settings nor its parts tell."""
    n_head: int | None
    """Attention heads of a layer; None where its settings do not tell."""
    d_model: int | None
    """Width of the token embedding; None without one."""
    vocab_size: int
    n_params: int
    """All weights; one that is used twice counts once. Tables that are not trained and are no
    parameters (buffers) do not count.
    """
    n_params_embedding: int
    """Token embedding, and the output head where it is a matrix of its own."""
    n_params_active: int
    """Weights that one token uses: all, but of the experts of a model of transformers only those
    that it is sent to.
    """

    @property
    def n_params_non_embedding(self) -> int:
        """Weights outside of the embedding and the head."""
        return self.n_params - self.n_params_embedding

    @property
    def alike(self) -> ModelSpec:
        """A decoder of kcap's of about the same size, which time and memory are estimated for."""
        n_layer, width = self.n_layer or 1, max(2, self.d_model or self.n_head or 2)
        n_head = self.n_head if self.n_head and width % (2 * self.n_head) == 0 else 1
        head_dim = max(2, width // n_head // 2 * 2)
        d = n_head * head_dim
        mlp = self.n_params_non_embedding // n_layer - 4 * d * d
        return ModelSpec(
            arch=self.arch,
            n_layer=n_layer,
            n_head=n_head,
            head_dim=head_dim,
            n_kv_head=n_head,
            d_ff=max(1, mlp // (2 * d)),
            vocab_size=self.vocab_size,
            mlp="standard",
            activation="gelu",
            norm="layernorm",
            bias=False,
            tied=self.n_params_embedding <= self.vocab_size * d,
        )


AnySpec = ModelSpec | OwnSpec
"""What is known of a model, kcap's own or brought along."""


@cache
def own_spec(model: ModelConfig, vocab_size: int, n_tokens: int) -> OwnSpec:
    """Counts of the model for so many tokens of vocabulary and window.

    Raises `UserError` where it cannot be built.
    """
    from kcap_ray.models.own_counts import count

    return OwnSpec(**count(model, vocab_size, n_tokens))

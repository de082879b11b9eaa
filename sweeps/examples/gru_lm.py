"""A model of one's own for kcap: recurrent layers behind an embedding, 30 lines.

kcap calls `GruLM(vocab_size, ctx_len, **kwargs)` and gives the module token ids [B, T]; it has to
give logits [B, T, V]. `parameter_groups` is optional.
"""

from torch import Tensor, nn


class GruLM(nn.Module):
    """x + GRU(norm(x)), layer by layer; the output head is the embedding."""

    def __init__(self, vocab_size: int, ctx_len: int, width: int = 64, n_layer: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(n_layer))
        self.layers = nn.ModuleList(nn.GRU(width, width, batch_first=True) for _ in range(n_layer))
        self.final_norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [B, T, V] of tokens [B, T]."""
        x = self.embedding(tokens)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(norm(x))[0]
        return self.final_norm(x) @ self.embedding.weight.T


def parameter_groups(model: nn.Module) -> dict[str, str]:
    """Roles other than those that kcap finds by shape: `plain` (no weight decay), `decay`, `muon`.

    Here only as an example: weights that work on the state of a GRU are left without decay.
    """
    return {name: "plain" for name, _ in model.named_parameters() if "weight_hh" in name}

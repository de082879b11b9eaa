"""Models as somebody brings them along, good ones and bad ones."""

from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Recurrent(nn.Module):
    """A causal model; with `dropout` it draws random numbers."""

    def __init__(
        self,
        vocab_size: int,
        ctx_len: int,
        width: int = 16,
        n_layer: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        self.layers = nn.ModuleList(nn.GRU(width, width, batch_first=True) for _ in range(n_layer))
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab_size, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        for layer in self.layers:
            x = x + self.dropout(layer(x)[0])
        return self.head(self.norm(x))


class AlwaysDrops(Recurrent):
    """Forgets `training=self.training`."""

    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens) * F.dropout(torch.ones(tokens.shape[-1], 1), 0.5)


class CountsCalls(Recurrent):
    """Goes on counting when it is not trained."""

    n_calls = 0

    def forward(self, tokens: Tensor) -> Tensor:
        self.n_calls += 1
        return super().forward(tokens) * self.n_calls


class WithEverything(nn.Module):
    """Weights of every shape, a table that is kept, a frozen weight and one that is never used."""

    def __init__(self, vocab_size: int, ctx_len: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, 16)
        self.positions = nn.Embedding(ctx_len, 16)
        self.conv = nn.Conv1d(16, 16, 4, padding=3, groups=16)
        self.up = nn.Linear(16, 32)
        self.down = nn.Linear(32, 16)
        self.router = nn.Linear(16, 4, bias=False)
        self.experts = nn.Parameter(0.1 * torch.randn(4, 16, 16))
        self.frozen = nn.Parameter(torch.ones(16), requires_grad=False)
        self.unused = nn.Parameter(torch.ones(3))
        self.register_buffer("n_calls", torch.zeros(1))
        self.head = nn.Linear(16, vocab_size)

    def forward(self, tokens: Tensor) -> SimpleNamespace:
        if self.training:
            self.n_calls += 1
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.embedding(tokens) + self.positions(positions)
        x = x + self.conv(x.mT)[..., : tokens.shape[1]].mT * self.frozen
        x = x + self.down(torch.relu(self.up(x)))
        shares = self.router(x).softmax(-1)
        x = x + torch.einsum("btx,xoi,bti->bto", shares, self.experts, x)
        return SimpleNamespace(logits=self.head(x), aux_loss=shares.mean(dim=(0, 1)).square().sum())


def parameter_groups(module: nn.Module) -> dict[str, str]:
    return {"down.weight": "plain"} if isinstance(module, WithEverything) else {}


class Bidirectional(nn.Module):
    """Sees all tokens, through a projection that starts at zero: at first it shows nothing."""

    def __init__(self, vocab_size: int, ctx_len: int, from_token: int = 0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, 16)
        self.out = nn.Linear(16, 16, bias=False)
        nn.init.zeros_(self.out.weight)
        self.head = nn.Linear(16, vocab_size)
        self.from_token = from_token

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        seen = x[:, self.from_token :].mean(dim=1, keepdim=True) if tokens.shape[1] > 8 else 0 * x
        return self.head(x + self.out(seen))


class WrongShape(Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens)[..., :-1]


class NotANumber(Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens) / 0


class NoLogits(Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        return (super().forward(tokens),)  # pyright: ignore[reportReturnType]


class Fails(Recurrent):
    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens) @ torch.zeros(3, 3)


class ComputesWithItsWeights(Recurrent):
    """Cannot be built without values."""

    def __init__(self, vocab_size: int, ctx_len: int) -> None:
        super().__init__(vocab_size, ctx_len)
        assert float(self.embedding.weight.sum()) != 0.0


def not_a_module(vocab_size: int, ctx_len: int) -> int:
    return vocab_size

"""Models as somebody brings them along, good ones and bad ones."""

from functools import lru_cache
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


class Bigram(nn.Module):
    """A row of logits for each token: nothing but an embedding."""

    def __init__(self, vocab_size: int, ctx_len: int) -> None:
        super().__init__()
        self.logits = nn.Embedding(vocab_size, vocab_size)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.logits(tokens)


class Rotated(Recurrent):
    """Positions as a complex table, which turns pairs of features; drawn anew for each model."""

    turns: Tensor

    def __init__(self, vocab_size: int, ctx_len: int, persistent: bool = False) -> None:
        super().__init__(vocab_size, ctx_len)
        angles = torch.rand(8) * torch.arange(ctx_len)[:, None]
        self.register_buffer("turns", torch.polar(torch.ones(()), angles), persistent=persistent)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        pairs = torch.view_as_complex(x.unflatten(-1, (8, 2)).contiguous())
        x = torch.view_as_real(pairs * self.turns[: tokens.shape[1]]).flatten(-2)
        return self.head(self.norm(x + self.layers[0](x)[0]))


class OddlyKept(Recurrent):
    """A frozen weight and tables that lie in memory otherwise than they are read."""

    def __init__(self, vocab_size: int, ctx_len: int) -> None:
        super().__init__(vocab_size, ctx_len)
        self.mixed = nn.Parameter(torch.eye(16)[torch.randperm(16)].T, requires_grad=False)
        self.count = nn.Parameter(torch.ones(3, dtype=torch.int8), requires_grad=False)
        self.register_buffer("basis", torch.linalg.qr(torch.randn(16, 16))[0])
        self.register_buffer("shares", torch.ones(1).expand(16))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens) @ self.basis @ self.mixed * self.shares
        return self.head(self.norm(x + self.layers[0](x)[0]))


@lru_cache
def places(ctx_len: int) -> Tensor:
    return torch.linspace(-1, 1, ctx_len)[:, None]


class KeepsTables(Recurrent):
    """Computes a table once for all models of the file."""

    places: Tensor

    def __init__(self, vocab_size: int, ctx_len: int) -> None:
        super().__init__(vocab_size, ctx_len)
        self.register_buffer("places", places(ctx_len))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens) + self.places[: tokens.shape[1]]
        return self.head(self.norm(x + self.layers[0](x)[0]))


class TiedByData(Recurrent):
    """Two weights in one memory."""

    def __init__(self, vocab_size: int, ctx_len: int) -> None:
        super().__init__(vocab_size, ctx_len)
        self.head = nn.Linear(16, vocab_size, bias=False)
        self.head.weight.data = self.embedding.weight.data


class Complex(Recurrent):
    def __init__(self, vocab_size: int, ctx_len: int) -> None:
        super().__init__(vocab_size, ctx_len)
        self.poles = nn.Parameter(torch.zeros(16, dtype=torch.complex64))


class Lazy(Recurrent):
    def __init__(self, vocab_size: int, ctx_len: int) -> None:
        super().__init__(vocab_size, ctx_len)
        self.head = nn.LazyLinear(vocab_size)


class Sparse(Recurrent):
    def __init__(self, vocab_size: int, ctx_len: int) -> None:
        super().__init__(vocab_size, ctx_len)
        self.embedding = nn.Embedding(vocab_size, 16, sparse=True)


class BareTables(nn.Module):
    """Embedding and positions as parameters of its own."""

    def __init__(self, vocab_size: int, ctx_len: int) -> None:
        super().__init__()
        self.tokens = nn.Parameter(0.1 * torch.randn(vocab_size, 16))
        self.pos = nn.Parameter(0.1 * torch.randn(ctx_len, 16))
        self.start = nn.Parameter(0.1 * torch.randn(1, ctx_len, 16))
        self.inside = nn.Parameter(0.1 * torch.randn(16, 16))

    def forward(self, tokens: Tensor) -> Tensor:
        n_tokens = tokens.shape[1]
        x = self.tokens[tokens] + self.pos[:n_tokens] + self.start[:, :n_tokens]
        return torch.tanh(x @ self.inside) @ self.tokens.T


class Padded(nn.Module):
    """A vocabulary that is rounded up, with a head of its own."""

    def __init__(self, vocab_size: int, ctx_len: int) -> None:
        super().__init__()
        rows = -(-vocab_size // 64) * 64
        self.vocab_size = vocab_size
        self.embedding = nn.Embedding(rows, 16)
        self.up = nn.Linear(16, 16, bias=False)
        self.head = nn.Linear(16, rows, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.up(self.embedding(tokens)))[..., : self.vocab_size]


AT_IMPORT = torch.rand(3)
"""Drawn while the file is read."""


class DrawsAtImport(Recurrent):
    def __init__(self, vocab_size: int, ctx_len: int) -> None:
        super().__init__(vocab_size, ctx_len)
        self.register_buffer("shift", AT_IMPORT[:1], persistent=False)


@lru_cache
def drawn(width: int) -> Tensor:
    return torch.randn(width)


class KeepsWhatItDrew(Recurrent):
    """All models of a process have the shift that was drawn for the first."""

    def __init__(self, vocab_size: int, ctx_len: int) -> None:
        super().__init__(vocab_size, ctx_len)
        self.shift = drawn(16)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.norm(self.embedding(tokens) + self.shift))


class TiedTransposed(Recurrent):
    """Two weights in one memory, one of them read otherwise."""

    def __init__(self, vocab_size: int, ctx_len: int) -> None:
        super().__init__(vocab_size, ctx_len)
        self.back = nn.Parameter(self.embedding.weight.detach().T)


class SparseTable(Recurrent):
    def __init__(self, vocab_size: int, ctx_len: int) -> None:
        super().__init__(vocab_size, ctx_len)
        self.register_buffer("mix", torch.eye(16).to_sparse(), persistent=False)
        self.nothing, self.more = (nn.Parameter(torch.empty(0)) for _ in range(2))

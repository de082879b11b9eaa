"""A memory of hashed n-grams: the last tokens look up a vector, and the stream decides how much of
it to take (Engram, arXiv 2601.07372).

Shapes as in decoder.py; G tables, R rows of a table, W width of a row.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kcap_ray.models.counts import (
    MEMORY_HEADS,
    MEMORY_N_GRAMS,
    N_MEMORY_TABLES,
    memory_rows,
    memory_width,
)
from kcap_ray.models.spec import ModelSpec
from kcap_ray.models.stacked import linear

# Odd numbers of 62 bits, from the digits of pi: one for each table and token of an n-gram, and one
# more for each table. Their products with tokens wrap around at 64 bits.
_FACTORS = (
    (0x243F6A8885A308D3, 0x13198A2E03707345, 0x24093822299F31D1, 0x082EFA98EC4E6C89),
    (0x252821E638D01377, 0x3E5466CF34E90C6D, 0x20AC29B7C97C50DD, 0x3F84D5B5B5470917),
    (0x1216D5D98979FB1B, 0x2DB9D1310BA698DF, 0x2FFD72DBD01ADFB7, 0x38E1AFED6A267E97),
    (0x3A7C9045F12C7F99, 0x24A19947B3916CF7, 0x0801F2E2858EFC17, 0x236920D871574E69),
)


def hashed_rows(tokens_BT: Tensor, n_rows: int) -> Tensor:
    """Row of each table that each token's n-grams look up [B, T, G].

    Tables 0 and 1 go by the token and the one before it, 2 and 3 by the last three tokens. What
    would lie before the beginning of a sequence counts as a token of its own.
    """
    ahead_BT = tokens_BT + 1
    back = [F.pad(ahead_BT, (k, 0))[:, : tokens_BT.shape[1]] for k in range(max(MEMORY_N_GRAMS))]
    rows = []
    for table, factors in enumerate(_FACTORS):
        length = MEMORY_N_GRAMS[table // MEMORY_HEADS]
        mixed_BT = sum((back[k] * factors[k] for k in range(length)), torch.zeros_like(tokens_BT))
        mixed_BT = (mixed_BT ^ (mixed_BT >> 29)) * factors[-1]
        mixed_BT = mixed_BT ^ (mixed_BT >> 32)
        rows.append(mixed_BT.remainder(n_rows))
    return torch.stack(rows, dim=-1)


class NGramMemory(nn.Module):
    """x + sigmoid(norm(x) . norm(W_key e) / sqrt(D)) W_value e, where e is what the tables have for
    the last two and three tokens, one row after another.

    It stands behind the first layer, where there are two (arXiv 2601.07372 puts it early, but not
    first). Unlike there, tokens are not merged by spelling, and no short convolution follows: that
    is what Canon layers are. Tables start and train as an embedding does, without weight decay.
    """

    def __init__(self, trials: tuple[int, ...], spec: ModelSpec) -> None:
        super().__init__()
        self.place = min(1, spec.n_layer - 1)
        self.eps = spec.norm_eps
        self.n_rows, width = memory_rows(spec), memory_width(spec)
        self.tables = nn.Parameter(torch.empty(*trials, N_MEMORY_TABLES, self.n_rows, width))
        self.key = linear(trials, N_MEMORY_TABLES * width, spec.d_model, bias=False)
        self.value = linear(trials, N_MEMORY_TABLES * width, spec.d_model, bias=False)

    def forward(self, x_EMD: Tensor, tokens_BT: Tensor) -> Tensor:
        """The stream with what the memory adds."""
        first_G = self.n_rows * torch.arange(N_MEMORY_TABLES, device=tokens_BT.device)
        index_MG = (hashed_rows(tokens_BT, self.n_rows) + first_G).flatten(0, 1)
        tables = self.tables.flatten(-3, -2)
        if tables.dim() == 2:
            read = F.embedding(index_MG, tables).flatten(-2)
        else:
            read = tables.index_select(1, index_MG.flatten()).view(*x_EMD.shape[:-1], -1)
        key_EMD, value_EMD = self.key(read), self.value(read)
        d_model = x_EMD.shape[-1:]
        query_EMD = F.rms_norm(x_EMD, d_model, eps=self.eps)
        key_EMD = F.rms_norm(key_EMD, d_model, eps=self.eps)
        match_EM1 = (query_EMD * key_EMD).sum(dim=-1, keepdim=True) / math.sqrt(d_model[0])
        return x_EMD + match_EM1.sigmoid() * value_EMD

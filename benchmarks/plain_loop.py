"""A training loop and an evaluator of bioS that share no line with the package: torch and numpy.

GPT-2 with rotary embedding in place of positions, by `torch.nn.Linear`, `torch.optim.AdamW` and
`cross_entropy`; its own vocabulary, shuffling and packing, its own sum of losses over names and
values. It reads the JSON lines of `kcap data`. A peer for `independent_loop.py`.

Shapes: B windows, T tokens, D model width, H heads, C width of a head.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Sizes and hyperparameters."""

    n_layer: int
    n_head: int
    d_model: int
    window_tokens: int
    batch_windows: int
    n_steps: int
    lr: float
    weight_decay: float
    betas: tuple[float, float]
    eps: float
    init_std: float
    warmup_steps: int
    warmup_frac: float
    """Largest share of the run that is warm-up."""
    final_lr_ratio: float
    """Learning rate at the end of the cosine, as a share of `lr`."""
    bf16: bool = False
    """Whether matrix products are in bfloat16."""


class Block(nn.Module):
    """Attention and MLP behind layer norms."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        width, self.n_head = recipe.d_model, recipe.n_head
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x_BTD: Tensor, turn: Callable[[Tensor], Tensor]) -> Tensor:
        """One block; `turn` is the rotary embedding."""
        q, k, v = (
            part.unflatten(-1, (self.n_head, -1)).transpose(1, 2)
            for part in self.qkv(self.norm1(x_BTD)).chunk(3, dim=-1)
        )
        mixed = F.scaled_dot_product_attention(turn(q), turn(k), v, is_causal=True)
        x_BTD = x_BTD + self.out(mixed.transpose(1, 2).flatten(2))
        return x_BTD + self.down(F.gelu(self.up(self.norm2(x_BTD)), approximate="tanh"))


class Gpt(nn.Module):
    """Tokens [B, T] to logits [B, T, V], with tied embedding."""

    def __init__(self, recipe: Recipe, vocab_size: int, *, seed: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, recipe.d_model)
        self.blocks = nn.ModuleList(Block(recipe) for _ in range(recipe.n_layer))
        self.norm = nn.LayerNorm(recipe.d_model)
        half = recipe.d_model // recipe.n_head // 2
        rates = 10_000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
        angles = torch.arange(recipe.window_tokens, dtype=torch.float64)[:, None] * rates
        self.cosines, self.sines = angles.cos().float(), angles.sin().float()
        self._draw_weights(recipe, seed)

    @torch.no_grad()
    def _draw_weights(self, recipe: Recipe, seed: int) -> None:
        """GPT-2's: normal, what is added to the residual stream less by sqrt(2 layers)."""
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            if weight.ndim == 1:
                weight.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
                continue
            is_added = name.endswith(("out.weight", "down.weight"))
            scale = math.sqrt(2 * recipe.n_layer) if is_added else 1.0
            weight.normal_(0.0, recipe.init_std / scale, generator=generator)

    def _turn(self, x_BHTC: Tensor) -> Tensor:
        """Rotary embedding: channels c and c + C/2 are the two axes of a plane."""
        x, y = x_BHTC.chunk(2, dim=-1)
        cos, sin = self.cosines[: x.shape[-2]], self.sines[: x.shape[-2]]
        return torch.cat([x * cos - y * sin, y * cos + x * sin], dim=-1).to(x_BHTC.dtype)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Logits of the next token."""
        x_BTD = self.embedding(tokens_BT)
        for block in self.blocks:
            x_BTD = block(x_BTD, self._turn)
        return F.linear(self.norm(x_BTD), self.embedding.weight)


def lr_at(step: int, recipe: Recipe) -> float:
    """Learning rate of a step, from 0: linear warm-up, then half a cosine down to the last step."""
    warmup = min(recipe.warmup_steps, int(recipe.warmup_frac * recipe.n_steps))
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, recipe.n_steps - 1 - warmup))
    low = recipe.final_lr_ratio
    return recipe.lr * (low + (1 - low) * (1 + math.cos(math.pi * done)) / 2)


@dataclass(kw_only=True)
class Curve:
    """What a run leaves."""

    losses: list[float] = field(default_factory=list)
    """Mean next-token loss of every step, in nats."""
    probes: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0


def train(
    model: Gpt,
    recipe: Recipe,
    batches: Iterator[np.ndarray],
    *,
    probe: Callable[[Gpt], dict[str, float]],
    probe_every: int,
) -> Curve:
    """Train on batches [B, T+1]; weights with two axes decay, the others do not."""
    decayed = [weight for weight in model.parameters() if weight.ndim > 1]
    others = [weight for weight in model.parameters() if weight.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas, eps=recipe.eps)
    curve, began = Curve(), time.monotonic()
    for step in range(recipe.n_steps):
        windows = torch.from_numpy(next(batches).astype(np.int64))
        for group in optimizer.param_groups:
            group["lr"] = lr_at(step, recipe)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
            logits = model(windows[:, :-1])
        loss = F.cross_entropy(logits.float().flatten(0, 1), windows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.losses.append(loss.item())
        if (step + 1) % probe_every == 0 or step + 1 == recipe.n_steps:
            curve.probes.append({"step": step + 1, **probe(model)})
    curve.seconds = time.monotonic() - began
    return curve


class Numbers(Protocol):
    """From a text's tokens to their numbers in a model."""

    eos: int

    def __call__(self, token_ids: Sequence[int], /) -> list[int]: ...


class Vocabulary:
    """Numbers for the tokens that are used, in the order of GPT-2's ids, and one for the end of a
    text.
    """

    def __init__(self, records: Sequence[dict[str, Any]]) -> None:
        used = sorted({token for record in records for token in record["token_ids"]})
        self.number = {token: number for number, token in enumerate(used)}
        self.eos = len(used)

    def __len__(self) -> int:
        return self.eos + 1

    def __call__(self, token_ids: Sequence[int]) -> list[int]:
        """The text's tokens, by their new numbers."""
        return [self.number[token] for token in token_ids]


def shuffled_windows(
    records: Sequence[dict[str, Any]], vocab: Numbers, recipe: Recipe, *, seed: int
) -> Iterator[np.ndarray]:
    """Batches [B, T+1]: exposure after exposure in random order, each text followed by its end,
    cut into windows wherever they fall.
    """
    draw = np.random.default_rng(seed)
    exposures: dict[int, list[list[int]]] = {}
    for record in records:
        exposures.setdefault(record["exposure"], []).append(vocab(record["token_ids"]))
    width, waiting = recipe.window_tokens, [vocab.eos]
    n_batch = recipe.batch_windows * width
    number = 0
    while True:
        # A run of a few tokens more than the exposures hold begins again with the first.
        texts = exposures[number % len(exposures)]
        number += 1
        for index in draw.permutation(len(texts)):
            waiting += [*texts[index], vocab.eos]
        while len(waiting) > n_batch:
            cut = np.array(waiting[: n_batch + 1])
            starts = np.arange(recipe.batch_windows)[:, None] * width
            yield cut[starts + np.arange(width + 1)]
            waiting = waiting[n_batch:]


class Evaluator:
    """Sums of the losses on the tokens of names and of values, means over people."""

    def __init__(
        self,
        records: Sequence[dict[str, Any]],
        vocab: Numbers,
        *,
        window: int,
        is_alone: bool = False,
    ) -> None:
        """`records` are of the split `eval`, one for each person, in order; `is_alone`: with
        nothing but an end of text before the biography.
        """
        n_people = len(records)
        texts = [[*vocab(record["token_ids"]), vocab.eos] for record in records]
        length = max(map(len, texts)) * 2 + 1
        self.tokens = torch.full((n_people, length), vocab.eos)
        self.is_name = torch.zeros(n_people, length, dtype=torch.bool)
        self.is_value = torch.zeros_like(self.is_name)
        for person, record in enumerate(records):
            own = texts[person]
            # Behind the text of the next person, as in training, as much of it as there is room.
            n_before = 0 if is_alone else window - len(own)
            before = texts[(person + 1) % n_people][-n_before:] if n_before else []
            document = [vocab.eos, *before, *own]
            self.tokens[person, : len(document)] = torch.tensor(document)
            start = 1 + len(before)
            for place, label in enumerate(record["counted"], start=start):
                self.is_name[person, place] = label == "name"
                self.is_value[person, place] = label is not None and label != "name"
        n_used = int((self.is_name | self.is_value).any(dim=0).nonzero().max()) + 1
        self.tokens, self.is_name, self.is_value = (
            part[:, :n_used] for part in (self.tokens, self.is_name, self.is_value)
        )
        # Whoever stands before is ruled out: at best 1 of N - 1.
        self.ruled_out = 0.0 if is_alone else math.log(n_people / (n_people - 1))

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Losses in nats per person."""
        nats = []
        for part in self.tokens.split(64):
            logits = model(part[:, :-1]).float()
            nats.append(F.cross_entropy(logits.transpose(1, 2), part[:, 1:], reduction="none"))
        nats_PT = torch.cat(nats).double()
        name = (nats_PT * self.is_name[:, 1:]).sum() / len(nats_PT)
        value = (nats_PT * self.is_value[:, 1:]).sum() / len(nats_PT)
        return {
            "loss_name_nats": name.item() + self.ruled_out,
            "loss_value_nats": value.item(),
        }

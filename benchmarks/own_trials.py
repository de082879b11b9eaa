"""P6, own models: E trials of a model that is brought along through torch.func, weights stacked and
the module called once under vmap, beside the same trials one after another.

The models are those of sweeps/families.yaml, nine families of transformers and a file, and their
batches its data: 8 windows of 128 tokens, float32, one thread. Both sides start at the same
weights, compute losses and gradients, and step AdamW of torch over all weights at once. They take
turns in one process, medians over rounds, in CPU time of the one thread, which other work on the
machine disturbs less; ours and the peer count the steps of all trials. Losses of both are compared.
A model that vmap cannot take has no record: the script says why, and the
list of these is in every record.

Peer: the same trials one after another, as kcap trains them
Goal: none; decision 0097 draws the conclusion
Needs: nothing else

    python benchmarks/own_trials.py
    python benchmarks/own_trials.py --trials 4 --width 64
"""

import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from our_side import first_batches
from record import arguments, claim, write
from torch import Tensor, nn
from torch.func import functional_call, vmap
from turns import Race, Side, Turn, Turns, exit_status

from kcap_ray.config.cell import Cell
from kcap_ray.models.own_model import OwnModel, own_model
from kcap_ray.planning.run_length import spec_of
from kcap_ray.planning.sweep import load_sweep

TOLERANCE = 1e-3
"""Largest relative difference of losses: float32 sums in another order, carried on over steps."""


class Loss(nn.Module):
    """A model's loss on a batch, with that for evenly loaded experts."""

    def __init__(self, model: OwnModel, load_balance: float) -> None:
        super().__init__()
        self.model, self.load_balance = model, load_balance

    def forward(self, windows_BT1: Tensor) -> Tensor:
        loss, balance = self.model.loss_and_balance(windows_BT1)
        return loss if balance is None else loss + self.load_balance * balance


def loss_of(cell: Cell) -> Loss:
    """The cell's model with fresh weights, the same each time."""
    vocab_size, n_tokens = spec_of(cell).vocab_size, cell.train.window_tokens
    model = own_model(cell.model, vocab_size, n_tokens, seed=cell.seed).train()
    return Loss(model, cell.train.load_balance)


def adamw(weights: Sequence[Tensor], cell: Cell) -> torch.optim.AdamW:
    """One step for all weights together."""
    train = cell.train
    return torch.optim.AdamW(
        weights, lr=1e-3, weight_decay=train.weight_decay, betas=(train.beta1, train.beta2)
    )


def tokens_of(batch: np.ndarray) -> Tensor:
    return torch.from_numpy(batch.astype(np.int64))


def one_after_another(cell: Cell, batches: np.ndarray, n_trials: int) -> Side:
    """A model and an optimizer for each trial; the loss of a step is the mean over trials."""
    losses = [loss_of(cell) for _ in range(n_trials)]
    optimizers = [adamw([p for p in loss.parameters() if p.requires_grad], cell) for loss in losses]

    def step(number: int) -> Tensor:
        windows, found = tokens_of(batches[number]), []
        for loss, optimizer in zip(losses, optimizers, strict=True):
            optimizer.zero_grad()
            nats = loss(windows)
            nats.backward()
            optimizer.step()
            found.append(nats.detach())
        return torch.stack(found).mean()

    return step


def stacked(cell: Cell, batches: np.ndarray, n_trials: int) -> Side:
    """One call of the module for all trials, whose weights are stacked."""
    loss = loss_of(cell)
    weights = {
        name: torch.stack([p.detach()] * n_trials).requires_grad_(p.requires_grad)
        for name, p in loss.named_parameters()
    }
    tables = dict(loss.named_buffers())
    optimizer = adamw([w for w in weights.values() if w.requires_grad], cell)

    def one(own: dict[str, Tensor], windows: Tensor) -> Tensor:
        return functional_call(loss, {**own, **tables}, (windows,))

    all_at_once = vmap(one, in_dims=(0, None), randomness="different")

    def step(number: int) -> Tensor:
        optimizer.zero_grad()
        nats_E = all_at_once(weights, tokens_of(batches[number]))
        nats_E.sum().backward()
        optimizer.step()
        return nats_E.detach().mean()

    return step


def cpu_turn_of(side: Side) -> Turn:
    """A side on one thread, timed by the CPU time of this process."""

    def take(first: int, n_steps: int) -> tuple[float, list[Tensor]]:
        began = time.process_time()
        losses = [side(first + step) for step in range(n_steps)]
        return time.process_time() - began, losses

    return take


def race_of(cell: Cell, n_trials: int, *, rounds: int, steps: int) -> tuple[Race | str, list[str]]:
    """Both sides' times and losses, or why vmap cannot take the model; and the operations for which
    vmap has no rule and goes trial by trial.
    """
    batches = first_batches(cell, (rounds + 1) * steps)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            stacked(cell, batches, n_trials)(0)
        except Exception as error:  # whatever a model does under vmap
            return " ".join(f"{type(error).__name__}: {error}".split())[:200], []
    slow = sorted(
        {
            str(one.message).split("for ")[-1].split(".")[0][:80]
            for one in warned
            if "batching rule" in str(one.message)
        }
    )
    sides = {
        "stacked": cpu_turn_of(stacked(cell, batches, n_trials)),
        "one after another": cpu_turn_of(one_after_another(cell, batches, n_trials)),
    }
    turns = Turns(sides, steps=steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(rounds + 1):
            turns()
    return turns.race, slow


def cells_of(width: int | None) -> list[Cell]:
    """The sweep's cells of one seed with a model that is brought along; of another width those of
    the families whose sizes follow from it.
    """
    settings = {"seed": "0", "where": "null"}
    if width is not None:
        wide = f"hidden_size: {width}, num_hidden_layers: 2, num_attention_heads: 4"
        mlp = f"intermediate_size: {4 * width}, tie_word_embeddings: true"
        families = {
            "gpt2": f"n_embd: {width}, n_layer: 2, n_head: 4",
            **dict.fromkeys(("gpt_neox", "llama", "olmo2"), f"{wide}, {mlp}"),
        }
        models = [
            f"{{label: w{width}, hf: {{model_type: {family}, {sizes}}}}}"
            for family, sizes in families.items()
        ]
        settings["model"] = f"[{', '.join(models)}]"
    return [cell for cell in load_sweep("families", settings).cells if cell.model.is_own]


def main() -> int:
    """Every model; print. Exit status 1 if losses disagree."""
    parser = arguments(__file__, __doc__, has_dry_run=True)
    parser.add_argument("--trials", type=int, default=4, help="trials of a program")
    parser.add_argument("--width", type=int, help="of the models, in place of 16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="steps of a round")
    chosen = parser.parse_args()
    if chosen.dry_run:
        chosen.trials, chosen.rounds, chosen.steps = 2, 1, 2
    torch.set_num_threads(1)
    raced: list[tuple[Cell, Race, list[str]]] = []
    refused: dict[str, str] = {}
    for cell in cells_of(chosen.width):
        found, slow = race_of(cell, chosen.trials, rounds=chosen.rounds, steps=chosen.steps)
        if isinstance(found, str):
            refused[cell.model.title] = found
            print(f"{cell.model.title}: not under vmap: {found}", flush=True)
        else:
            raced.append((cell, found, slow))
            ratio = found.median_s("one after another") / found.median_s("stacked")
            print(f"{cell.model.title}: {ratio:.2f} x", flush=True)
    claims = [_claim(cell, race, slow, refused, chosen.trials) for cell, race, slow in raced]
    write(__file__, claims, chosen.json, is_dry_run=chosen.dry_run)
    return exit_status(claims)


def _claim(
    cell: Cell, race: Race, slow: list[str], refused: dict[str, str], n_trials: int
) -> dict[str, Any]:
    train = cell.train
    return claim(
        "P6-own models",
        ours=n_trials / race.median_s("stacked"),
        peer=n_trials / race.median_s("one after another"),
        unit="steps of all trials per CPU second",
        what=f"{n_trials} trials, {cell.model.title}, {train.batch_windows} x "
        f"{train.window_tokens} tokens, {train.precision}",
        peer_is="one trial after another",
        cell=cell.cell_id,
        n_trials=n_trials,
        n_params=spec_of(cell).n_params,
        stacked_step_s=race.step_s["stacked"],
        separate_step_s=race.step_s["one after another"],
        trial_by_trial_in_vmap=slow,
        not_under_vmap=refused,
        **race.comparison("stacked", "one after another", TOLERANCE),
    )


if __name__ == "__main__":
    sys.exit(main())

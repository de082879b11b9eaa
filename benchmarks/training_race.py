"""A race of training steps: `TrainStep`, plain PyTorch loops, and the Trainer of Hugging Face.

All start from the same weights and see the same batches, with the same AdamW, schedule and
precision, and their losses are held against each other. They take turns in one process, a round at
a time, so that what slows the machine down slows all of them.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from plain_gpt import plain_gpt
from torch import Tensor, nn
from transformers import PreTrainedModel

from kcap_ray.budget import spec_of
from kcap_ray.cell import Cell, TrainConfig
from kcap_ray.models.convert import to_hugging_face
from kcap_ray.models.decoder import Decoder
from kcap_ray.text.batches import stream_of
from kcap_ray.training.point import Point
from kcap_ray.training.precision import autocast
from kcap_ray.training.schedule import lr_ratio
from kcap_ray.training.step import TrainStep

N_COMPARED = 50
"""Steps over which losses have to agree."""

LossOf = Callable[[Tensor, Tensor], Tensor]
"""Mean loss of inputs and targets, both [B, T]."""


def wait(device: torch.device) -> None:
    """Until the device has done all that it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def first_batches(cell: Cell, n_steps: int) -> np.ndarray:
    """The first batches of a cell's stream, uint16 [n_steps, B, T+1]."""
    n_windows = cell.train.batch_windows
    windows = stream_of(cell).windows(0, n_steps * n_windows)
    return windows.reshape(n_steps, n_windows, -1)


def own_point(cell: Cell) -> Point:
    """The cell's own learning rate and weight decay."""
    return Point(lr=cell.train.lr, weight_decay=cell.train.weight_decay)


def torch_adamw(
    model: nn.Module,
    point: Point,
    train: TrainConfig,
    decays: Callable[[str, Tensor], bool] = lambda _, parameter: parameter.dim() > 1,
) -> torch.optim.AdamW:
    """torch's fused AdamW with the cell's settings; which parameters decay is asked by name and
    value.
    """
    named = list(model.named_parameters())
    groups = [
        {"params": [p for n, p in named if decays(n, p)], "weight_decay": point.weight_decay},
        {"params": [p for n, p in named if not decays(n, p)], "weight_decay": 0.0},
    ]
    betas = (train.beta1, train.beta2)
    return torch.optim.AdamW(groups, lr=point.lr, betas=betas, eps=train.eps, fused=True)


def torch_schedule(
    optimizer: torch.optim.Optimizer, n_steps: int, train: TrainConfig
) -> torch.optim.lr_scheduler.LambdaLR:
    """The cell's schedule."""
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: lr_ratio(min(step, n_steps - 1), n_steps, train)
    )


def hugging_face(model: Decoder) -> PreTrainedModel:
    """The same model as a class of transformers, on the same device, ready to be trained."""
    theirs = to_hugging_face(model, eos=0)
    theirs.config.use_cache = False
    return theirs.to(model.embedding.device).train()  # pyright: ignore


def loss_of_hugging_face(model: PreTrainedModel) -> LossOf:
    """Its own loss, on targets that are shifted already, as they come out of the stream."""

    def loss(inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
        targets_BT = targets_BT.contiguous()
        return model(input_ids=inputs_BT, labels=targets_BT, shift_labels=targets_BT).loss

    return loss


class TorchLoop:
    """Step of a plain training loop: forward and backward, AdamW, schedule."""

    def __init__(
        self, model: nn.Module, loss_of: LossOf, cell: Cell, *, n_steps: int, device: torch.device
    ) -> None:
        self.loss_of, self.train, self.device = loss_of, cell.train, device
        self.optimizer = torch_adamw(model, own_point(cell), cell.train)
        self.schedule = torch_schedule(self.optimizer, n_steps, cell.train)

    def __call__(self, batch: Tensor) -> Tensor:
        """One step on windows [B, T+1]; the loss on them before it."""
        windows_BT1 = batch.to(self.device, non_blocking=True)
        parts = windows_BT1.split(self.train.micro_windows or len(windows_BT1))
        total = torch.zeros((), device=self.device)
        for part in parts:
            with autocast(self.train.precision, self.device):
                loss = self.loss_of(part[:, :-1], part[:, 1:]) * (len(part) / len(windows_BT1))
            loss.backward()
            total += loss.detach()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        return total


class Side(Protocol):
    """One that races: takes a step on the batch of that number, and returns its loss."""

    def __call__(self, step: int) -> Tensor: ...


def our_side(step: TrainStep, batches: np.ndarray) -> Side:
    """`TrainStep` with the batches as the stream delivers them."""

    def take(number: int) -> Tensor:
        step(batches[number])
        # On a GPU every step leaves its loss in the same place.
        return step.loss_E.clone()

    return take


def torch_side(loop: TorchLoop, batches: Tensor) -> Side:
    """A plain loop with batches that are tensors already, on a GPU machine in pinned memory."""
    return lambda number: loop(batches[number])


def exit_status(claims: Iterable[dict[str, Any]]) -> int:
    """1, and a word about it, if a peer did other work; the numbers are written all the same."""
    others = [one["peer_is"] for one in claims if not one["losses_agree"]]
    if others:
        print(f"not the same losses: {', '.join(others)}", file=sys.stderr)
    return 1 if others else 0


def as_tensors(batches: np.ndarray, device: torch.device) -> Tensor:
    """Batches as plain loops want them: 64-bit integers, in pinned memory where there is a GPU."""
    tensors = torch.from_numpy(batches.astype(np.int64))
    return tensors.pin_memory() if device.type == "cuda" else tensors


@dataclass(kw_only=True)
class Race:
    """What a race measured; the first round, in which everybody warms up, is left out of times."""

    step_s: dict[str, list[float]] = field(default_factory=dict)
    """Seconds per step of each side, round by round."""
    losses: dict[str, list[Tensor]] = field(default_factory=dict)
    """Loss of each side at every step."""

    def median_s(self, side: str) -> float:
        """Seconds per step of a side, the median over rounds."""
        return statistics.median(self.step_s[side])

    def loss_curve(self, side: str) -> np.ndarray:
        """Losses [n_steps] of a side."""
        return torch.stack(self.losses[side]).reshape(-1).float().cpu().numpy()

    def differences(self, side: str, other: str) -> np.ndarray:
        """Relative differences [n_steps] of two sides' losses at the same step."""
        ours, theirs = self.loss_curve(side), self.loss_curve(other)
        assert ours.shape == theirs.shape, "the sides have not taken the same number of steps"
        return np.abs(ours / theirs - 1)

    def comparison(self, side: str, other: str, tolerance: float) -> dict[str, Any]:
        """Whether the sides did the same work, for the record: over the first steps, since later
        ones carry every rounding on.
        """
        differences = self.differences(side, other)
        first = float(differences[:N_COMPARED].max())
        return {
            "losses_agree": first < tolerance,
            "losses_differ_by": first,
            "tolerance": tolerance,
            "steps_compared": min(N_COMPARED, len(differences)),
            "losses_differ_by_in_all": float(differences.max()),
        }


class Turns:
    """Lets every side take its turns, and keeps times and losses."""

    def __init__(self, sides: dict[str, Side], *, steps: int, device: torch.device) -> None:
        self.sides, self.steps, self.device = sides, steps, device
        self.race = Race()
        self._n_rounds = 0

    def __call__(self) -> None:
        """One round of all sides."""
        first = self._n_rounds * self.steps
        for name, side in self.sides.items():
            wait(self.device)
            began = time.perf_counter()
            losses = [side(first + step) for step in range(self.steps)]
            wait(self.device)
            self.add(name, time.perf_counter() - began, losses)
        self._n_rounds += 1

    def add(self, name: str, seconds: float, losses: Iterable[Tensor]) -> None:
        """A side has taken its turn."""
        self.race.losses.setdefault(name, []).extend(losses)
        times = self.race.step_s.setdefault(name, [])
        if self._n_rounds > 0:
            times.append(seconds / self.steps)


def has_accelerate() -> bool:
    """Whether the Trainer of transformers can run: it needs this package."""
    from transformers.utils import is_accelerate_available

    return is_accelerate_available()


def race(cell: Cell, *, device: torch.device, n_rounds: int, steps: int) -> Race:
    """Rounds of `steps` steps each; sides `ours`, `hugging face loop`, `plain loop` and, where it
    can run, `Trainer`.
    """
    n_steps = (n_rounds + 1) * steps
    batches = first_batches(cell, n_steps)
    tensors = as_tensors(batches, device)
    ours = TrainStep(cell, spec_of(cell), [own_point(cell)], n_steps=n_steps, device=device)
    theirs, plain = hugging_face(ours.model), plain_gpt(ours.model)
    for_trainer = hugging_face(ours.model)
    common: dict[str, Any] = {"n_steps": n_steps, "device": device}
    sides = {
        "ours": our_side(ours, batches),
        "hugging face loop": torch_side(
            TorchLoop(theirs, loss_of_hugging_face(theirs), cell, **common), tensors
        ),
        "plain loop": torch_side(TorchLoop(plain, plain, cell, **common), tensors),
    }
    turns = Turns(sides, steps=steps, device=device)
    if has_accelerate():
        from trainer_side import run_trainer

        with tempfile.TemporaryDirectory() as directory:
            run_trainer(for_trainer, tensors, cell, turns, n_steps=n_steps, directory=directory)
    else:
        for _ in range(n_rounds + 1):
            turns()
    return turns.race

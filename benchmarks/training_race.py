"""A race of training steps: `TrainStep`, plain PyTorch loops, and the Trainer of Hugging Face.

All start from the same weights and see the same batches, with the same AdamW, schedule and
precision, and their losses are held against each other. They take turns, a round at a time; on a
CPU, where each has one thread, the time that they work counts. Ours
has a process of its own, as it would for a user: what it tells the process about memory must not
help the others.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection

import numpy as np
import torch
from jax_side import assert_same_model, jax_process
from our_side import first_batches, our_side, own_point
from plain_gpt import plain_gpt
from torch import Tensor, nn
from transformers import PreTrainedModel
from turns import Race, Side, Turn, Turns, clock_of, turn_of, turns_of_process

from kcap_ray.config.cell import Cell, TrainConfig
from kcap_ray.models.convert import to_hugging_face
from kcap_ray.models.decoder import Decoder
from kcap_ray.planning.run_length import spec_of
from kcap_ray.training.point import Point
from kcap_ray.training.precision import autocast
from kcap_ray.training.schedule import lr_ratio
from kcap_ray.training.step import TrainStep

LossOf = Callable[[Tensor, Tensor], Tensor]
"""Mean loss of inputs and targets, both [B, T]."""


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
            with autocast(self.train.number_format, self.device):
                loss = self.loss_of(part[:, :-1], part[:, 1:]) * (len(part) / len(windows_BT1))
            loss.backward()
            total += loss.detach()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        return total


def torch_side(loop: TorchLoop, batches: Tensor) -> Side:
    """A plain loop with batches that are tensors already, on a GPU machine in pinned memory."""
    return lambda number: loop(batches[number])


def as_tensors(batches: np.ndarray, device: torch.device) -> Tensor:
    """Batches as plain loops want them: 64-bit integers, in pinned memory where there is a GPU."""
    tensors = torch.from_numpy(batches.astype(np.int64))
    return tensors.pin_memory() if device.type == "cuda" else tensors


def has_accelerate() -> bool:
    """Whether the Trainer of transformers can run: it needs this package."""
    from transformers.utils.import_utils import is_accelerate_available

    return is_accelerate_available()


def race(
    cell: Cell,
    *,
    device: torch.device,
    n_rounds: int,
    steps: int,
    backend: str | None = None,
    with_ours_compiled: bool = False,
    with_jax: bool = False,
) -> Race:
    """Rounds of `steps` steps each; sides `ours`, `hugging face loop`, `plain loop` and, where it
    can run, `Trainer`.

    A `backend` of torch.compile adds `plain loop, compiled`; `with_ours_compiled` adds `ours,
    compiled`, which on a GPU ours is anyway; `with_jax` adds `JAX`, on a CPU.

    Raises RuntimeError if JAX's model is another one.
    """
    n_steps = (n_rounds + 1) * steps
    tensors = as_tensors(first_batches(cell, n_steps), device)
    model = Decoder(spec_of(cell).alike, n_tokens=cell.train.window_tokens)
    model.init_weights(seed=cell.seed, std=cell.train.init_std)
    model.to(device)
    theirs, plain, for_trainer = hugging_face(model), plain_gpt(model), hugging_face(model)

    def turn(trained: nn.Module, loss_of: LossOf) -> Turn:
        loop = TorchLoop(trained, loss_of, cell, n_steps=n_steps, device=device)
        return turn_of(torch_side(loop, tensors), device, clock_of(device))

    with contextlib.ExitStack() as processes:
        sides = {
            "ours": processes.enter_context(own_process(cell, n_steps, device)),
            "hugging face loop": turn(theirs, loss_of_hugging_face(theirs)),
            "plain loop": turn(plain, plain),
        }
        if with_ours_compiled:
            compiled = own_process(_compiled(cell), n_steps, device)
            sides["ours, compiled"] = processes.enter_context(compiled)
        if backend is not None:
            other = plain_gpt(model)
            sides["plain loop, compiled"] = turn(
                other, torch.compile(other, dynamic=False, backend=backend)
            )
        if with_jax:
            sides["JAX"] = processes.enter_context(
                jax_process(cell, n_steps, [own_point(cell)], clock_of(device))
            )
        turns = Turns(sides, steps=steps)
        if has_accelerate():
            from trainer_side import run_trainer

            run_trainer(for_trainer, tensors, cell, turns, n_steps=n_steps)
        else:
            for _ in range(n_rounds + 1):
                turns()
    if with_jax:
        plain_loss, jax_loss = (turns.race.loss_curve(name)[:1] for name in ("plain loop", "JAX"))
        assert_same_model(jax_loss, plain_loss)
    return turns.race


def _compiled(cell: Cell) -> Cell:
    return replace(cell, train=replace(cell.train, compile="on"))


@contextlib.contextmanager
def own_process(cell: Cell, n_steps: int, device: torch.device) -> Iterator[Turn]:
    """Our side in a process of its own, which starts from the cell's initial weights.

    Raises `EOFError` if the process ends before its time.
    """
    with turns_of_process(_take_turns, cell, n_steps, device.type) as take:
        yield take


def _take_turns(pipe: Connection, cell: Cell, n_steps: int, device_type: str) -> None:
    """The process: turns as they are asked for, until nobody asks any more."""
    device = torch.device(device_type)
    if device_type == "cpu":
        torch.set_num_threads(1)
    step = TrainStep(cell, spec_of(cell), [own_point(cell)], n_steps=n_steps, device=device)
    side = our_side(step, first_batches(cell, n_steps))
    take = turn_of(side, device, clock_of(device))
    with contextlib.suppress(EOFError):
        while True:
            seconds, losses = take(*pipe.recv())
            pipe.send((seconds, torch.stack(list(losses)).float().cpu().numpy()))

"""The training loop: one for the laptop, for a Tune trial and for a DDP worker.

It gets windows and knows nothing of people, files of a sweep, or Ray. It trains E trials of a cell
at once (E may be 1).
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel

from kcap_ray.cell import Cell
from kcap_ray.models.decoder import Decoder
from kcap_ray.models.spec import ModelSpec
from kcap_ray.training.checkpoint import load_checkpoint, save_checkpoint
from kcap_ray.training.optimizer import FusedOptimizer
from kcap_ray.training.point import Point
from kcap_ray.training.precision import LossScaler, autocast
from kcap_ray.training.schedule import lr_ratio

OpenBatches = Callable[[int], Iterator[np.ndarray]]
"""From a step to the batches of that step and all later ones, each integers [B, T+1]."""

N_HISTORY_POINTS = 200
"""Points on a run's loss curve."""


class TrainingDiverged(RuntimeError):
    """The loss of every trial stopped being a finite number."""

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(step, loss)
        self.step, self.loss = step, loss

    def __str__(self) -> str:
        return f"training diverged: loss {self.loss} at step {self.step}"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One point of the loss curves."""

    step: int
    """Optimizer steps done."""
    tokens: int
    """Tokens trained on, over all workers."""
    lr_ratio: float
    """Learning rate as a share of each trial's own."""
    losses: tuple[float, ...]
    """Mean next-token loss of each trial on this step's batch, in nats."""
    seconds: float
    """Time in the loop so far, without the time before a restart."""
    expert_load_max: tuple[float, ...] | None = None
    """For each trial the share of this step's tokens that the busiest expert of any layer was
    chosen for; None without experts.
    """
    expert_load_min: tuple[float, ...] | None = None
    """The same for the least busy expert."""


@dataclass(kw_only=True)
class TrainResult:
    """What training leaves."""

    model: Decoder
    diverged_at: list[int | None]
    """For each trial the step at which its loss was first seen not finite, or None."""
    history: list[Progress] = field(default_factory=list)
    train_time_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Saving:
    """Where a run is saved, and how often."""

    path: Path
    every_s: float = 300.0
    """Seconds between checkpoints: what a lost machine costs at most."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where a run starts that does not start from weights of its own."""

    weights: Mapping[str, Tensor]
    """All weights of the model, by name."""
    seen_as: Mapping[str, Callable[[Tensor], Tensor]]
    """What the model computes with in place of some of its weights, by name: for instance the
    weight rounded to a grid. Steps are taken on the weights themselves.
    """


class _Losses(nn.Module):
    """What training needs of the decoder as a module's forward, which is what DDP can wrap: loss
    [*E], balance of the experts [*E], and their load (None without experts).
    """

    def __init__(self, model: Decoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, windows_BT1: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        return *self.model.loss_and_balance(windows_BT1), self.model.expert_load


class _LossesAsSeen(nn.Module):
    """The same of a model that sees some of its weights as something else."""

    def __init__(self, model: Decoder, seen_as: Mapping[str, Callable[[Tensor], Tensor]]) -> None:
        super().__init__()
        self.losses = _Losses(model)
        self.seen_as = {f"model.{name}": see for name, see in seen_as.items()}

    def forward(self, windows_BT1: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        seen = {name: see(self.losses.get_parameter(name)) for name, see in self.seen_as.items()}
        return functional_call(self.losses, seen, (windows_BT1,))


class _Run:
    """The state of one training run."""

    def __init__(
        self,
        cell: Cell,
        spec: ModelSpec,
        points: Sequence[Point],
        device: torch.device,
        start: Start | None,
    ) -> None:
        n_trials = len(points)
        train = cell.train
        self.cell, self.device = cell, device
        self.model = Decoder(
            spec, n_tokens=train.window_tokens, n_trials=None if n_trials == 1 else n_trials
        )
        if start is None:
            self.model.init_weights(seed=cell.seed, std=train.init_std)
        else:
            self.model.load_state_dict(start.weights)
        self.model.to(device)
        self.optimizer = FusedOptimizer(
            self.model, [p.lr for p in points], [p.weight_decay for p in points], train
        )
        self.scaler = LossScaler(train.precision, n_trials, device)
        self.n_workers = dist.get_world_size() if dist.is_initialized() else 1
        losses = _LossesAsSeen(self.model, start.seen_as) if start else _Losses(self.model)
        if self.n_workers > 1:
            # The buffers are tables and what each worker saw of its own share.
            losses = DistributedDataParallel(
                losses, gradient_as_bucket_view=False, broadcast_buffers=False
            )
        wants_compile = train.compile == "on" or (train.compile == "auto" and device.type == "cuda")
        self.losses = torch.compile(losses) if wants_compile else losses
        self.run_key = f"{cell.cell_id} {[(p.lr, p.weight_decay) for p in points]}"
        self.step = 0
        self.diverged_at: list[int | None] = [None] * n_trials
        self.history: list[Progress] = []
        self.seconds_before = 0.0

    def train_step(self, batch: np.ndarray, n_steps: int) -> tuple[Tensor, Tensor | None]:
        """One optimizer step; each trial's loss [E], and load of its experts, before it."""
        train = self.cell.train
        windows_BT1 = torch.from_numpy(batch.astype(np.int64)).to(self.device, non_blocking=True)
        with autocast(train.precision, self.device):
            loss_E, balance_E, load = self.losses(windows_BT1)
        objective_E = loss_E if load is None else loss_E + train.load_balance * balance_E
        self.scaler.scaled(objective_E.view(-1)).backward()
        grad_EP, active_E1 = self.scaler.unscale(self.optimizer.gradient())
        ratio = lr_ratio(self.step, n_steps, train)
        self.optimizer.step(self.optimizer.clip(grad_EP), ratio, active_E1)
        self.step += 1
        return loss_E.detach().view(-1), load

    def record(self, loss_E: Tensor, load: Tensor | None, n_steps: int, seconds: float) -> None:
        """Add a point to the curves; raise `TrainingDiverged` when no trial is finite any more."""
        losses = self._over_workers(loss_E).tolist()
        loads = None if load is None else self._over_workers(load).reshape(len(losses), -1)
        for trial, loss in enumerate(losses):
            if not np.isfinite(loss) and self.diverged_at[trial] is None:
                self.diverged_at[trial] = self.step
        train = self.cell.train
        self.history.append(
            Progress(
                step=self.step,
                tokens=self.step * train.batch_windows * train.window_tokens,
                lr_ratio=lr_ratio(self.step - 1, n_steps, train),
                losses=tuple(losses),
                seconds=self.seconds_before + seconds,
                expert_load_max=None if loads is None else tuple(loads.amax(dim=1).tolist()),
                expert_load_min=None if loads is None else tuple(loads.amin(dim=1).tolist()),
            )
        )
        if all(at is not None for at in self.diverged_at):
            raise TrainingDiverged(self.step, losses[0])

    def _over_workers(self, values: Tensor) -> Tensor:
        """The mean over all workers, of which each has seen its share of the batch."""
        if self.n_workers == 1:
            return values
        values = values.clone()
        dist.all_reduce(values)
        return values / self.n_workers

    def save(self, path: Path, seconds: float) -> None:
        """Write everything that the next step depends on."""
        state = {
            "run_key": self.run_key,
            "step": self.step,
            "optimizer": self.optimizer.state(),
            "scaler": self.scaler.state(),
            "diverged_at": self.diverged_at,
            "history": [asdict(progress) for progress in self.history],
            "seconds": self.seconds_before + seconds,
        }
        save_checkpoint(path, state)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint, if there is one."""
        state = load_checkpoint(path, run_key=self.run_key)
        if state is None:
            return
        self.step = state["step"]
        self.optimizer.load(state["optimizer"])
        self.scaler.load(state["scaler"])
        self.diverged_at = state["diverged_at"]
        self.history = [Progress(**point) for point in state["history"]]
        self.seconds_before = state["seconds"]


def train(
    cell: Cell,
    spec: ModelSpec,
    points: Sequence[Point],
    open_batches: OpenBatches,
    *,
    n_steps: int,
    device: torch.device,
    saving: Saving | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    start: Start | None = None,
) -> TrainResult:
    """Train one model per point on the same batches and return them all.

    `open_batches(step)` yields this worker's share of each global batch, integers [B/workers, T+1].
    With `saving` the run resumes from its checkpoint and leaves one every `every_s` seconds; on a
    CPU a resumed run equals an uninterrupted one bit for bit. `start` replaces the initial weights.
    Raises `TrainingDiverged` when every trial has diverged, `CorruptCheckpointError`.
    """
    run = _Run(cell, spec, points, device, start)
    if saving is not None:
        run.load(saving.path)
    is_first_worker = not dist.is_initialized() or dist.get_rank() == 0
    log_every = max(1, n_steps // N_HISTORY_POINTS)
    began = last_save = time.perf_counter()
    batches = open_batches(run.step) if run.step < n_steps else iter(())
    while run.step < n_steps:
        loss_E, load = run.train_step(next(batches), n_steps)
        now = time.perf_counter()
        if run.step % log_every == 0 or run.step == n_steps:
            run.record(loss_E, load, n_steps, now - began)
            if on_progress is not None:
                on_progress(run.history[-1])
        if saving is not None and is_first_worker and now - last_save >= saving.every_s:
            run.save(saving.path, now - began)
            last_save = now
    seconds = run.seconds_before + time.perf_counter() - began
    return TrainResult(
        model=run.model, diverged_at=run.diverged_at, history=run.history, train_time_s=seconds
    )

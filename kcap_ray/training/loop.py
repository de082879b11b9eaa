"""The training loop: one for the laptop, for a Tune trial and for a DDP worker.

It gets windows and knows nothing of people, files of a sweep, or Ray. It trains E trials of a cell
at once (E may be 1).
"""

import contextlib
import gc
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed as dist
from torch import Tensor

from kcap_ray.config.cell import Cell
from kcap_ray.models.decoder import Decoder
from kcap_ray.models.own_model import OwnModel
from kcap_ray.training.checkpoint import resume_from, save_checkpoint
from kcap_ray.training.schedule import lr_ratio
from kcap_ray.training.step import TrainStep

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
    """Time in the loop so far, without the time before a restart and that of probes."""
    expert_load_max: tuple[float, ...] | None = None
    """For each trial the share of this step's tokens that the busiest expert of any layer was
    chosen for; None without experts.
    """
    expert_load_min: tuple[float, ...] | None = None
    """The same for the least busy expert."""
    probed: tuple[dict[str, float], ...] | None = None
    """For each trial what a `Probe` measured at this step; None where none was asked."""


@dataclass(kw_only=True)
class TrainResult:
    """What training leaves."""

    model: Decoder | OwnModel
    diverged_at: list[int | None]
    """For each trial the step at which its loss was first seen not finite, or None."""
    history: list[Progress] = field(default_factory=list)
    train_time_s: float = 0.0


LOOK_EVERY_S = 0.2
"""Seconds between two looks for a request to save."""


@dataclass(frozen=True, kw_only=True)
class Saving:
    """Where a run is saved, and how often."""

    path: Path
    every_s: float = 300.0
    """Seconds between checkpoints: what a lost machine costs at most."""
    request: Path | None = None
    """File that is touched to ask for a checkpoint now; None without one."""

    def requested_ns(self) -> int:
        """When a checkpoint was last asked for, on the clock of the file; 0 if never."""
        try:
            return 0 if self.request is None else self.request.stat().st_mtime_ns
        except OSError:
            return 0


class _Checkpoints:
    """The checkpoint of a run: whether one is due, and what was saved."""

    def __init__(self, saving: Saving | None, run_key: str) -> None:
        self.saving, self.run_key = saving, run_key
        self.last_save = self.last_look = time.perf_counter()
        self.requested_ns = saving.requested_ns() if saving else 0

    def saved(self) -> dict[str, Any] | None:
        """What an earlier process of the same run left, if it did."""
        return resume_from(self.saving.path, run_key=self.run_key) if self.saving else None

    def is_due(self) -> bool:
        """Whether it is time, or somebody has asked since the last one."""
        if self.saving is None:
            return False
        now, is_asked = time.perf_counter(), False
        if now - self.last_look >= LOOK_EVERY_S:
            self.last_look = now
            is_asked = self.saving.requested_ns() > self.requested_ns
        return is_asked or now - self.last_save >= self.saving.every_s

    def save(self, state: dict[str, Any]) -> None:
        """Write it down."""
        assert self.saving is not None, "nothing is due without a place for it"
        self.last_save, self.requested_ns = time.perf_counter(), self.saving.requested_ns()
        save_checkpoint(self.saving.path, {"run_key": self.run_key} | state)


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A measurement that is repeated while a model trains."""

    every_steps: int
    """Optimizer steps between two measurements; the last step is measured too."""
    measure: Callable[[Decoder | OwnModel], Sequence[dict[str, float]]]
    """From the model to one mapping of column to value per trial; it must not change the model."""

    def is_due(self, n_done: int, n_steps: int) -> bool:
        """Whether to measure after `n_done` steps of a run of `n_steps`."""
        return n_done % self.every_steps == 0 or n_done == n_steps


class _Curves:
    """The loss curves of a run, and which trials have diverged."""

    def __init__(self, cell: Cell, n_trials: int, n_steps: int) -> None:
        self._train, self._n_steps = cell.train, n_steps
        self.diverged_at: list[int | None] = [None] * n_trials
        self.history: list[Progress] = []

    def record(
        self, step: TrainStep, seconds: float, probed: Sequence[dict[str, float]] | None = None
    ) -> None:
        """Add a point; raise `TrainingDiverged` when no trial is finite any more."""
        losses = _over_workers(step.loss_E).tolist()
        loads = None if step.load is None else _over_workers(step.load).reshape(len(losses), -1)
        for trial, loss in enumerate(losses):
            if not np.isfinite(loss) and self.diverged_at[trial] is None:
                self.diverged_at[trial] = step.n_done
        train = self._train
        self.history.append(
            Progress(
                step=step.n_done,
                tokens=step.n_done * train.batch_windows * train.window_tokens,
                lr_ratio=lr_ratio(step.n_done - 1, self._n_steps, train),
                losses=tuple(losses),
                seconds=seconds,
                expert_load_max=None if loads is None else tuple(loads.amax(dim=1).tolist()),
                expert_load_min=None if loads is None else tuple(loads.amin(dim=1).tolist()),
                probed=None if probed is None else tuple(probed),
            )
        )
        if all(at is not None for at in self.diverged_at):
            raise TrainingDiverged(step.n_done, losses[0])

    def state(self) -> dict[str, Any]:
        """What there is so far, to be saved."""
        history = [asdict(progress) for progress in self.history]
        return {"diverged_at": self.diverged_at, "history": history}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state`."""
        self.diverged_at = state["diverged_at"]
        self.history = [Progress(**point) for point in state["history"]]


def _over_workers(values: Tensor) -> Tensor:
    """The mean over all workers of what each has seen on its part of the batch."""
    if not dist.is_initialized():
        return values
    values = values.clone()
    dist.all_reduce(values)
    return values / dist.get_world_size()


def _run_key(step: TrainStep) -> str:
    """Names a run and the order of the weights in its checkpoints."""
    order = zlib.crc32(" ".join(step.optimizer.names).encode())
    points = [(p.lr, p.weight_decay) for p in step.points]
    return f"{step.cell.cell_id} {points} {order:08x}"


@contextlib.contextmanager
def _old_objects_left_alone() -> Iterator[None]:
    """Spares the garbage collector what there was before: with torch loaded, looking through it
    takes half a second at a time.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def train(
    step: TrainStep,
    open_batches: OpenBatches,
    *,
    saving: Saving | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    probe: Probe | None = None,
) -> TrainResult:
    """Train the models of a new step, one per point, on the same batches and return them all.

    `open_batches(step)` yields this worker's share of each global batch, integers [B/workers, T+1].
    With `saving` the run resumes from its checkpoint and leaves one every `every_s` seconds; on a
    CPU a resumed run equals an uninterrupted one bit for bit. `probe` adds points with what it
    measures to the curves, on the first worker.
    Raises `TrainingDiverged` when every trial has diverged.
    """
    n_steps = step.n_steps
    curves = _Curves(step.cell, len(step.points), n_steps)
    checkpoints = _Checkpoints(saving, _run_key(step))
    seconds_before = 0.0
    if (state := checkpoints.saved()) is not None:
        step.load_state(state)
        curves.load_state(state)
        seconds_before = state["seconds"]
    is_first_worker = not dist.is_initialized() or dist.get_rank() == 0
    log_every = max(1, n_steps // N_HISTORY_POINTS)
    began = time.perf_counter() - seconds_before
    batches = open_batches(step.n_done) if step.n_done < n_steps else iter(())
    with _old_objects_left_alone():
        while step.n_done < n_steps:
            step(next(batches))
            is_probed = probe is not None and probe.is_due(step.n_done, n_steps)
            if step.n_done % log_every == 0 or step.n_done == n_steps or is_probed:
                probed = None
                if probe is not None and is_probed and is_first_worker:
                    step.wait()
                    probe_began = time.perf_counter()
                    probed = probe.measure(step.model)
                    began += time.perf_counter() - probe_began
                curves.record(step, time.perf_counter() - began, probed)
                if on_progress is not None:
                    on_progress(curves.history[-1])
            if is_first_worker and checkpoints.is_due():
                seconds = {"seconds": time.perf_counter() - began}
                checkpoints.save(seconds | step.state() | curves.state())
    return TrainResult(
        model=step.model,
        diverged_at=curves.diverged_at,
        history=curves.history,
        train_time_s=time.perf_counter() - began,
    )

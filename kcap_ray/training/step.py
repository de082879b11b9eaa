"""One optimizer step of E fused trials: forward, backward, unscaling, update.

On a GPU the whole step is compiled and recorded as a CUDA graph, since a small model's step is a
few hundred launches around very little arithmetic. Nothing in a step waits for the device: the
number of steps done, the schedule and the loss scale live on it.

Shapes: E trials, B windows of this worker, T tokens, P weights of a trial.
"""

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel

from kcap_ray.config.cell import Cell
from kcap_ray.models.decoder import Decoder
from kcap_ray.models.own_model import OwnModel, own_model, randomness, weights_of
from kcap_ray.models.own_spec import AnySpec, OwnSpec
from kcap_ray.training.compiled import compiled_or_written, compilers_error
from kcap_ray.training.freed_memory import keep_freed_memory
from kcap_ray.training.graph import GraphedWork
from kcap_ray.training.optimizer import FusedOptimizer
from kcap_ray.training.point import Point
from kcap_ray.training.precision import LossScaler, autocast
from kcap_ray.training.schedule import lr_ratios

_logger = logging.getLogger(__name__)

COMPILED_TOLERANCE = 0.02
"""Share by which the loss of a compiled model may differ from that of the same model as written:
bf16 keeps 8 bits, and where experts tie, rounding decides.
"""


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
    [*E], balance of the experts [*E], and their load (None without experts). A model that is
    brought along has no load, and no balance unless it gives one.
    """

    def __init__(self, model: Decoder | OwnModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, windows_BT1: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        loss_E, balance_E = self.model.loss_and_balance(windows_BT1)
        return loss_E, balance_E, self.model.expert_load


class _LossesAsSeen(nn.Module):
    """The same of a model that sees some of its weights as something else."""

    def __init__(self, model: Decoder, seen_as: Mapping[str, Callable[[Tensor], Tensor]]) -> None:
        super().__init__()
        self.losses = _Losses(model)
        self.seen_as = {f"model.{name}": see for name, see in seen_as.items()}

    def forward(self, windows_BT1: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        seen = {name: see(self.losses.get_parameter(name)) for name, see in self.seen_as.items()}
        return functional_call(self.losses, seen, (windows_BT1,))


def _model(cell: Cell, spec: AnySpec, n_trials: int, start: Start | None) -> Decoder | OwnModel:
    if isinstance(spec, OwnSpec):
        assert n_trials == 1 and start is None, "it has no axis of trials, and own weights"
        n_tokens = cell.train.window_tokens
        return own_model(cell.model, spec.vocab_size, n_tokens, seed=cell.seed).train()
    if start is not None:
        model = Decoder(spec, n_tokens=cell.train.window_tokens)
        model.load_state_dict(start.weights)
        return model
    # The only trial of a cell needs no axis of trials. One of several has it when it is alone too:
    # on a CPU its numbers are then the same, bit for bit, however many train beside it.
    is_only = cell.tune.trials == 1 and n_trials == 1
    model = Decoder(spec, n_tokens=cell.train.window_tokens, n_trials=None if is_only else n_trials)
    model.init_weights(seed=cell.seed, std=cell.train.init_std)
    return model


class TrainStep:
    """A model of E trials, its optimizer, and the step that is called once for each batch.

    Inside a process group each worker gets its share of every batch, which may be uneven.
    """

    loss_E: Tensor
    """Each trial's loss on this worker's part of the last batch, in nats, weighted by the part's
    size: the mean over the workers is the loss on the whole batch.
    """
    n_done: int
    """Steps done."""
    load: Tensor | None
    """Load of the experts, [*E, n_layer, n_expert], weighted in the same way; None without any."""

    def __init__(
        self,
        cell: Cell,
        spec: AnySpec,
        points: Sequence[Point],
        *,
        n_steps: int,
        device: torch.device,
        start: Start | None = None,
    ) -> None:
        """`n_steps`: length of the run. `start` replaces the initial weights."""
        if device.type == "cpu":
            keep_freed_memory()
        self.cell, self.points, self.n_steps = cell, points, n_steps
        self.train, self.device = cell.train, device
        self.model = _model(cell, spec, len(points), start).to(device)
        self.optimizer = FusedOptimizer(
            self.model, [p.lr for p in points], [p.weight_decay for p in points], self.train
        )
        self.scaler = LossScaler(self.train.number_format, len(points), device)
        self._lr_ratios = torch.tensor(lr_ratios(n_steps, self.train), device=device)
        self._n_done = torch.zeros(1, dtype=torch.int64, device=device)
        self.n_done = 0
        self._seed, self._rank = cell.seed, dist.get_rank() if dist.is_initialized() else 0
        if start is None:
            self._plain = _Losses(self.model)
        else:
            assert isinstance(self.model, Decoder), "only kcap's own models start from weights"
            self._plain = _LossesAsSeen(self.model, start.seen_as)
        self._is_own = is_own = isinstance(self.model, OwnModel)
        self._n_workers = dist.get_world_size() if dist.is_initialized() else 1
        if self._n_workers > 1:
            # The buffers are tables and what each worker saw of its own part.
            self._plain = DistributedDataParallel(
                self._plain,
                gradient_as_bucket_view=False,
                broadcast_buffers=False,
                # Of kcap's own models every weight takes part in every loss.
                find_unused_parameters=is_own,
            )
        self._losses, self._update = self._plain, self._clip_and_update
        self._is_unchecked = False
        self._graphed: GraphedWork | None = None
        is_cuda = device.type == "cuda"
        # Code of somebody else is compiled where that is asked for, and not recorded: it may wait
        # for the device, or draw random numbers.
        if self.train.compile == "on" or (self.train.compile == "auto" and is_cuda and not is_own):
            self._compile(is_cuda)
            # NCCL's calls stay out of graphs, and so does what a caller may do to weights.
            if is_cuda and self._n_workers == 1 and start is None and not is_own:
                self._graphed = GraphedWork(self._step, device)

    def _compile(self, is_cuda: bool) -> None:
        # What earlier models compiled counts against a limit, beyond which torch compiles nothing
        # any more. Compiled code on disk stays.
        torch._dynamo.reset()
        self._losses = torch.compile(self._plain, dynamic=False)
        if is_cuda:
            tell = partial(_logger.warning, "the update cannot be compiled here (%s)")
            self._update = compiled_or_written(self._clip_and_update, tell)
        self._is_unchecked = True

    def __call__(self, batch: np.ndarray) -> None:
        """One optimizer step on this worker's windows, integers [B, T+1], B the same every time.

        On a GPU it returns when the work is in the device's queue.
        """
        windows_BT1 = torch.from_numpy(batch.astype(np.int64))
        if self.device.type == "cuda":
            windows_BT1 = windows_BT1.pin_memory()
        if self._graphed is not None:
            self._graphed(windows_BT1)
        else:
            self._step(windows_BT1.to(self.device, non_blocking=True))
        self.n_done += 1

    def wait(self) -> None:
        """Return when the device has done all steps so far."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _step(self, windows_BT1: Tensor) -> None:
        if self._is_unchecked:
            self._is_unchecked = False
            try:
                self._check_compiled(windows_BT1)
            except RuntimeError as error:
                if (said := compilers_error(error)) is None:
                    raise
                self._go_on_uncompiled(f"the model cannot be compiled here ({said})")
        if isinstance(self.model, OwnModel):
            with randomness(self.device, self._seed, self.n_done, self._rank):
                self._forward_backward(windows_BT1)
        else:
            self._forward_backward(windows_BT1)
        self._update(self.optimizer.gradient())

    def _forward_backward(self, windows_BT1: Tensor) -> None:
        """Leaves the gradient of the weighted loss in the parameters."""
        parts = windows_BT1.split(self.train.micro_windows or len(windows_BT1))
        totals: list[Tensor] = []
        for index, part in enumerate(parts):
            weight = len(part) * self._n_workers / self.train.batch_windows
            with self._gradients_meet(is_last=index == len(parts) - 1):
                with autocast(self.train.number_format, self.device):
                    loss_E, balance_E, load = self._losses(part)
                objective_E, seen = loss_E, [loss_E.detach()]
                if balance_E is not None and (load is not None or self._is_own):
                    objective_E = loss_E + self.train.load_balance * balance_E
                if load is not None:
                    seen.append(load)
                (self.scaler.scaled(objective_E.view(-1)) * weight).backward()
            seen = [value * weight for value in seen]
            totals = [a + b for a, b in zip(totals, seen, strict=True)] if totals else seen
        self.loss_E = totals[0].view(-1)
        self.load = totals[1] if len(totals) > 1 else None

    def _gradients_meet(self, *, is_last: bool) -> contextlib.AbstractContextManager[Any]:
        """Workers add up their gradients once a step, while the last part's are being made."""
        if isinstance(self._plain, DistributedDataParallel) and not is_last:
            return self._plain.no_sync()
        return contextlib.nullcontext()

    @torch.no_grad()
    def _clip_and_update(self, grad_EP: Tensor) -> None:
        grad_EP, active_E1 = self.scaler.unscale(grad_EP)
        ratio = self._lr_ratios.index_select(0, self._n_done)
        self.optimizer.step(self.optimizer.clip(grad_EP), ratio, active_E1)
        self._n_done += 1

    def _check_compiled(self, windows_BT1: Tensor) -> None:
        """Holds the compiled model against the one that is written; compilers have made NaNs.

        Where they differ, the run goes on uncompiled and says so. Raises the compiler's errors.
        """
        part = windows_BT1[: self.train.micro_windows]
        with autocast(self.train.number_format, self.device):
            loss_E = self._losses(part)[0].view(-1)
        loss_E.sum().backward()
        with torch.no_grad(), autocast(self.train.number_format, self.device):
            written_E = self._plain(part)[0].view(-1)
        is_finite_E = torch.isfinite(self.optimizer.gradient()).all(dim=1)
        is_close_E = torch.isclose(loss_E, written_E, rtol=COMPILED_TOLERANCE, atol=0)
        # Of a trial that has diverged, in a run that goes on, nothing is finite in either way.
        is_wrong_E = torch.isfinite(written_E) & ~(is_finite_E & is_close_E)
        if not bool(is_wrong_E.any()):
            return
        trial = int(is_wrong_E.int().argmax())
        gradient = "finite" if is_finite_E[trial] else "not finite"
        self._go_on_uncompiled(
            f"compiled, the first loss is {loss_E[trial].item():.4g} and its gradient {gradient}; "
            f"uncompiled it is {written_E[trial].item():.4g}"
        )

    def _go_on_uncompiled(self, why: str) -> None:
        self._losses = self._plain
        # What was begun leaves no trace in the first step.
        self.optimizer.gradient()
        _logger.warning("%s; this run goes on uncompiled", why)

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on, to be saved."""
        return {
            "step": self.n_done,
            "optimizer": self.optimizer.state(),
            "scaler": self.scaler.state(),
            "tables": self._tables(),
        }

    def _tables(self) -> dict[str, Tensor]:
        """What a model that is brought along keeps beside its weights, such as running means."""
        if not self._is_own:
            return {}
        weights = dict(self.model.named_parameters())
        return {name: t for name, t in weights_of(self.model).items() if name not in weights}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state`; before the first step."""
        self.n_done = state["step"]
        self._n_done.fill_(self.n_done)
        self.optimizer.load(state["optimizer"])
        self.scaler.load(state["scaler"])
        # Checkpoints of earlier versions have none.
        for name, table in state.get("tables", {}).items():
            self._tables()[name].copy_(table)

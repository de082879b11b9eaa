"""A batch of a cell's trials, which its study asked for at once: trained as one program, or part by
part where the device has too little memory for all.
"""

import dataclasses
import gc
import logging
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import torch
import torch.distributed as dist

from kcap_ray.config.errors import UserError
from kcap_ray.execution.arithmetic import Arithmetic, keep_arithmetic, saved_arithmetic
from kcap_ray.execution.cell_run import CellRun
from kcap_ray.execution.placement import (
    USABLE,
    Placement,
    available_bytes,
    choose_placement,
    cpu_threads,
    need_bytes,
    save_placement,
    saved_placement,
)
from kcap_ray.execution.trial import run_trials
from kcap_ray.planning.memory import GIB
from kcap_ray.planning.run_length import length_of, spec_of
from kcap_ray.runs.files import remove_tree
from kcap_ray.runs.record import TrialRecord
from kcap_ray.training.checkpoint import remove_checkpoint
from kcap_ray.training.cpu_timing import faster_threads, is_long, measure_arithmetic
from kcap_ray.training.point import Point

_logger = logging.getLogger(__name__)

Agreed = TypeVar("Agreed")


def run_trial_batch(
    run: CellRun, points: Sequence[Point], *, first_trial: int
) -> list[TrialRecord]:
    """Train, measure and record those of the trials `first_trial`... that are not yet in the cell's
    ledger; the records of all of them.

    Raises what `run_trials` raises, and `UserError` where a single window of a single trial is too
    much for a GPU. Inside a process group only the first worker returns records.
    """
    directory = run.directory
    n_done = _of_first_worker(lambda: len(directory.trials()[first_trial:][: len(points)]))
    device_setting = _PlacementChooser(run)
    placement: Placement | None = None
    while n_done < len(points):
        if placement is None:
            placement = _of_first_worker(
                partial(device_setting.choose, first_trial + n_done, len(points) - n_done)
            )
        part = points[n_done : n_done + placement.n_fused]
        fits = True
        try:
            run_trials(run, part, first_trial=first_trial + n_done, placement=placement)
        except RuntimeError as error:
            # Workers do not run out of memory all at once, so they cannot agree on less.
            if dist.is_initialized() or not _is_out_of_memory(error):
                raise
            fits = False
        if fits:
            n_done += len(part)
        else:
            # Outside of the handler, whose traceback holds the tensors of what has failed.
            placement = device_setting.smaller(placement, first_trial + n_done, len(part))
    is_first = not dist.is_initialized() or dist.get_rank() == 0
    return directory.trials()[first_trial:][: len(points)] if is_first else []


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Whether that was the error, or what came before it: a graph that is being recorded ends with
    an error of its own.
    """
    while error is not None and not isinstance(error, torch.OutOfMemoryError):
        error = error.__context__
    return error is not None


def _of_first_worker(make: Callable[[], Agreed]) -> Agreed:
    """What `make` returns, called by the first worker alone, for all of them."""
    if not dist.is_initialized():
        return make()
    shared = [make() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(shared)
    (agreed,) = shared
    return agreed  # pyright: ignore[reportReturnType]


class _PlacementChooser:
    """Chooses how a cell is trained on this device, logs it, and keeps it with the cell."""

    def __init__(self, run: CellRun) -> None:
        self.run, self.cell, self.directory = run, run.cell, run.directory
        self.spec = spec_of(run.cell)
        workers = dist.get_world_size() if dist.is_initialized() else 1
        self.n_windows = math.ceil(run.cell.train.batch_windows / workers)

    def choose(self, first_trial: int, n_trials: int) -> Placement:
        """The setting that the cell was trained with so far, if it fits, else a new one."""
        is_open = self.cell.train.precision == "auto"
        arithmetic = saved_arithmetic(self.directory) if is_open else None
        placement = self._choose(first_trial, n_trials, arithmetic)
        if not is_open:
            return placement
        if arithmetic is None:
            # Another program of the cell may have been first.
            found = placement.arithmetic or self._unmeasured()
            arithmetic = keep_arithmetic(self.directory, found)
        return dataclasses.replace(placement, arithmetic=arithmetic)

    def _choose(self, first_trial: int, n_trials: int, arithmetic: Arithmetic | None) -> Placement:
        available = available_bytes(self.run.device, n_sharing=self.run.n_sharing)
        saved = saved_placement(self.directory, self.run.device.type)
        if saved is not None and self._need(saved, n_trials) <= USABLE * available:
            return self._with_threads(saved, n_trials)
        placement = choose_placement(
            self.cell,
            self.spec,
            device=self.run.device.type,
            n_trials=n_trials,
            n_windows=self.n_windows,
            available=available,
        )
        self._log_if_split(placement, n_trials, available)
        if self.cell.model.is_own and saved is None and self.cell.tune.trials > 1:
            self._log(
                f"{self.cell.tune.trials} trials, one after another: a model that is brought along "
                "has no axis of trials"
            )
        if saved is not None and saved.n_fused != placement.n_fused:
            self._clear_checkpoints()
        if self.run.device.type == "cpu":
            placement = self._with_threads(placement, n_trials)
            placement = self._timed(dataclasses.replace(placement, arithmetic=arithmetic))
        save_placement(self.directory, placement)
        return placement

    def smaller(self, placement: Placement, first_trial: int, n_trials: int) -> Placement:
        """Half of a setting with which `n_trials` trials did not fit after all."""
        smaller = placement.halved(n_trials, self.n_windows)
        if smaller is None:
            raise UserError(
                f"{self.cell.cell_id}: out of GPU memory with one window of one trial; write a "
                "smaller train.window_tokens or model, or take a GPU with more memory"
            )
        self._log(
            f"out of GPU memory with {_counted(n_trials, placement, self.n_windows)}; it goes on "
            f"with {_counted(smaller.n_fused, smaller, self.n_windows)}",
            logging.WARNING,
        )
        remove_checkpoint(self.directory.resume_file(first_trial))
        save_placement(self.directory, smaller)
        gc.collect()
        torch.cuda.empty_cache()
        return smaller

    def _need(self, placement: Placement, n_trials: int) -> int:
        return need_bytes(
            self.cell, self.spec, placement, n_trials=n_trials, n_windows=self.n_windows
        )

    def _log_if_split(self, placement: Placement, n_trials: int, available: int) -> None:
        whole = Placement(
            device=placement.device, n_fused=n_trials, micro_windows=self.cell.train.micro_windows
        )
        need = self._need(whole, n_trials)
        if need <= USABLE * available:
            return
        trials = "1 trial needs" if n_trials == 1 else f"{n_trials} trials need"
        self._log(
            f"{trials} about {need / GIB:.1f} GiB of the {available / GIB:.1f} GiB available: "
            f"{math.ceil(n_trials / placement.n_fused)} programs of "
            f"{_counted(placement.n_fused, placement, self.n_windows)}"
        )

    def _with_threads(self, placement: Placement, n_trials: int) -> Placement:
        """The setting with the threads of this process, whatever an earlier one had; on a GPU as it
        is. Several only in a long run that is faster with them at the moment: beside other programs
        they may take many times as long.
        """
        if self.run.device.type != "cpu":
            return placement
        cell, spec, n_fused = self.cell, self.spec, min(placement.n_fused, n_trials)
        n_threads = cpu_threads(cell, spec, n_fused=n_fused, n_cpus=self.run.n_cpus)
        if dist.is_initialized() or not is_long(cell, length_of(cell).steps):
            n_threads = 1
        elif n_threads > 1:
            cell = placement.applied_to(cell)
            n_threads = faster_threads(cell, spec, n_fused=n_fused, n_threads=n_threads)
        return dataclasses.replace(placement, n_threads=n_threads)

    def _timed(self, placement: Placement) -> Placement:
        """The setting with what arithmetic is fastest, where that is open and the run is long
        enough to measure it.
        """
        train, n_steps = self.cell.train, length_of(self.cell).steps
        is_settled = train.precision == "fp32" or placement.arithmetic is not None
        if is_settled or dist.is_initialized() or not is_long(self.cell, n_steps):
            return placement
        found = measure_arithmetic(
            placement.applied_to(self.cell),
            self.spec,
            n_steps=n_steps,
            n_fused=placement.n_fused,
            n_threads=placement.n_threads or 1,
        )
        self._log(str(found))
        if train.precision != "auto":
            return placement
        arithmetic = Arithmetic(precision=found.precision, compile=found.compile)
        return dataclasses.replace(placement, arithmetic=arithmetic)

    def _unmeasured(self) -> Arithmetic:
        """Of a cell that is not measured: on a CPU float32, on a GPU what it has two bytes for."""
        compile = self.cell.train.compile
        if self.run.device.type == "cpu":
            return Arithmetic(precision="fp32", compile=compile)
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return Arithmetic(precision="bf16" if has_bf16 else "fp16", compile=compile)

    def _clear_checkpoints(self) -> None:
        # They are of programs with other trials than those that fit now.
        remove_tree(self.directory.resume_file(0).parent)

    def _log(self, text: str, level: int = logging.INFO) -> None:
        _logger.log(level, "%s: %s", self.cell.cell_id, text)


def _counted(n_trials: int, placement: Placement, n_windows: int) -> str:
    text = f"{n_trials} trial" if n_trials == 1 else f"{n_trials} trials"
    if placement.micro_windows is None:
        return text
    return f"{text}, {min(placement.micro_windows, n_windows)} of its {n_windows} windows at a time"

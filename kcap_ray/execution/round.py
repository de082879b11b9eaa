"""A round of a cell's trials, which its study asked for at once: trained as one program, or part by
part where the device at hand has no room for all, or is faster that way.
"""

import dataclasses
import gc
import math
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import torch
import torch.distributed as dist

from kcap_ray.config.errors import UserError
from kcap_ray.execution.cell_run import CellRun
from kcap_ray.execution.placement import (
    USABLE,
    Setting,
    bytes_at_hand,
    fitting,
    keep_setting,
    kept_setting,
    need_bytes,
)
from kcap_ray.execution.trial import run_trials
from kcap_ray.planning.memory import GIB
from kcap_ray.planning.run_length import length_of, spec_of
from kcap_ray.runs.record import TrialRecord
from kcap_ray.training.checkpoint import remove_checkpoint
from kcap_ray.training.cpu_setting import is_worth_measuring, measure_settings
from kcap_ray.training.point import Point

Agreed = TypeVar("Agreed")


def run_round(run: CellRun, points: Sequence[Point], *, first_trial: int) -> list[TrialRecord]:
    """Train, measure and record those of the trials `first_trial`... that are not yet in the cell's
    ledger; the records of all of them.

    Raises what `run_trials` raises, and `UserError` where a single window of a single trial is too
    much for a GPU. Inside a process group only the first worker returns records.
    """
    directory = run.directory
    n_done = _of_first_worker(lambda: len(directory.trials()[first_trial:][: len(points)]))
    device_setting = _DeviceSetting(run)
    setting: Setting | None = None
    while n_done < len(points):
        if setting is None:
            setting = _of_first_worker(
                partial(device_setting.choose, first_trial + n_done, len(points) - n_done)
            )
        part = points[n_done : n_done + setting.n_fused]
        has_room = True
        try:
            run_trials(run, part, first_trial=first_trial + n_done, setting=setting)
        except RuntimeError as error:
            # Workers do not run out of memory all at once, so they cannot agree on less.
            if dist.is_initialized() or not _is_out_of_memory(error):
                raise
            has_room = False
        if has_room:
            n_done += len(part)
        else:
            # Outside of the handler, whose traceback holds the tensors of what has failed.
            setting = device_setting.smaller(setting, first_trial + n_done, len(part))
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


class _DeviceSetting:
    """Chooses how a cell is trained on this device, says so, and keeps it with the cell."""

    def __init__(self, run: CellRun) -> None:
        self.run, self.cell, self.directory = run, run.cell, run.directory
        self.spec = spec_of(run.cell)
        workers = dist.get_world_size() if dist.is_initialized() else 1
        self.n_windows = math.ceil(run.cell.train.batch_windows / workers)

    def choose(self, first_trial: int, n_trials: int) -> Setting:
        """The setting that the cell was trained with so far, if it fits, else a new one."""
        at_hand = bytes_at_hand(self.run.device, n_beside=self.run.n_beside)
        kept = kept_setting(self.directory, self.run.device.type)
        if kept is not None and self._need(kept, n_trials) <= USABLE * at_hand:
            return kept
        setting = fitting(
            self.cell,
            self.spec,
            device=self.run.device.type,
            n_trials=n_trials,
            n_windows=self.n_windows,
            at_hand=at_hand,
        )
        self._say_if_split(setting, n_trials, at_hand)
        if self.cell.model.is_own and kept is None and self.cell.tune.trials > 1:
            self._say(
                f"{self.cell.tune.trials} trials, one after another: a model that is brought along "
                "has no axis of trials"
            )
        if kept is not None and kept.n_fused != setting.n_fused:
            self._forget_checkpoints()
        elif kept is None and not self.directory.resume_file(first_trial).exists():
            # A program of an older version goes on as it began.
            setting = self._measured(setting)
        keep_setting(self.directory, setting)
        return setting

    def smaller(self, setting: Setting, first_trial: int, n_trials: int) -> Setting:
        """Half of a setting with which `n_trials` trials did not fit after all."""
        smaller = setting.halved(n_trials, self.n_windows)
        if smaller is None:
            raise UserError(
                f"{self.cell.cell_id}: out of GPU memory with one window of one trial; write a "
                "smaller train.window_tokens or model, or take a GPU with more memory"
            )
        self._say(
            f"out of GPU memory with {_counted(n_trials, setting, self.n_windows)}; it goes on "
            f"with {_counted(smaller.n_fused, smaller, self.n_windows)}"
        )
        remove_checkpoint(self.directory.resume_file(first_trial))
        keep_setting(self.directory, smaller)
        gc.collect()
        torch.cuda.empty_cache()
        return smaller

    def _need(self, setting: Setting, n_trials: int) -> int:
        return need_bytes(
            self.cell, self.spec, setting, n_trials=n_trials, n_windows=self.n_windows
        )

    def _say_if_split(self, setting: Setting, n_trials: int, at_hand: int) -> None:
        whole = Setting(
            device=setting.device, n_fused=n_trials, micro_windows=self.cell.train.micro_windows
        )
        need = self._need(whole, n_trials)
        if need <= USABLE * at_hand:
            return
        trials = "1 trial needs" if n_trials == 1 else f"{n_trials} trials need"
        self._say(
            f"{trials} about {need / GIB:.1f} GiB of the {at_hand / GIB:.1f} GiB at hand: "
            f"{math.ceil(n_trials / setting.n_fused)} programs of "
            f"{_counted(setting.n_fused, setting, self.n_windows)}"
        )

    def _measured(self, setting: Setting) -> Setting:
        """The setting, on a CPU with what is fastest there where the run is long enough to tell."""
        if self.run.device.type != "cpu":
            return setting
        setting = dataclasses.replace(setting, n_threads=1)
        n_steps, n_fused = length_of(self.cell).steps, setting.n_fused
        if dist.is_initialized() or not is_worth_measuring(
            self.cell, n_steps, n_fused=n_fused, n_cpus=self.run.n_cpus
        ):
            return setting
        measured = measure_settings(
            setting.applied_to(self.cell), self.spec, n_fused=n_fused, n_cpus=self.run.n_cpus
        )
        self._say(str(measured))
        return dataclasses.replace(setting, **dataclasses.asdict(measured.fastest))

    def _forget_checkpoints(self) -> None:
        # They are of programs with other trials than those that fit now.
        shutil.rmtree(self.directory.resume_file(0).parent, ignore_errors=True)

    def _say(self, text: str) -> None:
        print(f"kcap: {self.cell.cell_id}: {text}", file=sys.stderr, flush=True)


def _counted(n_trials: int, setting: Setting, n_windows: int) -> str:
    text = f"{n_trials} trial" if n_trials == 1 else f"{n_trials} trials"
    if setting.micro_windows is None:
        return text
    return f"{text}, {min(setting.micro_windows, n_windows)} of its {n_windows} windows at a time"

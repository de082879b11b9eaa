"""What a program says of its progress while it trains."""

import json
import logging
import math
import time
from collections.abc import Sequence

import torch.distributed as dist

from kcap_ray.execution.cell_run import CellRun
from kcap_ray.planning.run_length import length_of
from kcap_ray.runs.environment import provenance
from kcap_ray.runs.files import write_atomically
from kcap_ray.runs.record import TrainingProgress
from kcap_ray.tracking.tensorboard import EventFiles
from kcap_ray.training.loop import Progress
from kcap_ray.training.point import Point

_logger = logging.getLogger(__name__)

NOTE_EVERY_S = 2.0
"""Seconds between two writes of the progress file, which the live table shows."""


class Reporter:
    """Writes the progress down for those who watch, and hands it on."""

    def __init__(self, run: CellRun, points: Sequence[Point], first_trial: int) -> None:
        self._run, self._points, self._last = run, points, -math.inf
        self._device = provenance(run.device).device
        trials = range(first_trial, first_trial + len(points))
        self._events = EventFiles(run.directory.event_files, trials)

    def report(self, progress: Progress) -> None:
        """Take a point of the loss curves."""
        self._events.add(progress.step, [self._scalars(progress, e) for e in self._trials])
        if time.monotonic() - self._last >= NOTE_EVERY_S:
            self._last = time.monotonic()
            n_steps = length_of(self._run.cell).steps
            now = TrainingProgress(
                step=progress.step,
                n_steps=n_steps,
                losses=progress.losses,
                seconds=progress.seconds,
                device=self._device,
                n_devices=dist.get_world_size() if dist.is_initialized() else 1,
            )
            write_atomically(self._run.directory.progress_file, json.dumps(now.to_dict()))
        if self._run.on_progress is not None:
            self._run.on_progress(progress)

    def close(self) -> None:
        """Close the event files; a warning if they could not be written."""
        self._events.close()
        if self._events.error is not None:
            _logger.warning("no more is logged for TensorBoard: %s", self._events.error)

    @property
    def _trials(self) -> range:
        return range(len(self._points))

    def _scalars(self, progress: Progress, trial: int) -> dict[str, float]:
        probed = {} if progress.probed is None else progress.probed[trial]
        lr = self._points[trial].lr * progress.lr_ratio
        return {"loss": progress.losses[trial], "lr": lr, **probed}

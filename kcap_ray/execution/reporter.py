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
from kcap_ray.runs.learnt import ADVICE, is_nothing
from kcap_ray.runs.record import TrainingProgress
from kcap_ray.tracking.tensorboard import EventFiles
from kcap_ray.training.loop import Progress
from kcap_ray.training.point import Point

_logger = logging.getLogger(__name__)

NOTE_EVERY_S = 2.0
"""Seconds between two writes of the progress file, which the live table shows."""

WARN_FROM = 0.5
"""Share of a run after which a trial that knows nothing is warned of."""


class Reporter:
    """Writes the progress down for those who watch, and hands it on."""

    def __init__(self, run: CellRun, points: Sequence[Point], first_trial: int) -> None:
        self._run, self._points, self._last = run, points, -math.inf
        self._device = provenance(run.device).device
        trials = range(first_trial, first_trial + len(points))
        self._events = EventFiles(run.directory.event_files, trials)
        self._probed: tuple[dict[str, float], ...] = ()
        self._has_warned = False

    def report(self, progress: Progress) -> None:
        """Take a point of the loss curves."""
        self._events.add(progress.step, [self._scalars(progress, e) for e in self._trials])
        n_steps = length_of(self._run.cell).steps
        if progress.probed is not None:
            self._probed = progress.probed
            self._warn_if_nothing(progress.step, n_steps)
        if time.monotonic() - self._last >= NOTE_EVERY_S:
            self._last = time.monotonic()
            now = TrainingProgress(
                step=progress.step,
                n_steps=n_steps,
                losses=progress.losses,
                seconds=progress.seconds,
                device=self._device,
                n_devices=dist.get_world_size() if dist.is_initialized() else 1,
                ratios=tuple(trial["capacity_ratio"] for trial in self._probed),
            )
            write_atomically(self._run.directory.progress_file, json.dumps(now.to_dict()))
        if self._run.on_progress is not None:
            self._run.on_progress(progress)

    def _warn_if_nothing(self, step: int, n_steps: int) -> None:
        """Once, from the middle of a run to before its end, where no trial knows anything yet: by
        then the rate has passed its peak. What the end says is in the table.
        """
        if self._has_warned or not WARN_FROM * n_steps <= step < n_steps:
            return
        trials = self._probed
        if not all(is_nothing(t["stored_bits"], t.get("stored_bits_se")) for t in trials):
            return
        self._has_warned = True
        cell, most = self._run.cell, max(trial["capacity_ratio"] for trial in trials)
        exposures = cell.train.exposures * step / n_steps
        _logger.warning(
            "%s: R %.3f at %.0f of %d exposures, nothing learnt yet; if it stays so: %s",
            *(cell.cell_id, most, exposures, cell.train.exposures, ADVICE),
        )

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

"""TensorBoard event files of a cell's trials, written while they are trained.

`tensorboard --logdir RUN/cells` shows every trial of every cell as a run of its own. Written with
tensorboardX, which Ray Tune brings; reading them needs TensorBoard itself, at whatever time.
"""

import importlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FLUSH_EVERY_S = 2.0
"""Seconds between two looks of a reader at new points."""


class EventFiles:
    """One event file for each of some trials.

    A write that fails ends the logging, in one warning, and not the training; so does a package
    that is missing, on machines where kcap trains without Ray.
    """

    def __init__(self, path: Path, trials: Sequence[int]) -> None:
        """`path`: the directory of the cell's event files; `trials`: their numbers."""
        self._places = [path / f"trial{trial}" for trial in trials]
        self._writers: list[Any] | None = None
        self._flushed_at = 0.0
        self.error: OSError | ImportError | None = None
        """What ended the logging, if something did."""

    def add(self, step: int, scalars: Sequence[Mapping[str, float]]) -> None:
        """Add the scalars of each trial at a step.

        The first step hides points of later steps in files of a program that was killed: a resumed
        program takes these steps again.
        """
        if self.error is not None:
            return
        try:
            if self._writers is None:
                self._writers = [_opened(place, step) for place in self._places]
            for writer, own in zip(self._writers, scalars, strict=True):
                writer.write_event(_event(step, own))
            if time.monotonic() - self._flushed_at >= FLUSH_EVERY_S:
                self.flush()
        except (OSError, ImportError) as error:
            self.error = error

    def flush(self) -> None:
        """Hand what has been added to the file system."""
        self._flushed_at = time.monotonic()
        for writer in self._writers or []:
            writer.flush()

    def close(self) -> None:
        """Flush and close the files."""
        try:
            for writer in self._writers or []:
                writer.close()
        except OSError as error:
            self.error = self.error or error
        self._writers = None


def _opened(place: Path, first_step: int) -> Any:
    from tensorboardX.event_file_writer import EventsWriter

    event_pb2 = _messages("event")
    place.mkdir(parents=True, exist_ok=True)
    writer = EventsWriter(str(place / "events"), f".{time.time_ns()}")
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    writer.write_event(event_pb2.Event(wall_time=time.time(), step=first_step, session_log=start))
    return writer


def _event(step: int, scalars: Mapping[str, float]) -> Any:
    event_pb2, summary_pb2 = _messages("event"), _messages("summary")
    values = [
        summary_pb2.Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()
    ]
    summary = summary_pb2.Summary(value=values)
    return event_pb2.Event(wall_time=time.time(), step=step, summary=summary)


def _messages(name: str) -> Any:
    # Made when they are imported, so that nothing static knows their classes.
    return importlib.import_module(f"tensorboardX.proto.{name}_pb2")

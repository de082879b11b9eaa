"""Sends the finished cells of a run directory to trackers, while it grows and at its end."""

import contextlib
import json
import logging
import threading
from collections.abc import Sequence

from kcap_ray.config.cell import Cell
from kcap_ray.config.digest import file_digest
from kcap_ray.config.errors import UserError
from kcap_ray.runs.files import fetch, write_atomically
from kcap_ray.runs.log import logged_to
from kcap_ray.runs.record import CurvePoint
from kcap_ray.runs.results import CellDirectory, RunDirectory
from kcap_ray.runs.tracked import LOGGED, logged
from kcap_ray.tracking.open import open_tracker
from kcap_ray.tracking.tracker import CellLog, Tracker

LOOK_EVERY_S = 5.0
"""Seconds between two looks for finished cells."""

PATIENCE_S = 120.0
"""Seconds that the end of a command waits for a tracker that takes nothing more."""

_log = logging.getLogger(__name__)


class Tracking:
    """Logs every finished cell once to each tracker: a thread while it is entered, and whatever is
    left when it is closed.

    What a tracker raises, whatever it is, ends the logging to that tracker with one warning; the
    next command on the directory tries again. One that hangs is left behind at the end.
    """

    def __init__(
        self, names: Sequence[str], sweep: str, cells: Sequence[Cell], directory: RunDirectory
    ) -> None:
        """Raises `UserError` as `open_tracker` does."""
        self._cells, self._directory = cells, directory
        self._trackers: dict[str, Tracker] = {
            name: open_tracker(name, directory.path, sweep) for name in dict.fromkeys(names)
        }
        self._logged = logged(directory.path)
        self._stop = threading.Event()
        self._n_sent = 0
        self._log_file = contextlib.ExitStack()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Tracking":
        """Raises `UserError` if the run directory cannot be written."""
        if self._trackers:
            self._directory.prepare()
            # From before the run's command opens the log until after it: the last look comes then.
            self._log_file.enter_context(logged_to(self._directory.path))
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._wait()
        self._log_file.close()

    def _wait(self) -> None:
        """Until all is sent, or nothing more is taken."""
        n_before = -1
        while self._thread.is_alive() and self._n_sent > n_before:
            n_before = self._n_sent
            self._thread.join(PATIENCE_S)
        if self._thread.is_alive():
            names = " and ".join(self._trackers)
            _log.warning(
                "%s: no answer in %.0f s; what is missing there is sent by the next "
                "command on the directory",
                names,
                PATIENCE_S,
            )

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._stop.wait(LOOK_EVERY_S)
            for cell in self._cells:
                for name in list(self._trackers):
                    self._send(name, cell)

    def _send(self, name: str, cell: Cell) -> None:
        directory = self._directory.cell(cell.cell_id)
        done = self._logged.setdefault(name, {})
        before = done.get(cell.cell_id, {})
        try:
            written_at = directory.result_file.stat().st_mtime_ns
            if before.get("written_at") == written_at:
                return
            digest = file_digest(directory.result_file)
        except OSError:
            return
        if before.get("digest") == digest:
            # The same row, copied from a store, which has another clock.
            before["written_at"] = written_at
            return
        log = _log_of(cell, directory)
        if log is None:
            return
        try:
            place = self._trackers[name].log(log)
            done[cell.cell_id] = {
                "written_at": written_at,
                "digest": digest,
                "place": place,
            }
            self._n_sent += 1
            text = json.dumps(self._logged, indent=1) + "\n"
            write_atomically(self._directory.path / LOGGED, text)
        except Exception as error:  # another program's, over a network; or a full disk
            _log.warning("%s: %s; no more is logged there", name, _one_line(error))
            del self._trackers[name]


def _log_of(cell: Cell, directory: CellDirectory) -> CellLog | None:
    """What is logged of a finished cell; None where it cannot be read now, as in a store that does
    not answer: the next look, or the next command, finds it.
    """
    try:
        row = directory.result()
        fetch(directory.path / "curves")
        trials = directory.trials()
    except (OSError, UserError) as error:
        _log.debug("%s: %s", cell.cell_id, error)
        return None
    found = {one.trial: read_curve(directory, one.trial) for one in trials}
    curves = {number: curve for number, curve in found.items() if curve}
    return None if row is None else CellLog(cell=cell, row=row, curves=curves)


def read_curve(directory: CellDirectory, trial: int) -> list[CurvePoint]:
    """The loss curve of a trial; empty if it has none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(directory.curve_file(trial)).to_pylist()
        return [CurvePoint.from_dict(row) for row in rows]
    except (OSError, ValueError, TypeError, pa.ArrowException):
        return []


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]

"""Ctrl-C and SIGTERM: what is at work is saved first, then the command ends.

The command touches a file of the run directory, for which whoever trains looks, on any machine; and
waits until what it has saved is there.
"""

import contextlib
import logging
import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from kcap_ray.config.cell import Cell
from kcap_ray.runs.files import changed_ns, newest_ns, write_atomically
from kcap_ray.runs.progress import STALE_AFTER_S
from kcap_ray.runs.results import CellDirectory, RunDirectory

_logger = logging.getLogger(__name__)

REQUEST = ".save"
"""File of a run directory: those who train save when it is touched."""

LONGEST_S = 20.0
"""Time that saving may take; then the command ends all the same."""

_LOOK_EVERY_S = 0.1

# Of this process, as signals are.
_STOPPING = threading.Event()


def is_stopping() -> bool:
    """Whether this command was told to stop, and saves what is at work."""
    return _STOPPING.is_set()


def stop_at_once() -> None:
    """End this command as a second Ctrl-C does, without saving anything; from any thread."""
    _STOPPING.set()
    os.kill(os.getpid(), signal.SIGINT)


def request_file(directory: CellDirectory) -> Path:
    """The file that asks those who train a cell, or a part of it, to save."""
    above = directory.path.parents
    cells = next((place for place in above if place.name == "cells"), above[0])
    return cells.parent / REQUEST


def ask_to_save(directory: RunDirectory) -> None:
    """Have those who train save, wherever they are."""
    with contextlib.suppress(OSError):  # a full disk has no room for what is saved either
        # Another content each time, which tells a request in a store from the one before.
        write_atomically(directory.path / REQUEST, secrets.token_hex(8))


@contextlib.contextmanager
def saves_first(cells: Sequence[Cell], directory: RunDirectory) -> Iterator[None]:
    """Within it the first Ctrl-C or SIGTERM has the cells saved that are at work, and then raises
    `KeyboardInterrupt`, as a second one does at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    has_ended = threading.Event()
    _STOPPING.clear()

    def handle(number: int, _: object) -> None:
        if is_stopping():
            raise KeyboardInterrupt
        _STOPPING.set()
        _logger.warning("saving what is at work; once more ends it at once")
        ask_to_save(directory)
        threading.Thread(target=wait, daemon=True).start()

    def wait() -> None:
        try:
            _wait_until_saved(cells, directory, has_ended)
        except OSError as error:
            _logger.warning("whether all is saved is not known: %s", error)
        finally:  # nothing that goes wrong here may keep the command from its end
            if not has_ended.is_set():
                os.kill(os.getpid(), signal.SIGINT)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        has_ended.set()
        _STOPPING.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_until_saved(
    cells: Sequence[Cell], directory: RunDirectory, has_ended: threading.Event
) -> None:
    end = time.monotonic() + LONGEST_S
    owners = [directory.cell(cell.cell_id) for cell in cells]
    places = [place for owner in owners for place in (owner, *owner.parts())]
    while any(_is_unsaved(place) for place in places) and time.monotonic() < end:
        if has_ended.wait(_LOOK_EVERY_S):
            return


def _is_unsaved(place: CellDirectory) -> bool:
    """Whether the cell is at work and has not saved since it was asked to."""
    try:
        noted_at = place.progress_file.stat().st_mtime
        if time.time() - noted_at > STALE_AFTER_S:
            return False
        asked_at = changed_ns(request_file(place))
        return asked_at > 0 and newest_ns(place.path / "resume", ".pt") < asked_at
    except OSError:
        return False

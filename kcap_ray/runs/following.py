"""What a working copy sends to its store by and by, since it is only to be looked at (progress,
logs, event files), and how it learns that it is asked to save.
"""

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Protocol

from kcap_ray.runs.copied_names import LOG, REQUEST, following
from kcap_ray.runs.store import Store

FOLLOWS_EVERY_S = 2.0
PROGRESS_EVERY_S = 10.0
"""Seconds between two writes of a file that is only to be looked at."""


class Copy(Protocol):
    """A working copy, as it is seen from here."""

    path: Path
    store: Store
    lost: str
    lock: "threading.RLock"

    def is_as_copied(self, name: str, mtime_ns: int) -> bool:
        """Whether a local file with this time is still what was copied from the store."""
        ...


class Following:
    """Sends the files of a working copy that follow, by a thread."""

    def __init__(self, copy: Copy, *, log_name: str) -> None:
        """`log_name`: of this process's log in the store."""
        self._copy, self._log_name = copy, log_name
        self._sent: dict[str, tuple[float, int, int]] = {}
        """When files were sent, and their size and time then."""
        self._request: bytes | None = None
        self._over, self._listens = threading.Event(), False
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def start(self, *, listens: bool = False) -> None:
        """Begin to send what follows; `listens`: take requests to save, too."""
        self._listens = listens
        self._thread.start()

    def stop(self) -> None:
        """Send what follows a last time, and no more."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()
        if not self._copy.lost:
            with contextlib.suppress(OSError):
                self._send(is_last=True)

    def _follow(self) -> None:
        while not self._over.wait(FOLLOWS_EVERY_S):
            if self._copy.lost:
                return
            # What is only to be looked at is not worth an error.
            with contextlib.suppress(OSError):
                self._send()
            if self._listens:
                with contextlib.suppress(OSError):
                    self._look_for_request()

    def _send(self, *, is_last: bool = False) -> None:
        for path in following(self._copy.path):
            name = path.relative_to(self._copy.path).as_posix()
            sent_at, *stamp = self._sent.get(name, (-PROGRESS_EVERY_S, 0, 0))
            is_due = is_last or time.monotonic() - sent_at >= PROGRESS_EVERY_S
            with self._copy.lock:
                try:
                    found = path.stat()
                except OSError:
                    continue
                now = [found.st_size, found.st_mtime_ns]
                is_copied = self._copy.is_as_copied(name, found.st_mtime_ns)
                if now == stamp or is_copied or not is_due:
                    continue
                there = self._log_name if name == LOG else name
                self._copy.store.put(there, path, patience_s=PROGRESS_EVERY_S)
                self._sent[name] = (time.monotonic(), found.st_size, found.st_mtime_ns)

    def _look_for_request(self) -> None:
        before = self._request
        self.take_request()
        if self._request is not None and self._request != before:
            path = self._copy.path / REQUEST
            try:
                path.write_bytes(self._request)
                os.utime(path)
            except OSError:
                self._request = before  # asked again with the next look
                raise

    def take_request(self) -> None:
        """Take over a request to save, as the file by which it is asked here."""
        with contextlib.suppress(OSError):
            self._request = self._copy.store.get(REQUEST)

    def forget(self, name: str) -> None:
        """A file was removed: one of that name is another."""
        self._sent.pop(name, None)

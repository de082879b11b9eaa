"""What a command reports while it works: lines with their time, on standard error and in the
run directory's kcap.log.

Modules log to a logger of their own name. What the user asked for goes to standard output, and why
a command ended to standard error, in a line without a time.
"""

import contextlib
import logging
import logging.handlers
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from kcap_ray.runs.copied_names import LOG
from kcap_ray.runs.working_copy import with_urls

FILE = LOG

_logger = logging.getLogger("kcap_ray")


class _Form(logging.Formatter):
    """Names runs that are kept in a store by their URL."""

    def format(self, record: logging.LogRecord) -> str:
        return with_urls(super().format(record))


_FORM = _Form("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S%z")


class _StandardError(logging.Handler):
    """Standard error as it is when a line is logged: a live table replaces it for a while."""

    def emit(self, record: logging.LogRecord) -> None:
        # Nobody reads it any more; or a signal came while a line was being written.
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            print(self.format(record), file=sys.stderr, flush=True)


class _File(logging.handlers.WatchedFileHandler):
    """A file to which several processes append, and which may be moved away meanwhile."""

    def handleError(self, record: logging.LogRecord) -> None:
        """A full disk ends a run where a result cannot be written, and not here."""


def log_to_standard_error() -> None:
    """From now on, with levels INFO and above; once, however often it is called."""
    _logger.setLevel(logging.INFO)
    if not any(isinstance(handler, _StandardError) for handler in _logger.handlers):
        handler = _StandardError()
        handler.setFormatter(_FORM)
        _logger.addHandler(handler)


@contextlib.contextmanager
def logged_to(directory: Path) -> Iterator[None]:
    """Within it lines go to kcap.log in a run directory too, behind those that are there. Where
    that cannot be written a warning says so.
    """
    handler = _file_handler(directory / FILE)
    if handler is None:
        yield
        return
    before = _logger.level
    _logger.setLevel(logging.INFO)
    _logger.addHandler(handler)
    try:
        yield
    finally:
        _logger.removeHandler(handler)
        _logger.setLevel(before)
        with contextlib.suppress(OSError):  # of a full disk too
            handler.close()


@contextlib.contextmanager
def command_logged_to(directory: Path) -> Iterator[None]:
    """The same for a whole command: the file alone has a line more at its begin and at its end."""
    with logged_to(directory):
        began_s = time.monotonic()
        _to_files(f"kcap {' '.join(sys.argv[1:])} (process {os.getpid()} on {platform.node()})")
        try:
            yield
        except BaseException as error:
            _to_files(f"ended by {type(error).__name__}: {error}", logging.ERROR)
            raise
        _to_files(f"ended after {time.monotonic() - began_s:.1f} s")


def _file_handler(file: Path) -> _File | None:
    """A new one; None if this process logs there already, or nothing can be written there."""
    path = os.path.realpath(file)
    if any(isinstance(one, _File) and one.baseFilename == path for one in _logger.handlers):
        return None
    try:
        handler = _File(path, encoding="utf-8")
    except OSError as error:
        _logger.warning("%s cannot be written (%s); nothing is logged there", file, error.strerror)
        return None
    handler.setFormatter(_FORM)
    return handler


def _to_files(text: str, level: int = logging.INFO) -> None:
    record = _logger.makeRecord(_logger.name, level, __file__, 0, text, (), None)
    for handler in _logger.handlers:
        if isinstance(handler, _File):
            handler.handle(record)

"""A Ray session that is lost under a command: found out at once, said in one line, and begun again
once.

Ray itself is silent for a minute when its `gcs_server` is gone, and then ends the process that uses
it, with no way to say or save anything. The ledger holds what is done, so a command whose own
session is lost takes its own place and goes on; one that had joined a cluster ends.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NoReturn, Protocol

from kcap_ray.engine.watching import watching
from kcap_ray.runs.interrupt import is_stopping

_logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5

LONGEST_SILENCE_S = 45.0
"""Time for which a cluster's head may not answer: Ray ends the process itself after 60."""

LONGEST_REFUSAL_S = 10.0
"""Time for which its host may answer that nothing listens there: its `gcs_server` has ended, and
does not come back by itself.
"""

SAID_AFTER_S = 3.0
"""Silence of a head after which that is logged."""

NEEDED = ("gcs_server", "raylet")
"""Processes of a session without which it is lost."""

_AGAIN = "KCAP_SESSION_LOST"
"""Set in the environment of a command that has taken its own place."""

FindLoss = Callable[[], str | None]
"""What has become of the session, in a few words; None while it is well."""


class Process(Protocol):
    """What is asked of a process."""

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        ...


@contextlib.contextmanager
def guarded(find_loss: FindLoss, end: Callable[[str], None]) -> Iterator[None]:
    """Within it, `end` is called with what `find_loss` has found, as soon as it finds something.

    It runs in a thread of its own: the main thread may wait for the lost session without end.
    """

    def look(is_over: threading.Event) -> bool:
        loss = find_loss()
        if loss is None or is_over.is_set():
            return False
        end(loss)
        return True

    with watching(look, every_s=LOOK_EVERY_S):
        yield


def loss_of(processes: Mapping[str, Process]) -> FindLoss:
    """Finds out that one of these processes has ended."""

    def find() -> str | None:
        for name, process in processes.items():
            status = process.poll()
            if status is not None:
                how = signal.Signals(-status).name if status < 0 else f"status {status}"
                return f"Ray's {name} ended ({how})"
        return None

    return find


def silence_of(
    address: str,
    *,
    longest_s: float = LONGEST_SILENCE_S,
    clock: Callable[[], float] = time.monotonic,
) -> FindLoss:
    """Finds out that nothing at `address` (host:port) has answered for so long."""
    host, _, port = address.rpartition(":")
    answered_at, is_said = clock(), False

    def find() -> str | None:
        nonlocal answered_at, is_said
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=LOOK_EVERY_S).close()
        except OSError as error:
            is_refusal = isinstance(error, ConnectionRefusedError)
            most_s = min(longest_s, LONGEST_REFUSAL_S) if is_refusal else longest_s
            reason, silent_s = error.strerror or error, clock() - answered_at
            if silent_s >= most_s:
                return (
                    f"the head of the cluster at {address} has not answered for {silent_s:.0f} s "
                    f"({reason}): bring the cluster up again"
                )
            if silent_s >= SAID_AFTER_S and not is_said:
                is_said = True
                wait = "the head of the cluster at %s does not answer (%s); given up after %.0f s"
                _logger.warning(wait, address, reason, most_s)
            return None
        answered_at, is_said = clock(), False
        return None

    return find


def begin_again(loss: str) -> NoReturn:
    """Take the place of this command, which is given again in the same process; end it where that
    happened before, where it was told to stop, or where it is another program that uses kcap.
    """
    if is_stopping() or _AGAIN in os.environ or not _is_kcap():
        end_for_good(loss)
    _logger.warning("%s; it starts again, from the last checkpoints", loss)
    _flush()
    end_children()
    os.environ[_AGAIN] = "1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def end_for_good(loss: str) -> NoReturn:
    """End the process: what it would wait for is gone."""
    print(f"kcap: {loss}; the same command goes on from here", file=sys.stderr, flush=True)
    _flush()
    end_children()
    os._exit(130 if is_stopping() else 1)


def _is_kcap() -> bool:
    """Whether this process is a `kcap` command, and not a program that calls its functions."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    words = (os.path.basename(sys.argv[0]), (spec.name if spec else "").removesuffix(".__main__"))
    return "kcap" in words or "kcap_ray.cli" in words


def end_children(word: str = "") -> None:
    """End what this process has started, Ray's processes among it, which would stay for a minute;
    only those whose command line holds the word.
    """
    import psutil

    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any(word in part for part in child.cmdline()):
                child.kill()


def _flush() -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()

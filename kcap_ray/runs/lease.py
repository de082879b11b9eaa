"""A lease on a run that is kept in a store: one driver at a time, where no kernel holds a lock.

The lease is one object that names its holder, who writes it anew every few seconds. Another may
take it when it has not been written for `LASTS_S`, when it was given back, or when its holder was a
process of this machine that is gone. On S3 every write is conditional (`If-None-Match`, `If-Match`)
and the age is by the server's clock, so two drivers never both hold it. Other stores are written to
and read again after `SETTLE_S`: two drivers that begin at the same moment are told apart as long as
a write takes less than that.
"""

import contextlib
import json
import logging
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kcap_ray.config.errors import UserError
from kcap_ray.runs.lease_object import Found, LeaseObject

_logger = logging.getLogger(__name__)

RENEW_EVERY_S = 5.0
LASTS_S = 30.0
"""Age of a lease after which another may take it."""

FREE = "free"
"""State of a lease that was given back."""

# Of this program: a command whose session is lost takes its own place, under the same number.
_IMAGE = secrets.token_hex(8)


class Lease:
    """The lease of a run, held by this process from `acquire` to `release`."""

    def __init__(
        self,
        place: LeaseObject,
        shown: str,
        *,
        on_lost: Callable[[str], None],
        lasts_s: float = LASTS_S,
        renew_every_s: float = RENEW_EVERY_S,
    ) -> None:
        """`shown`: what messages call the run; `on_lost`: called in a thread, with who has it."""
        self._place, self._shown, self._on_lost = place, shown, on_lost
        self._lasts_s, self._renew_every_s = lasts_s, renew_every_s
        self._me = {"key": secrets.token_hex(8), **_this_process()}
        self._tag, self._n_written = "", 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)

    def acquire(self) -> None:
        """Take the lease, or wait until it has run out. Raises `UserError` if another process holds
        it: one of this machine that lives, or one that has written it anew meanwhile.
        """
        seen, since = "", time.monotonic()
        while True:
            found = self._place.read()
            if found is None:
                tag = self._place.create(self._content())
            elif is_over(found) or self._age_s(found, seen, since) > self._lasts_s:
                tag = self._place.replace(self._content(), found.tag)
            else:
                tag = None
                if _is_alive_here(found.holder) or (seen and found.tag != seen):
                    raise UserError(
                        f"--out {self._shown}: another kcap is at work there "
                        f"({_named(found.holder)})"
                    )
                if not seen:
                    seen, since = found.tag, time.monotonic()
                    _logger.warning(
                        "%s: held by %s, which may be gone; its lease runs out in %.0f s",
                        self._shown,
                        _named(found.holder),
                        max(0.0, self._lasts_s - found.age_s),
                    )
                time.sleep(min(1.0, self._renew_every_s))
            if tag is not None:
                self._tag = tag
                self._thread.start()
                return

    def release(self) -> None:
        """Give it back; the next command takes it at once."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self._tag:
            # Without it the lease runs out by itself.
            with contextlib.suppress(OSError):
                self._place.replace(self._content(state=FREE), self._tag)

    def _renew(self) -> None:
        while not self._over.wait(self._renew_every_s):
            try:
                tag = self._place.replace(self._content(), self._tag)
            except OSError:
                continue  # whether it is still ours is known when the store answers
            if tag is None:
                found = None
                with contextlib.suppress(OSError):
                    found = self._place.read()
                self._tag = ""
                self._on_lost(_named(found.holder) if found else "somebody who has removed it")
                return
            self._tag = tag

    def _content(self, *, state: str = "held") -> bytes:
        self._n_written += 1
        return json.dumps({**self._me, "state": state, "n_written": self._n_written}).encode()

    @staticmethod
    def _age_s(found: Found, seen: str, since: float) -> float:
        watched_s = time.monotonic() - since if found.tag == seen else 0.0
        return max(found.age_s, watched_s)


@contextlib.contextmanager
def held(lease: Lease) -> Iterator[None]:
    """Hold the lease."""
    lease.acquire()
    try:
        yield
    finally:
        lease.release()


def is_over(found: Found) -> bool:
    """Whether the lease was given back, or was a process's of this machine that is gone."""
    holder = found.holder
    return holder.get("state") == FREE or (_is_of_here(holder) and not _is_alive_here(holder))


def is_held(place: LeaseObject) -> bool:
    """Whether somebody is at work, as far as one look tells."""
    found = place.read()
    return found is not None and not is_over(found) and found.age_s <= LASTS_S


def _this_process() -> dict[str, Any]:
    pid = os.getpid()
    return {"host": platform.node(), "pid": pid, **_here(), "began": _began(pid), "image": _IMAGE}


def _here() -> dict[str, str]:
    """What tells this machine, or container, from others of the same name; by that a number is a
    process.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return {"boot": boot, "pids": os.readlink("/proc/self/ns/pid")}
    except OSError:
        return {}


def _began(pid: int) -> str | None:
    """When a process of this machine began, in ticks; None if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _is_of_here(holder: dict[str, Any]) -> bool:
    here = _here()
    return bool(here) and all(holder.get(name) == value for name, value in here.items())


def _is_alive_here(holder: dict[str, Any]) -> bool:
    pid = int(holder.get("pid", 0))
    began = _began(pid) if _is_of_here(holder) else None
    if pid == os.getpid() and holder.get("image") != _IMAGE:
        return False  # this process, before another program took its place
    return began is not None and began == holder.get("began")


def _named(holder: dict[str, Any]) -> str:
    if not holder:
        return "somebody who cannot be read"
    return f"process {holder.get('pid')} on {holder.get('host')}"

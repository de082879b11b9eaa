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
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from kcap_ray.config.errors import UserError
from kcap_ray.runs.store import Store, s3_settings, tried

_logger = logging.getLogger(__name__)

NAME = ".lease"
"""Object of a run that names its driver."""

RENEW_EVERY_S = 5.0
LASTS_S = 30.0
"""Age of a lease after which another may take it."""

SETTLE_S = 3.0
"""Longest that a write may take on a store without conditional writes."""

FREE = "free"
"""State of a lease that was given back."""

# Of this program: a command whose session is lost takes its own place, under the same number.
_IMAGE = secrets.token_hex(8)


@dataclass(frozen=True)
class Found:
    """A lease as it is in the store."""

    content: bytes
    tag: str
    """Of this content; another write has another."""
    age_s: float
    """By the clock of the store; 0 where that is not known."""

    @property
    def holder(self) -> dict[str, Any]:
        """What it says of its holder; nothing where it cannot be read."""
        try:
            found = json.loads(self.content)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


class LeaseObject(Protocol):
    """The object that a lease is."""

    def read(self) -> Found | None:
        """What is there; None if nothing is."""
        ...

    def create(self, content: bytes) -> str | None:
        """Write it if there is none; the tag, or None if there is one."""
        ...

    def replace(self, content: bytes, tag: str) -> str | None:
        """Write it if it still has the tag; the new tag, or None if it has another."""
        ...


class S3Object:
    """On S3, by conditional writes; needs boto3."""

    def __init__(self, store: Store, *, name: str = NAME) -> None:
        parts = urlsplit(store.url)
        self._store, self._bucket, self._name = store, parts.netloc, name
        self._key = f"{parts.path.strip('/')}/{name}".lstrip("/")
        self._client: Any = None

    def read(self) -> Found | None:
        """What is there, with its age by the server's clock."""
        answer = self._asked("get_object", lambda got: got | {"bytes": got["Body"].read()})
        if answer is None:
            return None
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        age_s = (now - answer["LastModified"]).total_seconds()
        return Found(content=answer["bytes"], tag=answer["ETag"], age_s=max(0.0, age_s))

    def create(self, content: bytes) -> str | None:
        """Write it if there is none."""
        return self._written(content, IfNoneMatch="*")

    def replace(self, content: bytes, tag: str) -> str | None:
        """Write it if it still has the tag."""
        return self._written(content, IfMatch=tag)

    def _written(self, content: bytes, **condition: Any) -> str | None:
        answer = self._asked("put_object", Body=content, **condition)
        if answer is not None:
            return answer["ETag"]
        # The answer to our own write may have been lost.
        found = self.read()
        return found.tag if found is not None and found.content == content else None

    def _asked(
        self,
        operation: str,
        whole: Callable[[dict[str, Any]], dict[str, Any]] = dict,
        **arguments: Any,
    ) -> dict[str, Any] | None:
        """The answer; None where the object or the condition is not there."""
        from botocore.exceptions import BotoCoreError, ClientError

        def once() -> dict[str, Any] | None:
            try:
                call = getattr(self._connected(), operation)
                return whole(call(Bucket=self._bucket, Key=self._key, **arguments))
            except ClientError as error:
                code = error.response.get("Error", {}).get("Code", "")
                if code in ("PreconditionFailed", "NoSuchKey", "404", "412"):
                    return None
                words = error.response.get("Error", {}).get("Message", "")
                raise OSError(f"{code}: {words}") from error
            except BotoCoreError as error:
                raise OSError(str(error)) from error

        shown, patience_s = self._store.shown(self._name), min(LASTS_S, self._store.patience_s)
        return tried(once, shown, patience_s=patience_s, before_again=self._forget)

    def _connected(self) -> Any:
        if self._client is None:
            from boto3.session import Session
            from botocore.config import Config

            settings = s3_settings(self._store.url)
            endpoint = settings.get("endpoint_override")
            scheme = settings.get("scheme", "https")
            # A session of its own reads the credentials anew.
            self._client = Session().client(
                "s3",
                region_name=settings.get("region"),
                endpoint_url=f"{scheme}://{endpoint}" if endpoint else None,
                config=Config(
                    connect_timeout=10,
                    read_timeout=30,
                    retries={"max_attempts": 1, "mode": "standard"},
                    s3={"addressing_style": "path"} if endpoint else None,
                ),
            )
        return self._client

    def _forget(self) -> None:
        self._client = None


class PlainObject:
    """On a store without conditional writes: written, and read again when it has settled."""

    def __init__(self, store: Store, *, name: str = NAME, settle_s: float = SETTLE_S) -> None:
        self._store, self._name, self._settle_s = store, name, settle_s

    def read(self) -> Found | None:
        """What is there; its tag is the content itself."""
        content = self._store.get(self._name)
        return None if content is None else Found(content, content.decode("latin-1"), 0.0)

    def create(self, content: bytes) -> str | None:
        """Write it if there is none, and look who wrote last."""
        return None if self.read() is not None else self._settled(content)

    def replace(self, content: bytes, tag: str) -> str | None:
        """Write it if it still has the tag, and look who wrote last if it was another's."""
        found = self.read()
        if found is None or found.tag != tag:
            return None
        if found.holder.get("key") == json.loads(content).get("key"):
            self._store.put(self._name, content)
            return content.decode("latin-1")
        return self._settled(content)

    def _settled(self, content: bytes) -> str | None:
        self._store.put(self._name, content)
        time.sleep(self._settle_s)
        found = self.read()
        return found.tag if found is not None and found.content == content else None


def lease_object(store: Store, name: str = NAME) -> LeaseObject:
    """The lease of what is kept in the store, or another object that one process is to write, by
    the surest means that the store offers here.
    """
    if urlsplit(store.url).scheme != "s3":
        return PlainObject(store, name=name)
    try:
        import boto3  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError:
        _logger.warning(
            "boto3 is not installed, so S3 is asked without conditions who drives %s: begin no two "
            "commands there at the same moment, or pip install boto3",
            store.url,
        )
        return PlainObject(store, name=name)
    return S3Object(store, name=name)


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

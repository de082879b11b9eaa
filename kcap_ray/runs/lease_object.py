"""The object that a lease is, in a store with conditional writes and in one without."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

from kcap_ray.runs.store import Store, tried
from kcap_ray.runs.systems import s3_settings

_logger = logging.getLogger(__name__)

NAME = ".lease"
"""Object of a run that names its driver."""

PATIENCE_S = 30.0
"""Time for which an operation is tried again: as long as a lease lasts."""

SETTLE_S = 3.0
"""Longest that a write may take on a store without conditional writes."""


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

        shown, patience_s = self._store.shown(self._name), min(PATIENCE_S, self._store.patience_s)
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

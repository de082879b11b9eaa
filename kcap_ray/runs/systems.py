"""The file systems that URLs name: of pyarrow, and of fsspec for what that does not know."""

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from kcap_ray.config.errors import UserError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

# What a library repeats before the words of the store.
_PREFIX = re.compile(r"^.*?(?=AWS Error|AWS Status|google::)", re.DOTALL)
_SUFFIX = re.compile(r"\s*\(Request ID: .*", re.DOTALL)
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
_LONGEST = 200

# S3 answers a HEAD request without saying why not.
_REFUSED = re.compile(
    r"access.?denied|forbidden|invalid.?access.?key|expired.?token|token.*expired|invalid.?token"
    r"|signature.?does.?not.?match|status 40[013]|locate credentials|unauthorized|anonymous",
    re.IGNORECASE,
)
REFUSED = "are the credentials there, and not expired?"


def words_of(error: BaseException) -> str:
    """What the store said, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    text = _SUFFIX.sub("", _PREFIX.sub("", _CDATA.sub(r"\1", text)))
    words = " ".join(text.split())[:_LONGEST]
    return f"{words}; {REFUSED}" if _REFUSED.search(words) else words


def connected(url: str) -> "tuple[FileSystem, str]":
    """The file system at a URL, and the path in it, by pyarrow, and by fsspec for what that does
    not know. Raises `UserError` for a URL that neither takes.
    """
    from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem

    scheme = urlsplit(url).scheme
    if scheme == "s3":
        return _s3(url)
    try:
        return FileSystem.from_uri(url)
    except (ValueError, NotImplementedError) as unknown:
        try:
            import fsspec

            system = fsspec.filesystem(scheme)
            path = system._strip_protocol(url)
        except (ImportError, ValueError) as error:
            raise UserError(f"{url}: {words_of(unknown)}; {words_of(error)}") from error
    return PyFileSystem(FSSpecHandler(system)), str(path)


def s3_settings(url: str) -> dict[str, str]:
    """What a URL of S3 and the environment say of the server: `region`, `scheme` and
    `endpoint_override` as pyarrow has them, the latter two for other servers than Amazon's.
    """
    query = {name: values[-1] for name, values in parse_qs(urlsplit(url).query).items()}
    unknown = sorted(set(query) - {"region", "scheme", "endpoint_override"})
    if unknown:
        raise UserError(
            f"{url}: {unknown[0]} is not known; write region, scheme or endpoint_override"
        )
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint and "endpoint_override" not in query:
        scheme, _, host = endpoint.rpartition("://")
        query |= {"scheme": scheme or "https", "endpoint_override": host.rstrip("/")}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region:
        query.setdefault("region", region)
    if "endpoint_override" in query:
        query.setdefault("region", "us-east-1")
    return query


def _s3(url: str) -> "tuple[FileSystem, str]":
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem, resolve_s3_region

    parts, settings = urlsplit(url), s3_settings(url)
    if "region" not in settings:
        settings["region"] = resolve_s3_region(parts.netloc)
    system = S3FileSystem(
        # One request for a small file, and not three.
        allow_delayed_open=True,
        background_writes=False,
        connect_timeout=10,
        request_timeout=60,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=3),
        **settings,  # pyright: ignore[reportArgumentType]
    )
    return system, f"{parts.netloc}{parts.path}".rstrip("/")

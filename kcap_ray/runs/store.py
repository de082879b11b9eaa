"""Files in a bucket, or in whatever else pyarrow or fsspec can reach under a URL.

One object is written whole or not at all. What fails is tried again with a new connection and fresh
credentials for some minutes; then it is an error that names the URL.
"""

import contextlib
import logging
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kcap_ray.config.errors import UserError
from kcap_ray.runs.systems import connected, words_of

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_logger = logging.getLogger(__name__)

PATIENCE_S = 300.0
"""Time for which an operation is tried again."""

SLOWEST_RETRY_S = 10.0
"""Longest pause between two tries."""

SILENT_S = 8.0
"""Seconds of failures after which the log has a line about them."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9.-]+):/+(?=[^/])(.*)")
# A bucket that is not there will not be there in a minute.
_FOR_GOOD = re.compile(r"NO_SUCH_BUCKET|NoSuchBucket|bucket does not exist", re.IGNORECASE)

_CHUNK_BYTES = 4 * 2**20

Result = TypeVar("Result")


def url_of(place: str | Path) -> str | None:
    """The URL that `place` is, with a scheme and without a slash at its end; None for a path of
    this machine. A `Path` that was made of a URL, and so lost a slash, is one too.

    Worked example: `s3://b/run/` and `Path("s3://b/run")` are both `s3://b/run`.
    """
    found = _URL.fullmatch(str(place))
    if found is None or found[1].lower() == "file":
        return None
    return f"{found[1].lower()}://{found[2].rstrip('/')}"


def local_path(place: str | Path) -> Path:
    """The path of this machine that is meant, which may have been written as `file:///...`."""
    text = str(place)
    return Path(re.sub(r"^file:/+", "/", text)) if text.lower().startswith("file:/") else Path(text)


class StoreError(OSError):
    """A store that did not do what it was asked for, for as long as it was tried."""


@dataclass(frozen=True)
class Entry:
    """A file of a store."""

    size: int
    """Bytes."""
    mtime_ns: int
    """When it was written, by the clock of the store; 0 where that has none."""


class Store:
    """What lies below a URL. Names are relative to it, with slashes."""

    def __init__(
        self,
        url: str,
        *,
        patience_s: float | None = None,
        connect: Callable[[str], "tuple[FileSystem, str]"] | None = None,
    ) -> None:
        """`patience_s`: for how long what fails is tried again; `connect`: makes the file system
        and the path in it that are at a URL.
        """
        self.url, self.patience_s = url, PATIENCE_S if patience_s is None else patience_s
        self.n_retries = 0
        self._connect = connect or connected
        self._opened: tuple[FileSystem, str] | None = None

    def shown(self, name: str) -> str:
        """The URL of a file."""
        return f"{self.url.partition('?')[0]}/{name}"

    def get(self, name: str) -> bytes | None:
        """What a file holds; None if there is none."""

        def read(system: "FileSystem", path: str) -> bytes:
            with system.open_input_file(path) as stream:
                content = stream.read()
                _check_whole(len(content), stream.size())
                return content

        return self._tried_or_none(name, read)

    def get_file(self, name: str, target: Path) -> bool:
        """Copy a file to `target`; False if there is none."""

        def read(system: "FileSystem", path: str) -> bool:
            with system.open_input_file(path) as stream, target.open("wb") as file:
                while chunk := stream.read(_CHUNK_BYTES):
                    file.write(chunk)
                _check_whole(file.tell(), stream.size())
            return True

        return self._tried_or_none(name, read) or False

    def put(self, name: str, content: bytes | Path, *, patience_s: float | None = None) -> None:
        """Write a file, whole or not at all."""

        def write(system: "FileSystem", path: str) -> None:
            _make_parents(system, path)
            if isinstance(content, bytes):
                with system.open_output_stream(path) as stream:
                    stream.write(content)
                return
            with content.open("rb") as file, system.open_output_stream(path) as stream:
                while chunk := file.read(_CHUNK_BYTES):
                    stream.write(chunk)

        self._tried(name, write, patience_s=patience_s)

    def delete(self, name: str, *, patience_s: float | None = None) -> None:
        """Remove a file, if there is one."""
        with contextlib.suppress(FileNotFoundError):
            self._tried(name, lambda system, path: system.delete_file(path), patience_s=patience_s)

    def copy(self, source: str, target: str) -> bool:
        """Copy a file inside of the store; False if there is none."""

        def copy(system: "FileSystem", path: str) -> bool:
            there = f"{path[: len(path) - len(source)]}{target}"
            _make_parents(system, there)
            system.copy_file(path, there)
            return True

        return self._tried_or_none(source, copy) or False

    def info(self, name: str) -> Entry | None:
        """Size and time of a file; None if there is none."""
        found = self._tried(name, lambda system, path: system.get_file_info(path))
        return _entry(found) if found.is_file else None

    def list(self, prefix: str = "") -> dict[str, Entry]:
        """All files whose name begins with `prefix` and a slash, at any depth."""
        from pyarrow.fs import FileSelector

        def found(system: "FileSystem", path: str) -> dict[str, Entry]:
            base = path.removesuffix(prefix).rstrip("/")
            try:
                ones = system.get_file_info(
                    FileSelector(path, recursive=True, allow_not_found=True)
                )
            except NotADirectoryError:
                return {}
            return {one.path[len(base) + 1 :]: _entry(one) for one in ones if one.is_file}

        return self._tried(prefix, found)

    def check(self) -> None:
        """Raise `UserError` if nothing can be read there, within some seconds."""
        try:
            self._tried(
                "", lambda system, path: system.get_file_info(path), patience_s=SLOWEST_RETRY_S
            )
        except OSError as error:
            raise UserError(f"{self.url}: cannot be reached ({error.strerror})") from error

    def check_writable(self, probe: str) -> None:
        """Raise `OSError` if no file can be written there, within some seconds; `probe`: a name."""
        self.put(probe, b"", patience_s=SLOWEST_RETRY_S)
        self.delete(probe, patience_s=SLOWEST_RETRY_S)

    def _tried_or_none(self, name: str, do: "Callable[[FileSystem, str], Result]") -> Result | None:
        try:
            return self._tried(name, do)
        except FileNotFoundError:
            return None

    def _tried(
        self,
        name: str,
        do: "Callable[[FileSystem, str], Result]",
        *,
        patience_s: float | None = None,
    ) -> Result:
        """What `do` returns, with a new connection for every further try."""

        def once() -> Result:
            # Another thread may have given up the connection meanwhile.
            opened = self._opened
            if opened is None:
                opened = self._opened = self._connect(self.url)
            system, base = opened[0], opened[1].rstrip("/")
            return do(system, f"{base}/{name}" if name else base)

        def again() -> None:
            self.n_retries += 1
            self._opened = None

        patience_s = self.patience_s if patience_s is None else patience_s
        return tried(once, self.shown(name), patience_s=patience_s, before_again=again)


def tried(
    once: Callable[[], Result],
    shown: str,
    *,
    patience_s: float,
    before_again: Callable[[], None] = lambda: None,
) -> Result:
    """What `once` returns, called again and again where the store fails; `FileNotFoundError` is an
    answer. Raises `StoreError` about the URL `shown` after `patience_s`, and says so in the log
    when it has tried for long.
    """
    began, pause_s, is_said = time.monotonic(), 0.1, False
    end = began + patience_s
    while True:
        try:
            return once()
        except FileNotFoundError:
            raise
        except OSError as error:
            cause = words_of(error)
            if _FOR_GOOD.search(str(error)) or time.monotonic() + pause_s > end:
                raise StoreError(error.errno or 5, cause, shown) from error
        if not is_said and time.monotonic() - began > SILENT_S:
            _logger.warning("%s: %s; it is tried again", shown, cause)
            is_said = True
        before_again()
        # Not all at the same moment, and ever more seldom.
        time.sleep(pause_s * random.uniform(0.5, 1.0))
        pause_s = min(SLOWEST_RETRY_S, 2 * pause_s)


def _entry(found: Any) -> Entry:
    return Entry(size=found.size or 0, mtime_ns=found.mtime_ns or 0)


def _check_whole(n_read: int, size: int) -> None:
    """Raise `OSError` where a connection that broke looks like the end of the file."""
    if n_read != size:
        raise OSError(f"{n_read} of {size} bytes were read")


def _make_parents(system: "FileSystem", path: str) -> None:
    """Make the folder of a file where a store has such; buckets have none."""
    if system.type_name not in ("s3", "gcs"):
        system.create_dir(path.rpartition("/")[0], recursive=True)

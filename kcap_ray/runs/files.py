"""Files that appear whole or not at all, and locks that end with their process.

Whatever kcap writes goes through `replaced` or `replaced_directory`: under a temporary name beside
its place, to the disk, and then renamed. So whoever reads a path finds what was there before or all
that is there now, at whatever moment a process, a machine or a disk ends.
"""

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

ASKED_S = 0.1
"""Seconds that a lock must have been held to count as held, and not as being asked for."""

_TEMPORARY = re.compile(r".+\.(?:[0-9a-f]{8}|\d+)\.tmp")
"""Names that are given here, or were by earlier versions."""

_NUMBER = re.compile(r"\(os error (\d+)\)")


@contextlib.contextmanager
def replaced(path: Path, *, before: Path | None = None) -> Iterator[Path]:
    """Yields a temporary path beside `path`, which takes its place when the block ends without an
    error. Makes the folder. `before`: where the file goes that is at `path` now; None removes it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        with _disk_errors(path):
            yield temporary
        with _named(path):
            _to_disk(temporary)
            if before is not None and path.is_file():
                os.replace(path, before)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replaced_directory(path: Path) -> Iterator[Path]:
    """The same for a directory: yields a new, empty one, which takes the place of `path` and of all
    that is in it. Between the two there is a moment without either.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    temporary.mkdir()
    try:
        with _disk_errors(path):
            yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _to_disk(file)
        shutil.rmtree(path, ignore_errors=True)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all; text in UTF-8."""
    with replaced(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_once(path: Path, content: str) -> bool:
    """Write a file that is not there yet, whole; whether it was this call that wrote it, of any
    number at the same time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        with _named(path):
            temporary.write_bytes(content.encode())
            _to_disk(temporary)
            os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def remove_temporaries(folder: Path, own: Iterable[str]) -> None:
    """Remove what killed processes did not get to move into its place in a run directory, or to
    remove: of the files and directories called `own`, and whatever lies below these. The rest of
    the folder may be somebody's. Only for the one command that is at work there.
    """
    found: list[Path] = []
    for name in own:
        found += folder.glob(f"{name}.*.tmp")
        found += (folder / name).rglob("*.tmp")
    for path in found:
        if _TEMPORARY.fullmatch(path.name) and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif _TEMPORARY.fullmatch(path.name):
            with contextlib.suppress(OSError):
                path.unlink()


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Raises an error of the system as one about `path`, and not about its temporary name."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Raises what the disk made fail as `OSError`, whatever a library has made of that."""
    try:
        yield
    except Exception as error:
        cause = _disk_error(error)
        if cause is None or cause is error:
            raise
        raise OSError(cause.errno, cause.strerror, str(path)) from error


def _disk_error(error: BaseException) -> OSError | None:
    """The disk's error that another one came of."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.errno is not None:
            return found
        number = _NUMBER.search(str(found))
        if number is not None:
            return OSError(int(number[1]), os.strerror(int(number[1])))
        found = found.__context__
    return None


def _beside(path: Path) -> Path:
    # Not the id of the process: several machines may write to one directory.
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")


def _to_disk(file: Path) -> None:
    descriptor = os.open(file, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path, *, wait_s: float = -1) -> Iterator[None]:
    """Hold the file at `path` as a lock, which the kernel drops when its process dies, however it
    dies; the file stays. Waits `wait_s` seconds at most, below 0 as long as it takes.

    Raises `TimeoutError` if another process holds it for longer, and `OSError` where there can be
    no lock.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=wait_s)
    except Timeout as error:
        raise TimeoutError(f"{path} is held by another process") from error
    try:
        yield
    finally:
        lock.release()


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock at `path`. Raises `OSError` if that cannot be found out:
    there is no such file, or none that can be locked.
    """
    if not path.is_file():
        raise FileNotFoundError(path)
    try:
        # Whoever else asks has it for a moment.
        with locked(path, wait_s=ASKED_S):
            return False
    except TimeoutError:
        return True

"""Files that appear whole or not at all, and locks that end with their process.

Whatever kcap writes goes through `replaced` or `replaced_directory`: under a temporary name beside
its place, to the disk, and then renamed. So whoever reads a path finds what was there before or all
that is there now, at whatever moment a process, a machine or a disk ends.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replaced(path: Path, *, before: Path | None = None) -> Iterator[Path]:
    """Yields a temporary path beside `path`, which takes its place when the block ends without an
    error. Makes the folder. `before`: where the file goes that is at `path` now; None removes it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        yield temporary
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


def _beside(path: Path) -> Path:
    # Not the id of the process: several machines may write to one directory.
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")


def _to_disk(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
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
    """Whether a process holds the lock at `path`. Raises `OSError` if there is no telling: there is
    no such file, or none that can be locked.
    """
    if not path.is_file():
        raise FileNotFoundError(path)
    try:
        with locked(path, wait_s=0):
            return False
    except TimeoutError:
        return True

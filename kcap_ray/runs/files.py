"""Files that appear whole or not at all, and what is left of those that did not."""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

_TEMPORARY = re.compile(
    r"(?:.+\.(?:json|jsonl|parquet|pt|yaml|txt|safetensors|html)|checkpoint|[a-z]+-int\d.*)\.\d+\.tmp"
)
"""Names that `replacing` gives in a run directory."""

_NUMBER = re.compile(r"\(os error (\d+)\)")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write what shall lie at `path`: it is moved there at the end, or removed if that is
    not reached. Makes the directory.

    Raises `OSError` where the disk is why it could not be written, whatever a library made of that.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except Exception as error:
        cause = _disk_error(error)
        if cause is None or cause is error:
            raise
        raise OSError(cause.errno, cause.strerror, str(path)) from error
    finally:
        _remove(temporary)


def write_atomically(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def remove_temporaries(folder: Path) -> None:
    """Remove what killed commands did not get to move into its place in a run directory, or to
    remove. Only for the one command that is at work there.
    """
    for path in folder.rglob("*.tmp"):
        if _TEMPORARY.fullmatch(path.name):
            _remove(path)


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


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()

"""What a run directory says of itself: which sweep it is of, which cells that has, and who is at
work in it.
"""

import fcntl
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError
from kcap_ray.runs.environment import describe
from kcap_ray.runs.results import RunDirectory, write_atomically


def write_header(
    directory: RunDirectory, *, name: str, question: str, sweep_file: Path, cells: Sequence[Cell]
) -> None:
    """Write what the run is of: name, question and file of its sweep as given, its cells, the files
    that these read, and the environment.

    Raises `UserError` if the directory holds the run of a sweep of another name, or of files with
    other contents.
    """
    files = {path: _digest(path) for path in _files_read(cells)}
    if (directory.path / "cells.json").exists():
        with _reading(directory.path) as header:
            before, files_before = header["sweep"], header.get("files", {})
        if before != name:
            raise UserError(
                f"--out {directory.path}: holds a run of the sweep {before!r}, and this is "
                f"{name!r}; name another directory"
            )
        for path, digest in files.items():
            if files_before.get(path, digest) != digest:
                raise UserError(
                    f"{path}: has changed since the run in {directory.path} began; "
                    "name another directory with --out"
                )
        files = files_before | files
    write_atomically(directory.path / "sweep.yaml", sweep_file.read_text(encoding="utf-8"))
    header = {
        "sweep": name,
        "question": question,
        "cells": [cell.to_dict() for cell in cells],
        "files": files,
    }
    write_atomically(directory.path / "cells.json", json.dumps(header) + "\n")
    write_atomically(directory.path / "environment.json", json.dumps(describe(), indent=1) + "\n")


def _files_read(cells: Sequence[Cell]) -> list[str]:
    """Files of facts, templates and pool sizes that cells name, each once."""
    tables = [table for cell in cells for table in (cell.data, *cell.data.parts)]
    paths = [path for t in tables for path in (t.file, t.templates, t.pool_sizes)]
    return sorted({path for path in paths if path is not None})


def _digest(path: str) -> str:
    """SHA-256 of a file, or of all files of a directory. Raises `UserError` if it is not there."""
    place = Path(path)
    try:
        files = sorted(place.rglob("*.parquet")) if place.is_dir() else [place]
        digests = []
        for file in files:
            with file.open("rb") as opened:
                digests.append(hashlib.file_digest(opened, "sha256").hexdigest())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def forget_failed(cells: Sequence[Cell], directory: RunDirectory) -> None:
    """Let cells that failed run again."""
    for cell in cells:
        cell_directory = directory.cell(cell.cell_id)
        row = cell_directory.result()
        if row is not None and row.status == "failed":
            cell_directory.result_file.unlink()


@contextmanager
def only_driver(path: Path) -> Iterator[None]:
    """Hold the run directory for this process. Raises `UserError` if another kcap has it."""
    # The kernel drops the lock when its process dies, however it dies.
    with (path / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"--out {path}: another kcap is at work in this directory") from None
        yield


def read_cells(path: Path) -> list[Cell]:
    """The cells of the run at `path`. Raises `UserError` if there is no run."""
    with _reading(path) as header:
        return [Cell.from_dict(cell) for cell in header["cells"]]


@contextmanager
def _reading(path: Path) -> Iterator[dict[str, Any]]:
    try:
        yield json.loads((path / "cells.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{path}: not a run directory (no readable cells.json in it)") from error

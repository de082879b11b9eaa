"""What a run directory says of itself: which sweep it is of, which cells that has, and who is at
work in it.
"""

import contextlib
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError
from kcap_ray.runs.checked import with_checksum
from kcap_ray.runs.earlier import (
    MANIFEST,
    TABLE,
    VERSION,
    Manifest,
    StoredCell,
    adopt,
    orphans,
    read_manifest,
)
from kcap_ray.runs.environment import describe
from kcap_ray.runs.files import (
    locked,
    move,
    remove,
    remove_temporaries,
    write_atomically,
)
from kcap_ray.runs.interrupt import stop_at_once
from kcap_ray.runs.lease import Lease, held
from kcap_ray.runs.lease_object import lease_object
from kcap_ray.runs.model_files import with_file_here
from kcap_ray.runs.opening import TOKEN
from kcap_ray.runs.progress import LOCK
from kcap_ray.runs.results import CellDirectory, RunDirectory
from kcap_ray.runs.tracked import LOGGED, STUDIES
from kcap_ray.runs.working_copy import WorkingCopy, copy_of

_logger = logging.getLogger(__name__)

OWN_FILES = ("sweep.yaml", MANIFEST, "environment.json", TABLE, "report.html")
"""What kcap writes at the top of a run directory, and would replace there."""
OWN = (*OWN_FILES, LOGGED, STUDIES, TOKEN, "extraction.json", "cells", "figures", "models")
"""With all else that it makes there and what lies below."""

STATUS_HOLDS_S = 0.4
"""Seconds to wait for the lock of a run: `kcap status` holds it for a moment."""


def write_manifest(
    directory: RunDirectory, *, name: str, question: str, sweep_file: Path, cells: Sequence[Cell]
) -> None:
    """Write what the run is of: name, question and file of its sweep as given, its cells and those
    that it had before, and the environment. Cells of earlier versions get the names of this one.

    Raises `UserError` if the directory holds a run of another sweep, or of one that asks something
    else.
    """
    path = directory.path
    _check_own(path)
    before = _before(path)
    if before is not None:
        _check_same("sweep", before.sweep, name, path)
        if before.question and question:
            _check_same("question", before.question, question, path)
    stored = [] if before is None else before.cells
    stored = [*stored, *orphans(path, before)]
    if before is None and not stored and (path / TABLE).exists():
        _set_table_aside(path)
    earlier = [one for one in stored if one.name != one.cell.cell_id]
    for one in sorted(earlier, key=lambda one: -_n_trials(path, one)):
        adopt(path, one)
    joined = {one.cell.cell_id: one.cell for one in stored}
    joined |= {cell.cell_id: cell for cell in cells}
    write_atomically(path / "sweep.yaml", sweep_file.read_text(encoding="utf-8"))
    manifest = {
        "version": VERSION,
        "sweep": name,
        "question": question,
        "cells": [cell.to_dict() for cell in joined.values()],
    }
    write_atomically(path / MANIFEST, json.dumps(with_checksum(manifest)) + "\n")
    write_atomically(path / "environment.json", json.dumps(describe(), indent=1) + "\n")


def _before(path: Path) -> Manifest | None:
    """The manifest of the run so far; None without one that can be read, which is made anew from
    the cells that are there.
    """
    if not (path / MANIFEST).exists():
        return None
    try:
        return read_manifest(path)
    except UserError:
        _logger.warning(
            "%s cannot be read; it is made anew from the finished cells", path / MANIFEST
        )
        return None


def _set_table_aside(path: Path) -> None:
    """Keep the table of a run whose manifest and results are all lost, which begins anew."""
    kept = path / f"earlier-{TABLE}"
    if not kept.exists():
        move(path / TABLE, kept)
    _logger.warning(
        "%s: its cells cannot be read, so they are made anew; the table that it had is in %s",
        path,
        kept.name,
    )


def _check_own(path: Path) -> None:
    """Raises `UserError` where files that kcap would replace lie in a directory that no kcap has
    made a run in.
    """
    if any((path / name).exists() for name in (LOCK, MANIFEST)) or any(path.glob("cells/*")):
        return
    if (path / TABLE).exists():
        raise UserError(
            f"--out {path}: holds the table of a run and not its cells, so none can join it; name "
            "another directory"
        )
    for name in OWN_FILES:
        if (path / name).exists():
            raise UserError(
                f"--out {path}: holds {name}, which would be replaced, and no run; name another "
                "directory"
            )


def _check_same(what: str, before: str, now: str, path: Path) -> None:
    if before != now:
        raise UserError(
            f"--out {path}: holds a run of the {what} {before!r}, and this is {now!r}; name "
            "another directory"
        )


def _n_trials(path: Path, one: StoredCell) -> int:
    """Trials of the cell that are done, of a result most of all: of two directories of one cell the
    larger is taken.
    """
    row = CellDirectory(path / "cells" / one.name).result()
    return 0 if row is None else 1 + row.n_trials


def clear_failed(cells: Sequence[Cell], directory: RunDirectory, *, mistakes: bool = True) -> None:
    """Let cells that failed run again; without `mistakes` only those that the machine made fail,
    which the recorded error identifies.
    """
    for cell in cells:
        cell_directory = directory.cell(cell.cell_id)
        row = cell_directory.result()
        is_failed = row is not None and row.status == "failed"
        if is_failed and (mistakes or cell_directory.error_file.exists()):
            remove(cell_directory.result_file)


@contextlib.contextmanager
def only_driver(path: Path) -> Iterator[None]:
    """Hold the run directory for this process, and remove what killed ones had not moved into its
    place. Raises `UserError` if another kcap has it, or if it is not one and holds what a run would
    replace.

    A run in a store is held by a lease: where another command takes it over, this one ends with
    `UserError`.
    """
    if (found := copy_of(path)) is not None:
        with _leased(found[0]):
            yield
        return
    _check_own(path)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(path / LOCK, wait_s=STATUS_HOLDS_S))
        except TimeoutError:
            raise UserError(f"--out {path}: another kcap is at work in this directory") from None
        remove_temporaries(path, OWN)
        yield


@contextlib.contextmanager
def _leased(copy: WorkingCopy) -> Iterator[None]:
    def end(who: str) -> None:
        copy.lost = who
        stop_at_once()

    with held(Lease(lease_object(copy.store), copy.url, on_lost=end)):
        # Another command may have been at work until now.
        copy.pull()
        _check_own(copy.path)
        remove_temporaries(copy.path, OWN)
        copy.clear_incomplete()
        try:
            yield
        except (KeyboardInterrupt, OSError):
            if copy.lost:
                raise UserError(
                    f"--out {copy.url}: {copy.lost} has taken this run over, so this command ends"
                ) from None
            raise


def read_cells(path: Path) -> list[Cell]:
    """The cells of the run at `path`. Raises `UserError` if there is no run."""
    manifest = read_manifest(path)
    if manifest is None:
        raise UserError(f"{path}: not a run directory (no readable {MANIFEST} in it)")
    return [with_file_here(stored.cell, RunDirectory(path)) for stored in manifest.cells]


@contextlib.contextmanager
def table_at_end(directory: RunDirectory) -> Iterator[None]:
    """Write the table of the run at the end, of the cells that are done: a command that is stopped,
    or fails, has done some as well.
    """
    try:
        yield
    except BaseException:
        # What ended the command is what its user must hear of, not that there is no room.
        with contextlib.suppress(OSError, UserError):
            directory.collect(read_cells(directory.path))
        raise
    directory.collect(read_cells(directory.path))

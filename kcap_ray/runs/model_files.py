"""The Python files of models that are brought along, kept with the run that trains them."""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from kcap_ray.config.cell import Cell
from kcap_ray.config.contents import path_digest
from kcap_ray.config.errors import UserError
from kcap_ray.runs.files import replaced
from kcap_ray.runs.results import RunDirectory

FOLDER = "models"


def with_kept_files(cells: Iterable[Cell], directory: RunDirectory) -> list[Cell]:
    """The cells with their models' files copied into the run directory, and read from there: a file
    that is changed while a sweep runs changes nothing of it.

    `DIR/models/<twelve digits of its digest>/<name>` holds what the cell's identity is of. Raises
    `UserError` if a file is no longer what it was when the cells were made.
    """
    return [_kept(cell, directory) for cell in cells]


def with_file_here(cell: Cell, directory: RunDirectory) -> Cell:
    """The cell with its model's file as the run directory has it, wherever that is now: it may have
    been moved, or be another process's copy of a run in a store.
    """
    if cell.model.file is None or not (copy := _place(cell, directory)).is_file():
        return cell
    return replace(cell, model=replace(cell.model, file=str(copy)))


def _place(cell: Cell, directory: RunDirectory) -> Path:
    """Where the run directory has the file of the cell's model."""
    source, contents = Path(cell.model.file or ""), cell.model.contents or ""
    return directory.path / FOLDER / contents[:12] / source.name


def _kept(cell: Cell, directory: RunDirectory) -> Cell:
    if cell.model.file is None or cell.model.contents is None:
        return cell
    source, contents = Path(cell.model.file), cell.model.contents
    copy = _place(cell, directory)
    if path_digest(str(copy)) != contents:
        if path_digest(str(source)) != contents:
            raise UserError(
                f"model.file: {source} has changed since the sweep was read; give the same "
                "command again"
            )
        with replaced(copy) as temporary:
            shutil.copyfile(source, temporary)
    return replace(cell, model=replace(cell.model, file=str(copy)))

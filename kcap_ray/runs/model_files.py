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


def _kept(cell: Cell, directory: RunDirectory) -> Cell:
    if cell.model.file is None or cell.model.contents is None:
        return cell
    source, contents = Path(cell.model.file), cell.model.contents
    copy = directory.path / FOLDER / contents[:12] / source.name
    if path_digest(str(copy)) != contents:
        if path_digest(str(source)) != contents:
            raise UserError(
                f"model.file: {source} has changed since the sweep was read; give the same "
                "command again"
            )
        with replaced(copy) as temporary:
            shutil.copyfile(source, temporary)
    return replace(cell, model=replace(cell.model, file=str(copy)))

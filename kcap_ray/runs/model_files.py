"""The Python files of models that are brought along, kept with the run that trains them."""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from kcap_ray.config.cell import Cell
from kcap_ray.config.contents import file_digest
from kcap_ray.config.errors import UserError
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
    if file_digest(str(copy)) != contents:
        if file_digest(str(source)) != contents:
            raise UserError(
                f"model.file: {source} has changed since the sweep was read; give the same "
                "command again"
            )
        copy.parent.mkdir(parents=True, exist_ok=True)
        temporary = copy.with_name(f"{copy.name}.tmp")
        shutil.copyfile(source, temporary)
        temporary.replace(copy)
    return replace(cell, model=replace(cell.model, file=str(copy)))

"""What a cell's search starts from, written down, so that a cell that had to start without its
neighbour is found out and tuned again.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kcap_ray.config.cell import Cell
from kcap_ray.execution.search import WarmStart
from kcap_ray.runs.done import is_done
from kcap_ray.runs.files import write_atomically
from kcap_ray.runs.record import ResultRow
from kcap_ray.runs.results import CellDirectory, RunDirectory
from kcap_ray.training.point import Point

_SET_ASIDE = (
    "result.json",
    "trials.jsonl",
    "history.parquet",
    "checkpoint",
    "resume",
    "quantized",
    "curves",
    "tensorboard",
)


def neighbour_of(cell: Cell, neighbour: Mapping[str, str | None]) -> str | None:
    """Id of the cell whose best point this one tries second; None without one."""
    return neighbour.get(cell.cell_id) if cell.tune.follows_neighbour else None


def to_do(
    cells: Sequence[Cell], neighbour: Mapping[str, str | None], run: RunDirectory
) -> list[Cell]:
    """The cells that are not done, and those that had to start without a neighbour which has a
    result by now, or will have; a neighbour stands before its cells.
    """
    left: dict[str, Cell] = {}
    for cell in cells:
        directory = run.cell(cell.cell_id)
        before = neighbour_of(cell, neighbour)
        if not is_done(cell, directory.result()) or (
            before is not None
            and _lacked(directory, before)
            and (before in left or warm_start_of(run.cell(before).result()) is not None)
        ):
            left[cell.cell_id] = cell
    return list(left.values())


def start_of(cell: Cell, before: str | None, run: RunDirectory) -> WarmStart | None:
    """What the search of the cell starts from: the best point of its neighbour `before`, as it was
    when the search began; None without one.

    A search that began while the neighbour had failed is set aside once that has a result.
    """
    if before is None:
        return None
    directory = run.cell(cell.cell_id)
    recorded = _recorded(directory)
    if recorded is not None and recorded["hint"] is not None:
        return _warm_start(recorded["hint"])
    warm_start = warm_start_of(run.cell(before).result())
    if warm_start is not None and _lacked(directory, before):
        _set_aside(directory)
    if recorded is None or warm_start is not None:
        values = None if warm_start is None else dataclasses.asdict(warm_start)
        text = json.dumps({"neighbour": before, "hint": values}) + "\n"
        write_atomically(_file(directory), text)
    return warm_start


def warm_start_of(row: ResultRow | None) -> WarmStart | None:
    """What a finished neighbour tells a cell; None if it has no result."""
    if row is None or row.lr is None or row.weight_decay is None or row.status != "ok":
        return None
    return WarmStart(point=Point(lr=row.lr, weight_decay=row.weight_decay), n_steps=row.steps)


def _lacked(directory: CellDirectory, before: str) -> bool:
    """Whether the cell's search began without its neighbour's result."""
    recorded = _recorded(directory)
    return recorded is not None and recorded == {"neighbour": before, "hint": None}


def _file(directory: CellDirectory) -> Path:
    return directory.path / "start.json"


def _recorded(directory: CellDirectory) -> dict[str, Any] | None:
    """What the search began from; None if nothing readable says so."""
    try:
        found = json.loads(_file(directory).read_text(encoding="utf-8"))
        if found["hint"] is not None:
            _warm_start(found["hint"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return found


def _warm_start(values: Mapping[str, Any]) -> WarmStart:
    return WarmStart(point=Point(**values["point"]), n_steps=values["n_steps"])


def _set_aside(directory: CellDirectory) -> None:
    """Move what there is of the cell out of the way; none of it is lost."""
    number = 0
    while (aside := directory.path / f"without_neighbour{number or ''}").exists():
        number += 1
    aside.mkdir()
    for name in _SET_ASIDE:
        if (directory.path / name).exists():
            (directory.path / name).rename(aside / name)

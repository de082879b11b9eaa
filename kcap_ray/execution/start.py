"""What a cell's search starts from, written down, so that a cell that had to start without its
neighbour is found out and tuned again.
"""

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kcap_ray.config.cell import Cell
from kcap_ray.execution.search import WarmStart
from kcap_ray.execution.transfer import transferred
from kcap_ray.planning.neighbour import Before, ids_of
from kcap_ray.runs.checked import checked, with_checksum
from kcap_ray.runs.done import is_done
from kcap_ray.runs.files import move, write_atomically
from kcap_ray.runs.record import ResultRow, best_trial
from kcap_ray.runs.results import CellDirectory, RunDirectory
from kcap_ray.training.point import Point

_logger = logging.getLogger(__name__)

_SET_ASIDE = (
    "result.json",
    "trials.jsonl",
    "history.parquet",
    "checkpoint",
    "resume",
    "quantized",
    "parts",
    "curves",
    "tensorboard",
)

RULE = "rule"
"""What `start.json` of a costly cell names in place of a neighbour."""
_WARM_START = "hint"
"""Key of the warm start in `start.json`. The stored name stays `hint`, by which existing runs are
read.
"""


def neighbour_of(cell: Cell, neighbour: Mapping[str, Before | None]) -> Before | None:
    """Id of the cell whose best point this one tries second, or of a costly cell the ids of those
    to which its rule is fitted; None without one.
    """
    return neighbour.get(cell.cell_id) if cell.tune.follows_neighbour else None


def to_do(
    cells: Sequence[Cell], neighbour: Mapping[str, Before | None], run: RunDirectory
) -> list[Cell]:
    """The cells that are not done, and those that had to start without a neighbour which has a
    result by now, or will have; a neighbour stands before its cells, and costly cells stand last.
    """
    left: dict[str, Cell] = {}
    for cell in sorted(cells, key=lambda cell: cell.tune.is_costly):
        directory = run.cell(cell.cell_id)
        before = neighbour_of(cell, neighbour)
        if not is_done(cell, directory.result()) or (
            before is not None
            and _lacked(directory, before)
            and (_is_among(before, left) or _warm_start_for(cell, before, run) is not None)
        ):
            left[cell.cell_id] = cell
    return list(left.values())


def starts_over(
    cell: Cell, before: Before | None, run: RunDirectory, left: Mapping[str, Cell]
) -> bool:
    """Whether the cell's search began without its neighbour, and is set aside when that has a
    result; `left`: the cells that are to be run.
    """
    if before is None or not _lacked(run.cell(cell.cell_id), before):
        return False
    if isinstance(before, str):
        return before in left or warm_start_of(run.cell(before).result()) is not None
    return _is_among(before, left) or transferred(cell, before, run) is not None


def _is_among(before: Before, left: Mapping[str, Cell]) -> bool:
    return any(name in left for name in ids_of(before))


def start_of(cell: Cell, before: Before | None, run: RunDirectory) -> WarmStart | None:
    """What the search of the cell starts from: the best point of as many trials of its neighbour
    `before` as the cell asks for; None without one.

    A search that began from another point of that neighbour is set aside: more trials may have
    changed what is best there, and it may have had no result. One that began from another cell, as
    an earlier version's did, keeps what it started from. So does a cell that was costly when it
    began, whose point is from a rule: it would hardly move, and the trial is what is to be saved.
    """
    if before is None:
        return None
    directory = run.cell(cell.cell_id)
    recorded = _recorded(directory)
    warm_start = _warm_start_for(cell, before, run)
    values = None if warm_start is None else dataclasses.asdict(warm_start)
    start = {"neighbour": _name(before), _WARM_START: values}
    if recorded is not None and recorded[_WARM_START] is not None:
        is_another = recorded["neighbour"] != before
        if warm_start is None or recorded == start or is_another:
            return _warm_start(recorded[_WARM_START])
        if directory.trials_file.exists():
            _logger.info("%s: tuned anew, for its neighbour's best point has changed", cell.cell_id)
        _set_aside(directory)
    elif warm_start is not None and _lacked(directory, before):
        _set_aside(directory)
    if recorded is None or warm_start is not None:
        write_atomically(_file(directory), json.dumps(with_checksum(start)) + "\n")
    return warm_start


def _name(before: Before) -> str:
    return before if isinstance(before, str) else RULE


def _warm_start_for(cell: Cell, before: Before, run: RunDirectory) -> WarmStart | None:
    """What a neighbour tells the cell, of as many trials as the cell asks for, or the rule; None if
    there is no result.
    """
    if not isinstance(before, str):
        return transferred(cell, before, run)
    neighbour = run.cell(before)
    row = neighbour.result()
    whole, trials = warm_start_of(row), neighbour.trials()
    if row is None or whole is None or len(trials) < row.n_trials:
        return whole  # the trials are lost, and the row is all there is
    best = best_trial(trials[: cell.tune.trials])
    if best is None:
        return whole if cell.tune.trials >= row.n_trials else None
    point = Point(lr=best.lr, weight_decay=best.weight_decay)
    return dataclasses.replace(whole, point=point)


def warm_start_of(row: ResultRow | None) -> WarmStart | None:
    """What a finished neighbour tells a cell; None if it has no result."""
    if row is None or row.lr is None or row.weight_decay is None or row.status != "ok":
        return None
    return WarmStart(point=Point(lr=row.lr, weight_decay=row.weight_decay), n_steps=row.steps)


def _lacked(directory: CellDirectory, before: Before) -> bool:
    """Whether the cell's search began without its neighbour's result."""
    recorded = _recorded(directory)
    return recorded is not None and recorded == {"neighbour": _name(before), _WARM_START: None}


def _file(directory: CellDirectory) -> Path:
    return directory.path / "start.json"


def _recorded(directory: CellDirectory) -> dict[str, Any] | None:
    """What the search began from; None if nothing says so, or not as it was written."""
    try:
        text = _file(directory).read_text(encoding="utf-8")
        found = checked(text, needed=("neighbour", _WARM_START))
        if found is not None and found[_WARM_START] is not None:
            _warm_start(found[_WARM_START])
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return found


def _warm_start(values: Mapping[str, Any]) -> WarmStart:
    return WarmStart(point=Point(**values["point"]), n_steps=values["n_steps"])


def began_by_rule(directory: CellDirectory) -> bool:
    """Whether the search began at a rule's point, and so goes on as a costly cell's does, though
    the cell may no longer be one.
    """
    recorded = _recorded(directory)
    return (
        recorded is not None and recorded["neighbour"] == RULE and recorded[_WARM_START] is not None
    )


def _set_aside(directory: CellDirectory) -> None:
    """Move what there is of the cell out of the way; none of it is lost."""
    if not any((directory.path / name).exists() for name in _SET_ASIDE):
        return
    number = 0
    while (aside := directory.path / f"without_neighbour{number or ''}").exists():
        number += 1
    aside.mkdir()
    for name in _SET_ASIDE:
        if (directory.path / name).exists():
            move(directory.path / name, aside / name)

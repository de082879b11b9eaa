"""What a cell's search starts from, written down, so that a cell that had to start without its
neighbour is found out and tuned again.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kcap_ray.config.cell import Cell
from kcap_ray.execution.search import Hint
from kcap_ray.runs.checked import checked, with_checksum
from kcap_ray.runs.done import is_done
from kcap_ray.runs.record import ResultRow, TrialRecord, best_trial
from kcap_ray.runs.results import CellDirectory, RunDirectory, write_atomically
from kcap_ray.training.point import Point

_ASIDE = "without_neighbour"
_SET_ASIDE = ("result.json", "trials.jsonl", "history.parquet", "checkpoint", "resume", "quantized")


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
            and (before in left or _hint_for(cell, run.cell(before)) is not None)
        ):
            left[cell.cell_id] = cell
    return list(left.values())


def start_of(cell: Cell, before: str | None, run: RunDirectory) -> Hint | None:
    """What the search of the cell starts from: the best point of as many trials of its neighbour
    `before` as the cell asks for; None without one.

    A search that began from something else is set aside: more trials may have changed what is best
    there, and the neighbour may have had no result.
    """
    if before is None:
        return None
    directory = run.cell(cell.cell_id)
    recorded = _recorded(directory)
    hint = _hint_for(cell, run.cell(before))
    values = None if hint is None else dataclasses.asdict(hint)
    start = {"neighbour": before, "hint": values}
    if recorded is not None and recorded["hint"] is not None:
        if hint is None or recorded == start:
            return _hint(recorded["hint"])
        if directory.trials_file.exists():
            text = f"kcap: {cell.cell_id}: tuned anew, for its neighbour's best point has changed"
            print(text, file=sys.stderr, flush=True)
        _set_aside(directory)
    elif hint is not None and _lacked(directory, before):
        _set_aside(directory)
    if recorded is None or hint is not None:
        write_atomically(_file(directory), json.dumps(with_checksum(start)) + "\n")
    return hint


def _hint_for(cell: Cell, neighbour: CellDirectory) -> Hint | None:
    """What a neighbour with a result tells the cell, had it as many trials as the cell; None if it
    has no result.
    """
    row = neighbour.result()
    if row is None or row.status != "ok" or row.lr is None or row.weight_decay is None:
        return None
    best: TrialRecord | ResultRow | None = row
    trials = neighbour.trials()
    if len(trials) >= row.n_trials:  # else they are lost, and the row is all there is
        best = best_trial(trials[: cell.tune.trials])
    if best is None or best.lr is None or best.weight_decay is None:
        return None
    return Hint(point=Point(lr=best.lr, weight_decay=best.weight_decay), n_steps=row.steps)


def _lacked(directory: CellDirectory, before: str) -> bool:
    """Whether the cell's search began without its neighbour's result."""
    recorded = _recorded(directory)
    return recorded is not None and recorded == {"neighbour": before, "hint": None}


def _file(directory: CellDirectory) -> Path:
    return directory.path / "start.json"


def _recorded(directory: CellDirectory) -> dict[str, Any] | None:
    """What the search began from; None if nothing says so, or not as it was written."""
    try:
        text = _file(directory).read_text(encoding="utf-8")
        found = checked(text, needed=("neighbour", "hint"))
        if found is not None and found["hint"] is not None:
            _hint(found["hint"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return found


def _hint(values: Mapping[str, Any]) -> Hint:
    return Hint(point=Point(**values["point"]), n_steps=values["n_steps"])


def _set_aside(directory: CellDirectory) -> None:
    """Move what there is of the cell out of the way; none of it is lost."""
    if not any((directory.path / name).exists() for name in _SET_ASIDE):
        return
    number = 0
    while (aside := directory.path / f"{_ASIDE}{number or ''}").exists():
        number += 1
    aside.mkdir()
    for name in _SET_ASIDE:
        if (directory.path / name).exists():
            (directory.path / name).rename(aside / name)

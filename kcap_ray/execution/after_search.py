"""What is trained once a cell's search is over: trials beyond an edge of its ranges, at which the
best point lies, and the best point again with fresh seeds, whose mean is the result.

Each part has a directory of its own inside of the cell's, named after the point that it follows.
So a search that goes on finds nothing changed: its trials stay a sequence, and where another point
becomes the best, that gets parts of its own.
"""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kcap_ray.config.cell import Cell, Range, TuneConfig
from kcap_ray.config.tuning import Side, edge_text, sides_of
from kcap_ray.runs.files import fetch, replaced_directory, write_atomically
from kcap_ray.runs.record import TrialRecord, best_trial
from kcap_ray.runs.results import CellDirectory
from kcap_ray.training.point import Point

WIDEN_SHARE = 0.25
"""Of a range, on the scale that it is searched on: how far beyond the best point the next is."""

_SEEDS_PER_CELL = 1_000_000
"""Fresh seeds of cells whose own are different never meet, up to so many."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """How trials after the search are trained, and where they are kept."""

    name: str
    """Of their directory."""
    seed: int
    """Seed of the weights and of the order and templates of the data."""
    keeps_weights: bool

    def cell_of(self, cell: Cell) -> Cell:
        """The cell as these trials train it."""
        kept = cell.keep_checkpoint and self.keeps_weights
        return replace(cell, seed=self.seed, keep_checkpoint=kept, tune=TuneConfig())


@dataclass(frozen=True, kw_only=True)
class Step:
    """Trials of a part that are to be trained now."""

    part: Part
    first_trial: int
    points: list[Point]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The best point of a search, with the trials beyond its edges."""

    best: TrialRecord
    beyond: Part
    """What follows the search's own best trial beyond the edges."""
    edge: str
    """Edges of the ranges, widened or not, that it lies at, as the results have it."""
    n_widened: int
    is_beyond: bool
    """Whether a trial beyond the ranges is the best."""
    next_point: Point | None
    """Of the next trial beyond; None if there is to be none."""


def fresh_seeds(cell: Cell) -> list[int]:
    """The seeds that the cell's best point is trained with again: a sequence, which follows from
    the cell's own seed alone, so that they pair cells as those do.

    Worked example, two of them: seed 0 has 1000000 and 1000001, seed 1 has 2000000 and 2000001.
    """
    first = _SEEDS_PER_CELL * (cell.seed + 1)
    return list(range(first, first + cell.tune.confirm_seeds))


def next_steps(cell: Cell, directory: CellDirectory) -> list[Step]:
    """What is to be trained next of a cell whose search is over, all of it side by side; nothing if
    the cell has all that it asks for, or if no trial has a result.
    """
    selection = select(cell, directory)
    if selection is None:
        return []
    if selection.next_point is not None:
        points = [selection.next_point]
        return [Step(part=selection.beyond, first_trial=selection.n_widened, points=points)]
    point = _point(selection.best)
    left = [part for part in confirm_parts(cell, selection) if not _confirmed(directory, part)]
    return [Step(part=part, first_trial=0, points=[point]) for part in left]


def confirmations(
    cell: Cell, directory: CellDirectory, selection: Selection
) -> dict[int, TrialRecord]:
    """The records of the fresh seeds that are done, by seed."""
    found = {part.seed: _confirmed(directory, part) for part in confirm_parts(cell, selection)}
    return {seed: record for seed, record in found.items() if record is not None}


def confirm_parts(cell: Cell, selection: Selection) -> list[Part]:
    """One for each fresh seed."""
    name = _name(selection.best)
    return [
        Part(name=f"{name}-seed{seed}", seed=seed, keeps_weights=False)
        for seed in fresh_seeds(cell)
    ]


def _confirmed(directory: CellDirectory, part: Part) -> TrialRecord | None:
    return next(iter(directory.part(part.name).trials()), None)


def _point(record: TrialRecord) -> Point:
    return Point(lr=record.lr, weight_decay=record.weight_decay)


def _name(record: TrialRecord) -> str:
    return f"lr{record.lr:.9g}-wd{record.weight_decay:.9g}"


def select(cell: Cell, directory: CellDirectory) -> Selection | None:
    """The best point so far; None if no trial has a result.

    While the best lies in the outer tenth of a range, one more trial is tried a quarter of the
    range further out, at most `tune.widen` of them, and the range reaches to there. It ends at the
    first that is no better: the best then lies a fifth of the widened range inside.
    """
    found = best_trial(directory.trials())
    if found is None:
        return None
    best, ranges = found, dict(cell.tune.ranges)
    part = Part(name=f"{_name(found)}-beyond", seed=cell.seed, keeps_weights=True)
    beyond = directory.part(part.name).trials()
    # As trials of the search do, those count that are there, though fewer be asked for.
    most, n_widened, next_point = max(cell.tune.widen, len(beyond)), 0, None
    while n_widened < most and (sides := _sides(ranges, best)):
        point = _further(cell, ranges, best, sides)
        if n_widened == len(beyond):
            next_point = point
            break
        ranges = {name: _reaching(own, getattr(point, name)) for name, own in ranges.items()}
        best = best_trial([best, beyond[n_widened]]) or best
        n_widened += 1
    return Selection(
        best=best,
        beyond=part,
        edge=edge_text(_sides(ranges, best)),
        n_widened=n_widened,
        is_beyond=best is not found,
        next_point=next_point,
    )


def _sides(ranges: Mapping[str, Range], best: TrialRecord) -> dict[str, Side]:
    return sides_of(ranges, {name: getattr(best, name) for name in ranges})


def _further(
    cell: Cell, ranges: Mapping[str, Range], best: TrialRecord, sides: Mapping[str, Side]
) -> Point:
    """The best point, a quarter of the cell's own range further out at each of these edges; on a
    linear scale no further down than to half of the range's end, since zero is no learning rate.
    """
    values = {"lr": best.lr, "weight_decay": best.weight_decay}
    for name, side in sides.items():
        own = cell.tune.ranges[name]
        share = own.share_of(values[name]) + (WIDEN_SHARE if side == "high" else -WIDEN_SHARE)
        values[name] = own.at(share) if own.log else max(own.at(share), ranges[name].low / 2)
    return Point(**values)


def _reaching(found: Range, value: float) -> Range:
    return replace(found, low=min(found.low, value), high=max(found.high, value))


def keep_selected(directory: CellDirectory, selection: Selection) -> None:
    """Give the cell the weights and the curve of its best trial, if that lies beyond the ranges."""
    if not selection.is_beyond:
        return
    source = directory.part(selection.beyond.name)
    if source.history_file.is_file():
        write_atomically(directory.history_file, source.history_file.read_bytes())
    if source.checkpoint.is_dir():
        fetch(source.checkpoint)
        with replaced_directory(directory.checkpoint) as place:
            shutil.copytree(source.checkpoint, place, dirs_exist_ok=True)


def spread(ratios: Sequence[float]) -> float | None:
    """Standard deviation; None for fewer than two."""
    if len(ratios) < 2:
        return None
    mean = math.fsum(ratios) / len(ratios)
    return math.sqrt(math.fsum((ratio - mean) ** 2 for ratio in ratios) / (len(ratios) - 1))

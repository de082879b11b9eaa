"""Where a costly cell begins: at the point of the rule that its sweep's finished cells give."""

import json
import math
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from kcap_ray.config.cell import Cell
from kcap_ray.execution.search import WarmStart
from kcap_ray.execution.transfer_rule import Guide, Setup, TransferRule, fit_rule
from kcap_ray.planning.run_length import length_of, spec_of
from kcap_ray.runs.record import ResultRow, TrialRecord
from kcap_ray.runs.results import RunDirectory
from kcap_ray.training.point import Point


def transferred(cell: Cell, guides: Iterable[str], run: RunDirectory) -> WarmStart | None:
    """The point of the rule that the cells of these ids give; None if none of them has a result, or
    if one is not over yet: the rule is of the sweep's cells, not of those that happen to be done.
    """
    names = tuple(guides)
    directories = [run.cell(name) for name in names]
    files = [file for one in directories for file in (one.result_file, one.trials_file)]
    rule = _fitted(run, names, cell.tune.guide_trials, tuple(map(_stamp, files)))
    if rule is None:
        return None
    own = Point(lr=cell.train.lr, weight_decay=cell.train.weight_decay)
    setup = setup_of(cell)
    return WarmStart(point=rule.point(setup, cell.tune.ranges, own), n_steps=setup.steps)


@lru_cache(maxsize=8)
def _fitted(
    run: RunDirectory,
    guides: tuple[str, ...],
    n_trials: int,
    stamps: tuple[tuple[int, ...] | None, ...],
) -> TransferRule | None:
    """The rule of the first `n_trials` of the cells of these ids; costly cells that have the same
    ones share it.

    `stamps`: of what the cells have written; another one makes the rule be fitted again.
    """
    rows = [run.cell(name).result() for name in guides]
    if None in rows:
        return None
    finished = [row for row in rows if row is not None and row.status != "failed"]
    return fit_rule([guide_of(row, run.cell(row.cell_id).trials()[:n_trials]) for row in finished])


def _stamp(file: Path) -> tuple[int, ...] | None:
    """What changes when the file is written anew; None without one."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def setup_of(cell: Cell) -> Setup:
    """What the best point of the cell depends on."""
    return Setup(
        n_params=spec_of(cell).n_params_active,
        steps=length_of(cell).steps,
        batch_tokens=cell.train.batch_windows * cell.train.window_tokens,
        n_people=cell.data.n_people,
    )


def guide_of(row: ResultRow, trials: Iterable[TrialRecord]) -> Guide:
    """A finished cell as the rule reads it, with its own point where the search tries it: inside of
    the ranges, as a weight decay of 0 is not where another one is searched.
    """
    cell = Cell.from_dict(json.loads(row.config))
    tune, own = cell.tune, Point(lr=cell.train.lr, weight_decay=cell.train.weight_decay)
    return Guide(
        setup=setup_of(cell),
        own=Point(
            lr=tune.lr.clip(own.lr) if tune.lr else own.lr,
            weight_decay=(
                tune.weight_decay.clip(own.weight_decay) if tune.weight_decay else own.weight_decay
            ),
        ),
        trials=tuple(
            (Point(lr=one.lr, weight_decay=one.weight_decay), _finite(one.capacity_ratio))
            for one in trials
        ),
    )


def _finite(ratio: float | None) -> float | None:
    return ratio if ratio is not None and math.isfinite(ratio) else None

"""Which finished cells a cell's search learns from: a rule over the sweep's cells, never over what
happens to be done.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from kcap_ray.config.cell import Cell, ModelConfig, TrainConfig
from kcap_ray.config.data import DataConfig
from kcap_ray.config.errors import UserError
from kcap_ray.planning.run_length import length_of, spec_of, trial_batch_size

Index = tuple[int, ...]
"""Position in the grid, one number per axis."""

Before = str | tuple[str, ...]
"""What a cell learns from: the id of one cell, or of a costly cell those of all that are not."""

CHEAPER = 6
"""How much less a trial must take that a large cell waits for: six trials, as the paper's sweeps
have, then take no longer than one of its own.
"""


def neighbours(kept: Mapping[Index, Cell]) -> dict[str, Before | None]:
    """cell_id -> id of the cell that it learns from, or None; of a costly cell the ids of all cells
    that are not costly and whose search has the same ranges and optimizer.
    """
    found: dict[str, Before | None] = dict(_neighbours(_without_costly(kept)))
    guides: dict[Any, list[str]] = {}
    for cell in kept.values():
        if not cell.tune.is_costly:
            guides.setdefault(_searched(cell), []).append(cell.cell_id)
    shared = {key: tuple(ids) for key, ids in guides.items()}
    for cell in kept.values():
        if cell.tune.is_costly:
            found[cell.cell_id] = shared.get(_searched(cell))
    return {cell.cell_id: found[cell.cell_id] for cell in kept.values()}


def ids_of(before: Before | None) -> tuple[str, ...]:
    """The ids as a tuple; empty for None."""
    if before is None:
        return ()
    return (before,) if isinstance(before, str) else before


def _without_costly(kept: Mapping[Index, Cell]) -> dict[Index, Cell]:
    return {index: cell for index, cell in kept.items() if not cell.tune.is_costly}


def _searched(cell: Cell) -> Any:
    """What two cells have in common if the trials of one say something of the other's."""
    return cell.tune.lr, cell.tune.weight_decay, cell.train.optimizer


def _neighbours(kept: Mapping[Index, Cell]) -> dict[str, str | None]:
    lines: dict[Index, list[tuple[int, Cell]]] = {}
    for index, cell in kept.items():
        lines.setdefault(index[1:], []).append((index[0] if index else 0, cell))
    found: dict[str, str | None] = {}
    for line in lines.values():
        line.sort(key=lambda one: one[0])
        cells = [cell for _, cell in line]
        for position, cell in enumerate(cells):
            before = _designated(cell, cells[:position])
            found[cell.cell_id] = None if before is None else before.cell_id
    return found


def _designated(cell: Cell, before: list[Cell]) -> Cell | None:
    """Of the cells before it on the first axis, all other coordinates equal, the one to learn from.

    A cell whose trials are fused, a small one, learns from the nearest. A larger one learns from
    the nearest whose trial takes at most a sixth of the work of its own, and where there is none
    from the cheapest: then it waits for about one of its own trials at most, and not for a chain of
    studies. Worked example, works 1, 2, 5, 10 and 20: 20 learns from 2, 10 from 1, 5 from 1.
    """
    if not before:
        return None
    nearest_first = before[::-1]
    try:
        if trial_batch_size(cell, spec_of(cell)) > 1:
            return nearest_first[0]
        own = _work(cell)
        cheap = (one for one in nearest_first if CHEAPER * _work(one) <= own)
        return next(cheap, None) or min(nearest_first, key=_work)
    except UserError:
        # Said by whoever reads the data: a sweep may be written before them.
        return nearest_first[0]


def _work(cell: Cell) -> float:
    """Work of a trial, up to a constant: the same on every machine."""
    # Every cell is compared with those before it.
    return _known_work(cell.data, cell.model, cell.train)


@cache
def _known_work(data: DataConfig, model: ModelConfig, train: TrainConfig) -> float:
    cell = Cell(data=data, model=model, train=train)
    return float(length_of(cell).tokens) * spec_of(cell).n_params_active

"""What runs next in a sweep: cells by their cost, a cell's trials in the order of its study.

Knows nothing of Ray. Which points a cell tries depends on the cell and on its neighbour's result
alone, never on what else happens to be running, so any number of machines gives the same table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError
from kcap_ray.execution.cell import CellProgress, fail_cell, finish_cell
from kcap_ray.execution.start import neighbour_of, start_of, to_do
from kcap_ray.planning.run_length import length_of, spec_of
from kcap_ray.runs.done import is_done
from kcap_ray.runs.results import RunDirectory
from kcap_ray.training.point import Point


@dataclass(frozen=True, kw_only=True)
class Program:
    """A batch of one cell's trials, for one worker, which trains as many at a time as have memory
    for.
    """

    cell: Cell
    first_trial: int
    points: list[Point]


class SweepQueue:
    """The cells of a sweep that are still to be done.

    A cell starts when its neighbour is done, whose best point it tries second; and it runs one
    program at a time, since each learns from the ones before.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        neighbour: Mapping[str, str | None],
        directory: RunDirectory,
        *,
        sweep: str,
    ) -> None:
        self._directory, self._sweep = directory, sweep
        self._neighbour = neighbour
        self._waiting = {
            cell.cell_id: cell
            for cell in sorted(to_do(cells, neighbour, directory), key=_cost, reverse=True)
        }
        self._idle: dict[str, CellProgress] = {}
        self._running: dict[str, CellProgress] = {}

    @property
    def is_empty(self) -> bool:
        """Whether every cell is done."""
        return not (self._waiting or self._idle or self._running)

    def next_program(self) -> Program | None:
        """The next program to run; None if there is none before another one has finished."""
        while True:
            if self._idle:
                cell_id, progress = next(iter(self._idle.items()))
                del self._idle[cell_id]
                self._running[cell_id] = progress
                first_trial, points = progress.next_round()
                return Program(cell=progress.cell, first_trial=first_trial, points=points)
            cell = next((c for c in self._waiting.values() if self._is_ready(c)), None)
            if cell is None:
                return None
            del self._waiting[cell.cell_id]
            self._open(cell)

    def finished(self, program: Program, failure: str | None) -> None:
        """A program has ended: its records are in the ledger, or it failed for the reason given."""
        cell_id = program.cell.cell_id
        progress = self._running.pop(cell_id)
        directory = self._directory.cell(cell_id)
        if failure is not None:
            fail_cell(program.cell, directory, sweep=self._sweep, reason=failure)
            return
        records = directory.trials()[program.first_trial :]
        progress.tell(program.first_trial, records[: len(program.points)])
        self._continue(progress)

    def _is_ready(self, cell: Cell) -> bool:
        before = self._before(cell)
        return before is None or not any(
            before in cells for cells in (self._waiting, self._idle, self._running)
        )

    def _before(self, cell: Cell) -> str | None:
        return neighbour_of(cell, self._neighbour)

    def _open(self, cell: Cell) -> None:
        directory = self._directory.cell(cell.cell_id)
        warm_start = start_of(cell, self._before(cell), self._directory)
        if is_done(cell, directory.result()):
            return
        try:
            progress = CellProgress(cell, directory, warm_start)
        except UserError as error:
            fail_cell(cell, directory, sweep=self._sweep, reason=str(error))
            return
        self._continue(progress)

    def _continue(self, progress: CellProgress) -> None:
        if progress.is_finished:
            finish_cell(progress.cell, progress.directory, sweep=self._sweep)
        else:
            self._idle[progress.cell.cell_id] = progress


def _cost(cell: Cell) -> float:
    """Work of a cell, up to a constant: the longest start first, and none is left alone."""
    return float(length_of(cell).tokens) * spec_of(cell).n_params * cell.tune.trials

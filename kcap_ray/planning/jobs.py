"""The cells of a sweep as the schedule sees them: how long their programs take, and what they wait
for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from kcap_ray.config.cell import Cell
from kcap_ray.planning.cost import Device
from kcap_ray.planning.neighbour import Before, ids_of
from kcap_ray.planning.run_length import (
    programs_of,
    spec_of,
    trial_batch_size,
    trials_at_once,
)
from kcap_ray.planning.training_time import exchange_s, program_s, start_of_workers_s

N_FIRST_POINTS = 4
"""Trials of a search that wait for no result but the neighbour's: the cell's own point, the
neighbour's best, and two spread over the ranges. Later ones hang on the results before: with fewer
TPE would only guess.
"""

FROM_NEIGHBOUR = 1
"""Number of the trial at the neighbour's best point."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the schedule knows of a cell."""

    cell_id: str
    n_trials: int
    batch_trials: int = 1
    """Trials in a row whose points are chosen without each other's results."""
    program_trials: int = 1
    """Most trials of a program."""
    neighbour: Before | None = None
    """The cell whose best point is tried second, or those that a rule is fitted to; None: nobody's.
    """
    seconds: Callable[[int, int], float]
    """Time of a program, from its number of trials and of devices."""
    share: float = 1.0
    """Devices that a program on one device takes: less than 1 where several share it."""
    widths: tuple[int, ...] = (1,)
    """Devices that a program may be spread over, ascending."""
    column: int = 0
    """Place of the cell's value on the first axis."""
    n_widen: int = 0
    """Trials at most beyond the edges of the ranges, each of which hangs on all before."""
    n_confirm: int = 0
    """Fresh seeds of the best point, which hang on all trials and not on each other."""
    waits_whole: bool = False
    """Whether no program starts before the neighbour has ended."""

    done: frozenset[int] = frozenset()
    """Trials that an earlier command has run."""

    @property
    def before(self) -> tuple[str, ...]:
        """The cells that it learns from."""
        return ids_of(self.neighbour)

    @property
    def n_runs(self) -> int:
        """Trials of the search, beyond the edges, and fresh seeds, numbered in this order."""
        return self.n_trials + self.n_widen + self.n_confirm

    def programs(self) -> list[tuple[int, int]]:
        """First trial and number of trials of each program."""
        found = programs_of(self.n_trials, self.batch_trials, self.program_trials)
        return found + [(first, 1) for first in range(self.n_trials, self.n_runs)]

    def programs_left(self) -> dict[int, int]:
        """Those of which a trial is still to be done: first trial -> number of trials."""
        return {
            first: n_trials
            for first, n_trials in self.programs()
            if not self.done.issuperset(range(first, first + n_trials))
        }

    def waits_for_neighbour(self, first: int, n_trials: int) -> bool:
        """Whether a program's points hang on the neighbour's result: those of the trial at its best
        point, and of all that a search proposes.
        """
        if self.neighbour is None or self.waits_whole:
            return self.waits_whole
        return first <= FROM_NEIGHBOUR < first + n_trials or first + n_trials > N_FIRST_POINTS

    def trials_before(self, first: int, n_trials: int) -> int:
        """Trials that must be done before the program: all of earlier batches where the search
        proposes a point, and after the search all that a run hangs on; else none.
        """
        if first >= self.n_trials:
            return min(first, self.n_trials + self.n_widen)
        if first + n_trials <= N_FIRST_POINTS:
            return 0
        return first - first % self.batch_trials

    def on_at_most(self, n_devices: float) -> "Job":
        """The job on a cluster of so many devices: workers that it has to have beyond those do
        without, as Ray Train lets them, which takes the time of those that there are.
        """
        if self.widths[0] <= n_devices or n_devices < 1:
            return self
        most, seconds = int(n_devices), self.seconds
        return replace(self, seconds=lambda n, width: seconds(n, min(width, most)))

    @property
    def first_hinted(self) -> int:
        """First trial of the program that tries the neighbour's best point; 0 without one."""
        waiting = (first for first, n in self.programs() if self.waits_for_neighbour(first, n))
        return next(waiting, 0)


def jobs_of(
    cells: Sequence[Cell],
    neighbour: Mapping[str, Before | None],
    device: Device,
    *,
    column: Mapping[str, int] | None = None,
    max_width: int = 1,
    share: Callable[[Cell], float] = lambda _: 1.0,
) -> list[Job]:
    """One job per cell, with times planned for `device`.

    `max_width`: devices that `train.workers: auto` may spread a program over. `share`: part of a
    device that a program on one device takes.
    """
    return [
        _job(cell, neighbour.get(cell.cell_id), device, max_width, share(cell), (column or {}))
        for cell in cells
    ]


def _job(
    cell: Cell,
    before: Before | None,
    device: Device,
    max_width: int,
    share: float,
    column: Mapping[str, int],
) -> Job:
    spec = spec_of(cell)
    return Job(
        cell_id=cell.cell_id,
        n_trials=cell.tune.trials,
        batch_trials=trial_batch_size(cell, spec),
        program_trials=trials_at_once(cell, spec),
        neighbour=before if cell.tune.follows_neighbour else None,
        seconds=planned_seconds(cell, device),
        share=share,
        widths=widths_of(cell, max_width),
        column=column.get(cell.cell_id, 0),
        n_widen=cell.tune.widen if cell.tune.ranges else 0,
        n_confirm=cell.tune.confirm_seeds,
        waits_whole=cell.tune.is_costly and before is not None and cell.tune.follows_neighbour,
    )


def widths_of(cell: Cell, max_width: int) -> tuple[int, ...]:
    """Devices that the cell's programs may be spread over: what it asks for, or with `auto` powers
    of two, so that nodes are filled, up to `max_width` and to the windows of a batch.
    """
    if cell.train.workers != "auto":
        return (cell.train.workers,)
    most = min(max_width, cell.train.batch_windows)
    return tuple(2**power for power in range(max(1, most).bit_length()))


def planned_seconds(cell: Cell, device: Device) -> Callable[[int, int], float]:
    """Planned time of a program of the cell, by its number of trials and of devices."""
    spec = spec_of(cell)

    @cache
    def seconds(n_trials: int, n_devices: int) -> float:
        own = program_s(cell, spec, device, n_trials, workers=n_devices)
        if n_devices == 1:
            return own
        exchange = exchange_s(cell, spec, n_trials, n_devices)
        return own + exchange + start_of_workers_s(n_devices)

    return seconds

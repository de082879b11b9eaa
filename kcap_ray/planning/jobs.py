"""The cells of a sweep as the schedule sees them: how long their programs take, and what they wait
for.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

from kcap_ray.config.cell import Cell
from kcap_ray.planning.cost import Device
from kcap_ray.planning.run_length import spec_of, trial_batch_size, trials_at_once
from kcap_ray.planning.schedule import Job
from kcap_ray.planning.training_time import exchange_s, program_s, start_of_workers_s


def jobs_of(
    cells: Sequence[Cell],
    neighbour: Mapping[str, str | None],
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
    before: str | None,
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

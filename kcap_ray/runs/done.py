"""When a cell of a run is done."""

from kcap_ray.config.cell import Cell
from kcap_ray.runs.record import ResultRow


def is_done(cell: Cell, row: ResultRow | None) -> bool:
    """Whether there is nothing left to do of a cell with this row: it failed, or has a result of as
    many trials as it asks for.
    """
    return row is not None and (row.status == "failed" or row.n_trials >= cell.tune.trials)

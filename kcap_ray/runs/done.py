"""When a cell of a run is done."""

from kcap_ray.config.cell import Cell, TuneConfig
from kcap_ray.runs.record import ResultRow


def is_done(cell: Cell, row: ResultRow | None) -> bool:
    """Whether there is nothing left to do of a cell with this row: it failed, or has a result of as
    many trials and fresh seeds as it asks for, or none of its trials has a result.
    """
    if row is None or row.status == "failed":
        return row is not None
    if row.n_trials < cell.tune.trials:
        return False
    return row.n_trials_ok == 0 or (
        row.n_confirm_seeds >= cell.tune.confirm_seeds and _is_widened(cell.tune, row)
    )


def _is_widened(tune: TuneConfig, row: ResultRow) -> bool:
    """Whether no more trials are to be had beyond the edges."""
    return not tune.ranges or row.n_widened >= tune.widen or row.edge == ""

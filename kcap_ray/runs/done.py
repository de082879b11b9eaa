"""When a cell of a run is done."""

from collections.abc import Mapping
from typing import Any

from kcap_ray.config.cell import Cell


def is_done(cell: Cell, row: Mapping[str, Any] | None) -> bool:
    """Whether there is nothing left to do of a cell with this row: it failed, or has a result of as
    many trials as it asks for.
    """
    return row is not None and (row["status"] == "failed" or row["n_trials"] >= cell.tune.trials)

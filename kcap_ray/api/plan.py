"""`plan` of the Python interface."""

from pathlib import Path
from typing import TYPE_CHECKING

from kcap_ray.planning.plan import plan_cells
from kcap_ray.planning.sweep import Sweep

if TYPE_CHECKING:
    import pandas as pd


def plan(sweep: Sweep, *, device: str = "a100", prices: str | Path | None = None) -> "pd.DataFrame":
    """One row per cell, as `kcap plan --json` has them: sizes, demand, steps, tokens, hours on
    `device` (a name or a file of `kcap bench throughput`) and their price.

    Raises `UserError` (a `ValueError`) for an unknown device or a wrong file.
    """
    import pandas as pd

    rows = plan_cells(sweep, device=device, prices=None if prices is None else Path(prices))
    return pd.DataFrame([row.to_dict() for row in rows])

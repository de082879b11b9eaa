"""`measure` of the Python interface, and what `kcap measure` does."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kcap_ray.config.errors import UserError
from kcap_ray.planning.sweep import Sweep

if TYPE_CHECKING:
    from kcap_ray.runs.record import MeasuredModel


def measure(
    model_directory: str | Path, sweep: Sweep, *, cell: str | None = None, **options: Any
) -> "MeasuredModel":
    """Bits that the causal language model in a Hugging Face directory stores about the data of a
    cell: a record of losses, `stored_bits`, `capacity_ratio` and so on, with `to_dict()`.

    `cell`: the cell's id, or a glob; it may be left out where all cells have the same data.
    `options`: the fields of `kcap_ray.measure.directory.MeasureOptions`, for instance bos="yes".
    Raises
    `UserError` (a `ValueError`) where there is no such model, or it does not fit the data.
    """
    import torch

    from kcap_ray.measure.directory import MeasureOptions, measure_directory

    cells = sweep.matching(cell)
    n_data = len({one.data for one in cells})
    if n_data > 1:
        raise UserError(
            f"--data {sweep.path}: {len(cells)} cells with {n_data} different data sets match; "
            f"name one of them, for instance --cell {cells[0].cell_id}"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return measure_directory(
        Path(model_directory), cells[0], device=device, options=MeasureOptions(**options)
    )

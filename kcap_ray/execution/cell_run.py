"""What the trial batches of one cell share while it is run in a process."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kcap_ray.config.cell import Cell
from kcap_ray.runs.results import CellDirectory

if TYPE_CHECKING:
    import torch

    from kcap_ray.training.loop import OpenBatches, Progress


@dataclass(frozen=True, kw_only=True)
class CellRun:
    """One cell, where its files go, and the device that it is trained on. None of it but the cell
    changes what is asked of the search.
    """

    cell: Cell
    directory: CellDirectory
    device: "torch.device"
    n_cpus: int = 1
    """CPUs that this process was given."""
    n_sharing: int = 1
    """Programs that share the device's memory, this one among them."""
    save_every_s: float = 300.0
    """Seconds between checkpoints."""
    open_batches: "OpenBatches | None" = None
    """Where the windows come from; None: they are generated in this process."""
    on_progress: "Callable[[Progress], None] | None" = None
    """Called at every point of the loss curve, in the first worker."""

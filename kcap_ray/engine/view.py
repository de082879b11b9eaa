"""The cluster as a queue sees it. Knows nothing of Ray."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from kcap_ray.config.cell import Cell

UNPLANNED = "a100"
"""Device whose times order a queue that was given none: only their ratios count."""


@dataclass(frozen=True, kw_only=True)
class ClusterView:
    """The cluster as a queue sees it."""

    device: str = UNPLANNED
    """Device that times are planned for, by name or file."""
    n_devices: Callable[[], float] = lambda: math.inf
    """Devices that there are, or may be."""
    max_width: int = 1
    """Devices that `train.workers: auto` may spread a program over."""
    share: Callable[[Cell], float] = lambda _: 1.0
    """Part of a device that a program of the cell takes if it trains on one."""
    left_s: Callable[[], float] = lambda: math.inf
    """Seconds that may still be trained for."""

"""The cluster as a queue sees it. Knows nothing of Ray."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from kcap_ray.config.cell import Cell
from kcap_ray.planning.replay import Room
from kcap_ray.planning.virtual_cluster import VirtualCluster

UNPLANNED = "a100"
"""Device whose times order a queue that was given none: only their ratios count."""

THIS_MACHINE = VirtualCluster(n_devices=1, boot_s=0.0, idle_s=0.0)
"""A node that is there already, and stays."""


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
    room: Callable[[], Room] = Room
    """What the sweep may still take until a limit of time or money."""
    nodes: VirtualCluster = THIS_MACHINE
    """Nodes that it is planned on what can be finished in `room`; of so many devices as there are.
    """

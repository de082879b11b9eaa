"""Capacity of a cluster: its devices, and those of nodes that its autoscaler may still start."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError
from kcap_ray.execution.placement import programs_per_gpu
from kcap_ray.planning.run_length import spec_of

_logger = logging.getLogger(__name__)

NODE_TIMEOUT_S = 120.0
"""Time that a node may take to start a process and import torch in it."""


@dataclass(frozen=True, kw_only=True)
class ClusterCapacity:
    """Devices that cells can run on."""

    cpus: int
    gpus: int


def cluster_capacity() -> ClusterCapacity:
    """Capacity of the cluster that this process is connected to."""
    import ray

    now, at_most = ray.cluster_resources(), _at_most()
    return ClusterCapacity(
        **{
            field: int(max(now.get(kind, 0), at_most.get(kind, 0)))
            for field, kind in (("cpus", "CPU"), ("gpus", "GPU"))
        }
    )


def _at_most() -> dict[str, int]:
    # No public call tells what an autoscaler may start. Empty where there is none.
    from ray._private.state import state

    return state.get_max_resources_from_cluster_config() or {}


def n_concurrent(workers: int, found: ClusterCapacity, *, use_gpu: bool) -> int:
    """Cells of that many workers that fit at the same time; where there are fewer devices than
    workers, one cell on those that there are.

    Raises `UserError` where there is no device at all: Ray would wait for ever.
    """
    kind, n_devices = ("GPU", found.gpus) if use_gpu else ("CPU", found.cpus)
    if n_devices == 0:
        remedy = "write --device cpu, or auto"
        raise UserError(f"no {kind} to run on: this cluster has none; {remedy}")
    if n_devices < workers:
        _logger.warning(
            "train.workers: %d workers for %d %ss; it goes on with %d, on the same batches",
            workers,
            n_devices,
            kind,
            n_devices,
        )
    return max(1, n_devices // workers)


def share_of_device(cell: Cell, *, use_gpu: bool) -> dict[str, float]:
    """What a program of the cell takes of a cluster, if it trains on one device: a CPU, and on a
    GPU that or a part of it.
    """
    if not use_gpu:
        return {"CPU": 1.0}
    return {"CPU": 1.0, "GPU": 1.0 / programs_per_gpu(cell, spec_of(cell))}


def n_sharing(cell: Cell, *, use_gpu: bool) -> int:
    """Programs that share the memory which this worker trains the cell in, its own among them."""
    if use_gpu:
        return programs_per_gpu(cell, spec_of(cell)) if cell.train.workers == 1 else 1
    return os.cpu_count() or 1


def on_every_node(function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """What the function returns on each node that is up now: host to result."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0)(function)
    answers = {
        node["NodeManagerAddress"]: task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(*arguments)
        for node in ray.nodes()
        if node["Alive"]
    }
    return {host: ray.get(answer, timeout=NODE_TIMEOUT_S) for host, answer in answers.items()}

"""Capacity of a cluster: its devices, and those of nodes that its autoscaler may still start."""

import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError
from kcap_ray.engine.program import Program
from kcap_ray.execution.placement import PLANNED_GPU, programs_per_gpu
from kcap_ray.planning.cost import BUILT_IN
from kcap_ray.planning.run_length import spec_of
from kcap_ray.planning.virtual_cluster import VirtualCluster

LAUNCHER = {"node:__internal_head__": 0.001}
"""What the trial of a data-parallel cell takes: a place on the head, which is no spot machine.

It only starts Ray Train, whose workers hold the devices; a CPU of its own could be the one they
wait for. Every head has this resource; a trial must ask for something.
"""

ASK_EVERY_S = 5.0
"""Seconds between two looks at how many devices there are."""

_MODEL = "accelerator_type:"

_logger = logging.getLogger(__name__)

JOIN_S = 120.0
"""Time that the nodes of a cluster may take to join, once its head is up."""

NODE_TIMEOUT_S = 120.0
"""Time that a node may take to start a process and import torch in it."""


@dataclass(frozen=True, kw_only=True)
class ClusterCapacity:
    """Devices that cells can run on."""

    cpus: int
    gpus: int
    node_cpus: int = 0
    """Of the largest node that is up, or known to the autoscaler."""
    node_gpus: int = 0
    accelerator: str = "gpu"
    """Model of the GPUs, in small letters, as Ray names it."""
    is_autoscaled: bool = False
    """Whether nodes come when they are needed, and end when they are idle."""

    def of_node(self, *, use_gpu: bool) -> int:
        """Devices of a node, at least 1."""
        return max(1, self.node_gpus if use_gpu else self.node_cpus)


def cluster_capacity() -> ClusterCapacity:
    """Capacity of the cluster that this process is connected to."""
    import ray

    now, at_most = ray.cluster_resources(), _at_most()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, gpus = (int(max(now.get(kind, 0), at_most.get(kind, 0))) for kind in ("CPU", "GPU"))
    models = [name.removeprefix(_MODEL) for name in now if name.startswith(_MODEL)]
    return ClusterCapacity(
        cpus=cpus,
        gpus=gpus,
        node_cpus=int(max((node.get("CPU", 0) for node in nodes), default=0)),
        # Nodes that are not up yet are taken to be those of cluster.yaml.
        node_gpus=int(max((node.get("GPU", 0) for node in nodes), default=0)) or min(gpus, 8),
        is_autoscaled=bool(at_most),
        accelerator=models[0].lower().partition("-")[0] if models else PLANNED_GPU,
    )


def nodes_of(found: ClusterCapacity, *, use_gpu: bool) -> VirtualCluster:
    """The cluster's nodes as plans have them: those of an autoscaler boot and end as cluster.yaml
    says, others are there already and stay.
    """
    n_devices = max(1, found.gpus if use_gpu else found.cpus)
    per_node = min(found.of_node(use_gpu=use_gpu), n_devices)
    nodes = VirtualCluster(n_devices=n_devices, node_devices=per_node)
    return nodes if found.is_autoscaled else replace(nodes, boot_s=0.0, idle_s=0.0)


def joined_capacity(
    *,
    needs_gpu: bool,
    ask: Callable[[], ClusterCapacity] = cluster_capacity,
    longest_s: float = JOIN_S,
    every_s: float = 1.0,
) -> ClusterCapacity:
    """Capacity of a cluster whose first nodes may be about to join, as after `ray up`, which ends
    when the head is up: waited for as long as there is no device, or no GPU where one is needed.
    """
    end, is_said = time.monotonic() + longest_s, False
    while True:
        found = ask()
        if found.gpus or (found.cpus and not needs_gpu) or time.monotonic() > end:
            return found
        if not is_said:
            kind = "GPU" if needs_gpu else "CPU"
            _logger.info("no %s in the cluster yet; its nodes have %.0f s to join", kind, longest_s)
            is_said = True
        time.sleep(every_s)


def devices_now(*, use_gpu: bool) -> float:
    """Devices of the nodes that are up, which are what is paid for."""
    import ray

    return ray.cluster_resources().get("GPU" if use_gpu else "CPU", 0.0)


class DeviceCount:
    """Devices that there are or may be, asked for anew now and then: others may join a cluster."""

    def __init__(self, *, use_gpu: bool) -> None:
        self._use_gpu, self._asked_at, self._n = use_gpu, -math.inf, 0

    def __call__(self) -> float:
        if time.monotonic() - self._asked_at > ASK_EVERY_S:
            found = cluster_capacity()
            self._n = found.gpus if self._use_gpu else found.cpus
            self._asked_at = time.monotonic()
        return self._n


def planned_device(found: ClusterCapacity, *, use_gpu: bool) -> str:
    """The built-in device whose times order the queue."""
    if not use_gpu:
        return "cpu"
    return found.accelerator if found.accelerator in BUILT_IN else PLANNED_GPU


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


def share_of_device(cell: Cell, *, use_gpu: bool) -> float:
    """Part of a device that a program of the cell takes if it trains on one: a GPU or less."""
    return 1.0 / programs_per_gpu(cell, spec_of(cell)) if use_gpu else 1.0


def resources_of(program: Program, *, use_gpu: bool) -> dict[str, float]:
    """What a program takes of a cluster: a CPU, and on a GPU that or a part of it; the launcher of
    data-parallel workers a place on the head.
    """
    if program.workers > 1:
        return dict(LAUNCHER)
    if not use_gpu:
        return {"CPU": 1.0}
    return {"CPU": 1.0, "GPU": share_of_device(program.cell, use_gpu=True)}


def n_sharing(cell: Cell, *, use_gpu: bool, workers: int = 1) -> int:
    """Programs that share the memory which this worker, one of so many, trains the cell in, its own
    among them.
    """
    if use_gpu:
        return programs_per_gpu(cell, spec_of(cell)) if workers == 1 else 1
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

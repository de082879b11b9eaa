"""Every node of a cluster looked at, by a task on it: versions, GPUs, storage, limits, clock, and
how fast two of them talk to each other.
"""

import datetime
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kcap_ray.config.errors import UserError, one_line
from kcap_ray.engine.capacity import NODE_TIMEOUT_S
from kcap_ray.runs.environment import versions
from kcap_ray.runs.store import SLOWEST_RETRY_S, Store, local_path, url_of

PAIR_BYTES = 64 * 2**20
"""Size of what two nodes send each other to be timed."""
PAIR_TIMEOUT_S = 90.0


@dataclass(frozen=True, kw_only=True)
class NodeReport:
    """What was found on a node."""

    name: str
    """Its address, with a part of its id where several have that address."""
    versions: Mapping[str, str]
    """Of ray, python, torch, kcap."""
    driver: str
    """Version of the NVIDIA driver; empty without one."""
    ray_gpus: int
    """GPUs that Ray gives out there."""
    torch_gpus: int
    """GPUs that torch sees there."""
    storage: str
    """Why the run directory cannot be written and read there; empty if it can."""
    nofile: int
    """Files that a process may have open."""
    shm_bytes: int
    """Size of /dev/shm; 0 where there is none."""
    store_bytes: int
    """Of Ray's object store, which lies there."""
    disk_bytes: int
    """Free where Ray spills objects and writes its logs."""
    clock_s: float
    """Clock of the node less that of this machine."""
    clock_error_s: float
    """How far that may be off: half of the time between question and answer."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two nodes that sent each other something."""

    nodes: tuple[str, str]
    backend: str
    """nccl between GPUs, else gloo."""
    bytes_per_s: float
    problem: str = ""
    """Why nothing was measured; empty if it was."""


def look(out: str, witness: str) -> dict[str, Any]:
    """What the node that this runs on is like; `witness` as for `storage_problem`."""
    shm = Path("/dev/shm")
    return {
        "versions": {
            name: version
            for name, version in versions().items()
            if name in ("ray", "python", "torch", "kcap")
        },
        "driver": _driver(),
        "torch_gpus": _torch_gpus(),
        "storage": storage_problem(out, witness),
        "nofile": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "shm_bytes": shutil.disk_usage(shm).total if shm.is_dir() else 0,
        "disk_bytes": shutil.disk_usage(_session_directory()).free,
        "time_s": time.time(),
    }


def look_at_nodes(out: str, witness: str) -> tuple[list[NodeReport], dict[str, str]]:
    """Reports of the nodes that are up, and why others gave none, by name."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = alive_nodes()
    task = ray.remote(num_cpus=0, max_retries=0)(look)

    def ask(name: str) -> Any:
        place = NodeAffinitySchedulingStrategy(nodes[name]["NodeID"], soft=False)
        return task.options(scheduling_strategy=place).remote(out, witness)

    # All at once, which starts the processes: the second time the clock is read within the time
    # that the network takes.
    first = {name: ask(name) for name in nodes}
    reports, silent = [], {}
    for name, node in nodes.items():
        try:
            ray.get(first[name], timeout=NODE_TIMEOUT_S)
            asked = time.time()
            found: dict[str, Any] = dict(ray.get(ask(name), timeout=NODE_TIMEOUT_S))
            answered = time.time()
        # Whatever Ray raises for a node that does not answer.
        except Exception as error:
            silent[name] = one_line(error)
            continue
        at_node = found.pop("time_s")
        reports.append(
            NodeReport(
                name=name,
                ray_gpus=int(node["Resources"].get("GPU", 0)),
                store_bytes=int(node["Resources"].get("object_store_memory", 0)),
                clock_s=at_node - (asked + answered) / 2,
                clock_error_s=(answered - asked) / 2,
                **found,
            )
        )
    return reports, silent


def alive_nodes() -> dict[str, dict[str, Any]]:
    """Ray's entries of the nodes that are up, by a name of their own; the head first."""
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    addresses = [node["NodeManagerAddress"] for node in alive]
    named = {
        address if addresses.count(address) == 1 else f"{address}/{node['NodeID'][:8]}": node
        for address, node in zip(addresses, alive, strict=True)
    }
    is_head = "node:__internal_head__"
    return dict(sorted(named.items(), key=lambda one: is_head not in one[1]["Resources"]))


def storage_problem(out: str, witness: str) -> str:
    """Why this node cannot write and read the run directory `out`, a path or a URL that is there;
    empty if it can. `witness`: name of a file in it that the asking machine wrote.
    """
    own, word, url = f"{witness}-{socket.gethostname()}-{os.getpid()}", b"kcap doctor", url_of(out)
    try:
        # A path of this machine is a store too, by its URL.
        store = Store(url or local_path(out).as_uri(), patience_s=SLOWEST_RETRY_S)
        if store.info(witness) is None:
            return f"{out} is not the directory of the machine that asks"
        store.put(own, word)
        content = store.get(own)
        store.delete(own)
    except (OSError, UserError) as error:
        return getattr(error, "strerror", None) or one_line(error)
    return "" if content == word else "what is written is not what is read"


def _driver() -> str:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True)
        return next(iter(done.stdout.splitlines()), "").strip()
    return ""


def _torch_gpus() -> int:
    # Of all that Ray may give out, and not only what this task was given.
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    if not Path("/proc/driver/nvidia").exists():
        return 0
    code = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=90, env=environment
    )
    return int(done.stdout.split()[-1]) if done.returncode == 0 else 0


def _session_directory() -> str:
    from ray._private.worker import global_worker

    node = global_worker.node
    return "/tmp" if node is None else node.get_session_dir_path()


def measure_pair(reports: Sequence[NodeReport]) -> Pair | None:
    """How fast the two nodes with most GPUs send to each other; None where there is one only."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    if len(reports) < 2:
        return None
    nodes = alive_nodes()
    first, second = sorted(reports, key=lambda one: -one.torch_gpus)[:2]
    on_gpus = min(first.torch_gpus, second.torch_gpus, first.ray_gpus, second.ray_gpus) > 0
    backend = "nccl" if on_gpus else "gloo"
    port_task = ray.remote(num_cpus=0, max_retries=0)(_free_port)
    task = ray.remote(num_cpus=0, num_gpus=int(on_gpus), max_retries=0)(_exchange)
    places = [
        NodeAffinitySchedulingStrategy(nodes[one.name]["NodeID"], soft=False)
        for one in (first, second)
    ]
    names = (first.name, second.name)
    try:
        host = nodes[first.name]["NodeManagerAddress"]
        asked = port_task.options(scheduling_strategy=places[0]).remote()
        port = ray.get(asked, timeout=NODE_TIMEOUT_S)
        running = [
            task.options(scheduling_strategy=place).remote(rank, f"tcp://{host}:{port}", backend)
            for rank, place in enumerate(places)
        ]
        rate = min(ray.get(running, timeout=PAIR_TIMEOUT_S))
    # Whatever torch or Ray says of a network that does not let them through.
    except Exception as error:
        return Pair(nodes=names, backend=backend, bytes_per_s=0.0, problem=one_line(error))
    return Pair(nodes=names, backend=backend, bytes_per_s=rate)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("", 0))
        return found.getsockname()[1]


def _exchange(rank: int, where: str, backend: str) -> float:
    """Bytes per second that each of two processes sends in an all-reduce, which for two is what
    each holds; the best of three.
    """
    import torch
    import torch.distributed as distributed

    device = "cuda" if backend == "nccl" else "cpu"
    timeout = datetime.timedelta(seconds=PAIR_TIMEOUT_S / 2)
    distributed.init_process_group(
        backend, init_method=where, rank=rank, world_size=2, timeout=timeout
    )
    try:
        sent = torch.ones(PAIR_BYTES // 4, device=device)
        times = []
        for _ in range(4):
            distributed.barrier()
            begun = time.perf_counter()
            distributed.all_reduce(sent)
            sent.sum().item()
            times.append(time.perf_counter() - begun)
        return PAIR_BYTES / min(times[1:])
    finally:
        distributed.destroy_process_group()

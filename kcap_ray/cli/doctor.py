"""Checks of the machine or the cluster before a long run: a line each, and how to mend it."""

import importlib.metadata
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kcap_ray.cli.check import GIB, Check
from kcap_ray.cli.cluster_checks import cluster_checks, kinds_check, network_check
from kcap_ray.config.errors import UserError
from kcap_ray.execution.host_memory import available_host_bytes
from kcap_ray.planning.prices import PriceKind
from kcap_ray.runs.store import SLOWEST_RETRY_S, Store, local_path, url_of

MIN_MEMORY_GIB = 3.0
"""A session of Ray, two workers and the driver, measured with torch 2.13 and ray 2.60."""
MIN_DISK_GIB = 5.0
"""Room for checkpoints of small models and for what Ray writes while it runs."""
MIN_SHM_GIB = 0.5
"""The object store of a local session, and room to spare."""


@dataclass(frozen=True, kw_only=True)
class PriceFile:
    """Where the price of a device is from."""

    kind: PriceKind = "block"
    path: Path | None = None
    """The user's file, which comes first."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be checked."""

    address: str | None = None
    """Of a Ray cluster; None: this machine."""
    out: str = "runs"
    """Run directory, a path or a URL."""
    sweep: Any = None
    """A `Sweep` whose price and duration are asked for, too."""
    start: bool = False
    """Whether to start a node of each kind that none is up of."""
    prices: PriceFile = PriceFile()


def run_checks(asked: Asked) -> Iterator[Check]:
    """All checks, one after another; a check that itself fails is a finding."""
    checks: list[tuple[str, Callable[[], Check | Iterable[Check]]]] = [
        ("python", _python),
        ("torch", _torch),
        ("compiler", _compiler),
        ("memory", _memory),
        ("shared memory", _shared_memory),
        ("run directory", lambda: _run_directory(asked.out)),
        ("ray", lambda: _cluster(asked)),
    ]
    for name, check in checks:
        try:
            found = check()
            yield from [found] if isinstance(found, Check) else found
        except Exception as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            yield Check(name=name, finding=lines[0], remedy="")


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    ok = sys.version_info >= (3, 11)
    return Check(
        name="python",
        finding=f"{version}, kcap {importlib.metadata.version('kcap')}",
        remedy=None if ok else "install Python 3.11 or newer",
    )


def _torch() -> Check:
    import torch

    cards = _nvidia_cards()
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "for CPUs"
    remedy = _torch_remedy(cards)
    if not remedy and cards and not torch.cuda.is_available():
        remedy = "torch does not see the GPU: update its driver, or unset CUDA_VISIBLE_DEVICES"
    return Check(
        name="torch",
        finding=f"{torch.__version__} ({build}), {cards} NVIDIA GPU{'s' * (cards != 1)}",
        remedy=remedy,
    )


def _torch_remedy(cards: int) -> str | None:
    import torch

    if cards and not torch.version.cuda:
        return "this torch cannot use the GPU: install one that is built for CUDA"
    return None


def _nvidia_cards() -> int:
    with suppress(OSError, subprocess.SubprocessError):
        command = ["nvidia-smi", "--list-gpus"]
        listed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        return len(listed.stdout.splitlines())
    return 0


def _compiler() -> Check:
    """torch.compile translates what it makes for a CPU or a GPU with the system's C compiler."""
    compiler = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    needed = _nvidia_cards() > 0
    if compiler:
        return Check(name="compiler", finding=compiler)
    return Check(
        name="compiler",
        finding="no C compiler",
        remedy="apt install gcc, or write train.compile: off" if needed else None,
    )


def _memory() -> Check:
    available = available_host_bytes()
    if available is None:
        return Check(name="memory", finding="unknown on this system")
    free = available / GIB
    return Check(
        name="memory",
        finding=f"{free:.1f} GiB free",
        remedy=None if free >= MIN_MEMORY_GIB else f"end other programs: {MIN_MEMORY_GIB} GiB",
    )


def _shared_memory() -> Check:
    shm = Path("/dev/shm")
    if not shm.is_dir():
        return Check(name="shared memory", finding="no /dev/shm; Ray uses files instead")
    free = shutil.disk_usage(shm).free / GIB
    return Check(
        name="shared memory",
        finding=f"{free:.1f} GiB free in {shm}",
        remedy=None if free >= MIN_SHM_GIB else "start the container with --shm-size=4g",
    )


def _run_directory(out: str) -> Check:
    url = url_of(out)
    if url is not None:
        try:
            Store(url).check_writable(f".kcap-doctor-{secrets.token_hex(8)}")
        except (OSError, UserError) as error:
            return Check(
                name="run directory",
                finding=f"{out}: {getattr(error, 'strerror', None) or error}",
                remedy="make the bucket, name another by --out, or mend the credentials",
            )
        return Check(name="run directory", finding=f"{out} can be written; each node tries, below")
    parent = _existing(local_path(out))
    try:
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        remedy = "name another directory by --out"
        return Check(name="run directory", finding=f"{parent}: {error.strerror}", remedy=remedy)
    free = shutil.disk_usage(parent).free / GIB
    return Check(
        name="run directory",
        finding=f"{out} can be written, {free:.0f} GiB free",
        remedy=None if free >= MIN_DISK_GIB else f"make room: {MIN_DISK_GIB:.0f} GiB",
    )


def _existing(path: Path) -> Path:
    """The path, or the nearest directory above it that is there."""
    return next(found for found in (path, *path.absolute().parents) if found.exists())


def _cluster(asked: Asked) -> Iterator[Check]:
    from kcap_ray.engine.capacity import cluster_capacity
    from kcap_ray.engine.probe import look_at_nodes, measure_pair
    from kcap_ray.engine.session import ray_session
    from kcap_ray.engine.starting import START_TIMEOUT_S, kinds_to_start, start_nodes

    with ray_session(asked.address), _witness(asked.out) as (place, witness):
        missing = kinds_to_start()
        if asked.start and missing:
            start_nodes(missing, START_TIMEOUT_S)
            missing = kinds_to_start()
        found = cluster_capacity()
        remedy = None
        if not (found.cpus or found.gpus):
            remedy = "no node can train, and no autoscaler may start one: see docs/cluster.md"
        started = "the cluster answers" if asked.address else "a session of its own starts"
        finding = f"{started}; {found.cpus} CPUs and {found.gpus} GPUs, now or when needed"
        yield Check(name="ray", finding=finding, remedy=remedy)
        reports, silent = look_at_nodes(place, witness)
        yield from cluster_checks(reports, silent)
        if asked.address:
            yield kinds_check(missing)
            yield network_check(measure_pair(reports))
    if asked.sweep is not None:
        yield sweep_check(asked.sweep, found, asked.prices)


@contextmanager
def _witness(out: str) -> Iterator[tuple[str, str]]:
    """The directory that the nodes are asked to write to, and the name of a file in it that is
    there meanwhile. Of a run directory that is not there yet, the nearest one above it.
    """
    url = url_of(out)
    if url is None:
        parent = _existing(local_path(out)).resolve()
        with tempfile.NamedTemporaryFile(dir=parent, prefix=".kcap-doctor-") as probe:
            yield str(parent), Path(probe.name).name
        return
    name, store = f".kcap-doctor-{secrets.token_hex(8)}", Store(url, patience_s=SLOWEST_RETRY_S)
    # Where that cannot be done each node says so of itself.
    with suppress(OSError, UserError):
        store.put(name, b"kcap doctor")
    try:
        yield url, name
    finally:
        with suppress(OSError, UserError):
            store.delete(name)


def sweep_check(sweep: Any, found: Any, prices: PriceFile) -> Check:
    """Price and duration of a sweep on the devices of a cluster, as `kcap plan --devices` has them;
    `found`: its `ClusterCapacity`.
    """
    from kcap_ray.engine.capacity import planned_device
    from kcap_ray.planning.cluster_plan import plan_on_cluster
    from kcap_ray.planning.cost import device_of
    from kcap_ray.planning.jobs import jobs_of
    from kcap_ray.planning.plan import dollars_text, hours_text
    from kcap_ray.planning.prices import price_of
    from kcap_ray.planning.virtual_cluster import VirtualCluster

    use_gpu = found.gpus > 0
    n_devices = found.gpus if use_gpu else found.cpus
    if n_devices == 0:
        return Check(name="sweep", finding=f"{sweep.name}: no device to run on", remedy="")
    device = device_of(planned_device(found, use_gpu=use_gpu))
    per_node = min(found.of_node(use_gpu=use_gpu), n_devices)
    cluster = VirtualCluster(n_devices=n_devices, node_devices=per_node)
    if not use_gpu:  # the machine is there already, and stays
        cluster = replace(cluster, boot_s=0.0, idle_s=0.0)
    jobs = jobs_of(
        sweep.cells, sweep.neighbour, device, column=sweep.column, max_width=cluster.node_devices
    )
    price = price_of(device.name, kind=prices.kind, file=prices.path)
    plan = plan_on_cluster(jobs, cluster, price)
    money = "no price known" if plan.price is None else dollars_text(plan.price)
    kind = f"{n_devices} {device.name if use_gpu else 'CPU'}s"
    return Check(
        name="sweep",
        finding=f"{sweep.name}, {len(sweep.cells):,} cells: {hours_text(plan.makespan_hours)} "
        f"hours on {kind}, {money}; limited by {plan.limited_by}",
    )

"""Checks of the machine or the cluster before a long run: a line each, and how to mend it."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kcap_ray.execution.host_memory import available_host_bytes

MIN_MEMORY_GIB = 3.0
"""A session of Ray, two workers and the driver, measured with torch 2.13 and ray 2.60."""
MIN_DISK_GIB = 5.0
"""Room for checkpoints of small models and for what Ray writes while it runs."""
MIN_SHM_GIB = 0.5
"""The object store of a local session, and room to spare."""

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was found."""

    name: str
    finding: str
    remedy: str | None = None
    """What to do about it, empty if the finding says so; None if all is well."""


def run_checks(*, address: str | None, out: Path) -> Iterator[Check]:
    """All checks, one after another; a check that itself fails is a finding."""
    checks: list[tuple[str, Callable[[], Check]]] = [
        ("python", _python),
        ("torch", _torch),
        ("compiler", _compiler),
        ("memory", _memory),
        ("shared memory", _shared_memory),
        ("run directory", lambda: _run_directory(out)),
        ("ray", lambda: _ray(address, out)),
    ]
    for name, check in checks:
        try:
            yield check()
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


def _run_directory(out: Path) -> Check:
    parent = _existing(out)
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


def _ray(address: str | None, out: Path) -> Check:
    from kcap_ray.engine.capacity import cluster_capacity, on_every_node
    from kcap_ray.engine.session import ray_session

    probe_parent = _existing(out).resolve()
    with ray_session(address), tempfile.NamedTemporaryFile(dir=probe_parent) as probe:
        found = cluster_capacity()
        problems = on_every_node(node_problem, Path(probe.name))
    n_nodes = f"{len(problems)} node{'s' * (len(problems) != 1)}"
    started = n_nodes if address else "a session of its own starts"
    finding = f"{started}; {found.cpus} CPUs and {found.gpus} GPUs, now or when needed"
    remedies = [f"{host}: {problem}" for host, problem in problems.items() if problem]
    if not (found.cpus or found.gpus):
        remedies.append("no node can train, and no autoscaler may start one: see docs/cluster.md")
    return Check(name="ray", finding=finding, remedy="; ".join(remedies) if remedies else None)


def node_problem(probe: Path) -> str | None:
    """What is wrong with the node that this runs on; `probe` is a file in the run directory."""
    if not probe.exists():
        return f"cannot see {probe.parent}, which all nodes must share"
    return _torch_remedy(_nvidia_cards())

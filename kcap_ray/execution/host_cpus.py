"""CPUs that a process has."""

import os
from contextlib import suppress
from pathlib import Path

LIMIT = Path("/sys/fs/cgroup/cpu.max")
"""A container's limit: microseconds of CPUs in so many microseconds, or `max`."""


def own_cpus() -> int:
    """CPUs that this process may run on; not more than a container's limit has in whole ones, nor
    than `OMP_NUM_THREADS`, if that is set.
    """
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no such file, or no limit
        quota, period = map(int, LIMIT.read_text(encoding="ascii").split())
        own = min(own, max(1, quota // period))
    wish = os.environ.get("OMP_NUM_THREADS", "")
    return min(own, int(wish)) if wish.isdigit() and int(wish) else own

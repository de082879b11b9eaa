"""Memory of the machine that new programs can have."""

import os
from contextlib import suppress
from pathlib import Path


def available_host_bytes() -> int | None:
    """Bytes that can be had without swapping, never more than a container's limit leaves; None
    where the system does not say (it is not Linux).
    """
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        available = next(int(line.split()[1]) * 1024 for line in lines if "MemAvailable" in line)
    except (OSError, StopIteration):
        return None
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):  # no such file, or a limit called "max"
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        available = min(available, limit - used)
    return available


def host_bytes() -> int:
    """All memory of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

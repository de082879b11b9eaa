"""Freed memory stays with the process, on Linux.

glibc gives large blocks back to the system, which hands them out again filled with zeros, page by
page. A step on a CPU frees and takes its activations anew every few milliseconds, and this takes up
to a third of its time (benchmarks/step_choices.py).
"""

import ctypes
import sys
from collections.abc import Callable
from functools import cache

# Names and values from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


@cache
def keep_freed_memory() -> None:
    """From now on; does nothing where the C library is not glibc."""
    mallopt = _glibc("mallopt")
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _NEVER)
        mallopt(_M_MMAP_MAX, 0)


def give_back_freed_memory() -> None:
    """Once, all of it, so that the system knows how much memory is free."""
    malloc_trim = _glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _glibc(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None

"""Places that fail: a small file system that can be full or read-only, in a namespace of its own,
where the kernel lets this user make one.
"""

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

NEW_NAMESPACES = 0x00020000 | 0x10000000  # CLONE_NEWNS | CLONE_NEWUSER
READ_ONLY, REMOUNT = 1, 32

_libc = ctypes.CDLL(None, use_errno=True)


def _call(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def enter_namespace() -> None:
    """Give this process, which must have one thread, mounts of its own."""
    user, group = os.getuid(), os.getgid()
    _call(_libc.unshare(NEW_NAMESPACES))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def mount_memory(path: Path, n_bytes: int, *, flags: int = 0) -> None:
    """A file system of this size at `path`, or with `REMOUNT` another state of the one there."""
    options = f"size={n_bytes}".encode()
    _call(_libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", flags, options))


def in_namespace(act: Callable[[], None]) -> None:
    """Call `act` in a process with mounts of its own; raises AssertionError with its error if that
    fails.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        text = ""
        try:
            enter_namespace()
            act()
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(writing, text.encode()[:60_000])
        os._exit(bool(text))
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, text


def can_mount(folder: Path) -> bool:
    """Whether this machine lets its users make such places."""
    place = folder / "probe"
    place.mkdir(exist_ok=True)
    try:
        in_namespace(lambda: mount_memory(place, 2**20))
    except (AssertionError, OSError):
        return False
    return True

"""Network namespaces whose names begin with `kcap-`: whether there can be any on this machine, and
how all of them are taken away.
"""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

PREFIX = "kcap-"
PACKAGES = {"sshd": "openssh-server", "ssh": "openssh-client", "rsync": "rsync", "ip": "iproute2"}


class NotAllowedError(Exception):
    """There can be no such hosts on this machine."""


def why_not() -> str:
    """Why there can be no hosts on this machine, and what would help; empty if there can."""
    if sys.platform != "linux" or not hasattr(os, "geteuid"):
        return "network namespaces are of Linux"
    missing = [package for tool, package in PACKAGES.items() if tool_path(tool) is None]
    if missing:
        return f"needs {', '.join(missing)}: apt-get install -y {' '.join(missing)}"
    if os.geteuid() != 0:
        return "namespaces with addresses of their own are made by root alone"
    tries = [
        "ip netns add kcap-try && ip -n kcap-try link add try type bridge",
        "unshare --mount --uts --pid --fork --mount-proc mount -t tmpfs tmpfs /run",
    ]
    try:
        for command in tries:
            done = subprocess.run(command, shell=True, capture_output=True, text=True)
            if done.returncode:
                return f"namespaces are not allowed here: {done.stderr.strip() or command}"
    finally:
        subprocess.run(["ip", "netns", "del", "kcap-try"], capture_output=True)
    return ""


def tool_path(name: str) -> str | None:
    """The path of the tool, also where only root looks; None if it is not installed."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def ip(*words: str) -> None:
    """`ip` of iproute2 with these arguments. Raises `NotAllowedError` if it fails."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise NotAllowedError(f"ip {shlex.join(words)}: {done.stderr.strip()}")


def left() -> list[str]:
    """What is there of such a network: its namespaces, and processes in them."""
    spaces = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
    names = [line.split()[0] for line in spaces.splitlines() if line.startswith(PREFIX)]
    return [*names, *(f"process {pid}" for name in names for pid in _processes_in(name))]


def _processes_in(space: str) -> list[int]:
    done = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True)
    return [int(word) for word in done.stdout.split()]


def clear() -> None:
    """End what is in the network's namespaces, and remove them."""
    for name in [line for line in left() if not line.startswith("process ")]:
        for pid in _processes_in(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 10
        while _processes_in(name) and time.monotonic() < end:
            time.sleep(0.05)
        ip("netns", "del", name)

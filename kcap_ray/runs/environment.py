"""What made a result: versions, commit, machine."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kcap_ray.runs.columns import Provenance

if TYPE_CHECKING:
    import torch

_PACKAGES = (
    "kcap",
    "torch",
    "ray",
    "optuna",
    "transformers",
    "tokenizers",
    "numpy",
    "pyarrow",
    "auto-gptq",
)


COMMIT_FILE = "KCAP_COMMIT"
"""Beside a copy of the source that was sent somewhere: the commit that it was made from."""


@cache
def git_commit() -> str:
    """Commit of the code that runs, with `-dirty` if it was changed since; empty outside of a
    checkout or a copy that `kcap submit` sent.
    """
    here = Path(__file__)
    sent = here.parents[2] / COMMIT_FILE
    if sent.is_file():
        return sent.read_text(encoding="utf-8").strip()
    # A virtual environment often lies inside of a repository that is not of this code.
    is_tracked = _git(here.parent, "ls-files", "--error-unmatch", here.name)
    if not is_tracked:
        return ""
    return _git(here.parent, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")


def _git(directory: Path, *arguments: str) -> str:
    """What git says; empty if there is none or it has an error to tell."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=directory, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Installed versions of what results depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def provenance(device: "torch.device") -> Provenance:
    """Device and versions, for every record: a row says what made it."""
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return Provenance(
        device=name,
        git_commit=git_commit(),
        kcap_version=versions().get("kcap", ""),
        torch_version=str(torch.__version__),
    )


def describe() -> dict[str, Any]:
    """The content of environment.json, for the machine that drives the sweep."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": ["kcap", *sys.argv[1:]],
        "git_commit": git_commit(),
        "versions": versions(),
        "machine": {
            "system": platform.platform(),
            "processor": _processor(),
            "cpus": os.cpu_count(),
        },
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.processor()

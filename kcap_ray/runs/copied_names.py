"""Names of files in a run, and which of them a working copy has."""

from collections.abc import Iterator
from pathlib import Path

INCOMPLETE = ".incomplete"

LOG = "kcap.log"
REQUEST = ".save"
TOP = (
    "sweep.yaml",
    "cells.json",
    "environment.json",
    "results.parquet",
    "earlier-results.parquet",
    "report.html",
    "trackers.json",
    "extraction.json",
    LOG,
    REQUEST,
)
"""Files at the top of a run that are copied; others may be somebody's."""
BELOW = ("cells", "models")

HEAVY = frozenset({"checkpoint", "curves", "resume", "tensorboard"})
"""Directories that are copied only where they are asked for, and are empty in a copy otherwise."""

LEDGER = frozenset({"trials.jsonl", "result.json", "start.json"})
"""Files that are copied anew each time: two of one size may be written within a second, which is
all that the time of a store tells.
"""


def folders_of(name: str) -> Iterator[str]:
    """The directories that a file is in, from the inner to the outer."""
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def is_own(name: str) -> bool:
    """Whether a file is one of a run, and not somebody's beside it."""
    first, slash, _ = name.partition("/")
    return first in BELOW if slash else name in TOP


def is_heavy(name: str) -> bool:
    """Whether a file is copied only where it is asked for."""
    return not HEAVY.isdisjoint(name.split("/")[:-1])


def is_below(name: str, prefix: str) -> bool:
    """Whether a name is `prefix` or below it; all are below nothing."""
    return not prefix or name == prefix or name.startswith(f"{prefix}/")


def follows(name: str) -> bool:
    """Whether a file is only to be looked at, and sent by a thread."""
    return name == LOG or name.endswith("/progress.json") or "/tensorboard/" in name


def following(root: Path) -> list[Path]:
    """The files in a copy that are sent by a thread."""
    found = [root / LOG]
    for place in (*root.glob("cells/*"), *root.glob("cells/*/parts/*")):
        found += [place / "progress.json"]
        found += [path for path in (place / "tensorboard").rglob("*") if path.is_file()]
    return found

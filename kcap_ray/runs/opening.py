"""Run directories wherever they are: a path as it is, a URL as a local copy of this process."""

import contextlib
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError
from kcap_ray.runs.copied_names import LOG
from kcap_ray.runs.files import is_locked, locked
from kcap_ray.runs.model_files import FOLDER
from kcap_ray.runs.results import RunDirectory
from kcap_ray.runs.store import Store, local_path, url_of
from kcap_ray.runs.working_copy import WorkingCopy, copy_of, known

_PREFIX, _OWNER = "kcap-copy-", "owner.lock"
_LOCKED_WITHIN_S = 60.0
"""Time after which a copy that nobody has locked was left by a process that was killed."""

TOKEN = ".shared"
"""File of a run directory that every node must read the same from."""


class UnsharedError(UserError):
    """A node does not see the run directory that the driver has."""


@contextlib.contextmanager
def opened(place: str | Path, *, whole: bool = False) -> Iterator[Path]:
    """The directory at a path or a URL, as a path of this machine. What is written there by
    `kcap_ray.runs.files` is in the store too. `whole`: with checkpoints and all else.

    Raises `UserError` for a URL that nothing can be read from.
    """
    url = url_of(place)
    if url is None:
        yield local_path(place)
        return
    store = Store(url)
    store.check()
    with _working_copy(store) as copy:
        copy.pull(whole=whole)
        yield copy.path


def check_store(path: Path) -> None:
    """Raise `UserError`, within some seconds, for a run in a store that cannot be written."""
    if copy_of(path) is not None:
        RunDirectory(path).prepare()


@dataclass(frozen=True, kw_only=True)
class RunPlace:
    """Where a run is, as a process on another node needs it."""

    path: Path
    url: str = ""
    """Of the store that it is kept in; empty for a directory that all nodes share."""
    token: str = ""
    """What `.shared` holds, by which a node sees that it is the same directory; empty for a session
    of this machine alone.
    """

    @classmethod
    def of(cls, directory: RunDirectory) -> "RunPlace":
        """Of a run that is open here."""
        found = copy_of(directory.path)
        token = ""
        with contextlib.suppress(OSError):
            token = (directory.path / TOKEN).read_text(encoding="utf-8")
        return cls(path=directory.path, url=found[0].store.url if found else "", token=token)

    @contextlib.contextmanager
    def opened(self, place: str = "") -> Iterator[RunDirectory]:
        """The run directory in this process; of a store with a copy of what a program needs that is
        kept in `place`, which is a cell's directory or a part of one.

        Raises `UnsharedError` where this node sees another directory.
        """
        if not self.url:
            self.check()
            yield RunDirectory(self.path)
            return
        log_name = f"logs/{platform.node()}-{os.getpid()}.log"
        with _working_copy(Store(self.url), log_name=log_name, listens=True) as copy:
            copy.following.take_request()
            cell = "/".join(place.split("/")[:2])
            for name in dict.fromkeys((cell, place, FOLDER)):
                copy.pull(name, without=("parts", "quantized"))
            copy.pull(f"{place}/resume", whole=True)
            yield RunDirectory(copy.path)

    def check(self) -> None:
        """Raise `UnsharedError` if this node sees another directory, or no such."""
        if not self.token:
            return
        try:
            found = (self.path / TOKEN).read_text(encoding="utf-8")
        except OSError:
            found = None
        if found != self.token:
            raise UnsharedError(f"--out {self.path}: {unseen_by([platform.node()])}")

    def moved_here(self, cell: Cell, directory: RunDirectory) -> Cell:
        """The cell with its model's file where the run directory is in this process."""
        if not self.url or cell.model.file is None:
            return cell
        try:
            name = Path(cell.model.file).relative_to(self.path)
        except ValueError:
            return cell
        return replace(cell, model=replace(cell.model, file=str(directory.path / name)))


def unseen_by(nodes: Sequence[str]) -> str:
    """What to do about nodes that do not see a run directory."""
    who = f"node {nodes[0]} does" if len(nodes) == 1 else f"nodes {', '.join(nodes)} do"
    return f"{who} not see this directory; mount it there, or write --out s3://bucket/run"


@contextlib.contextmanager
def _working_copy(
    store: Store, *, log_name: str = LOG, listens: bool = False
) -> Iterator[WorkingCopy]:
    """A new, empty copy. Those of killed processes are removed on the way."""
    parent = Path(tempfile.gettempdir()).resolve()
    for stale in parent.glob(f"{_PREFIX}*"):
        _remove_if_abandoned(stale)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    try:
        with locked(folder / _OWNER):
            root = folder / (Path(urlsplit(store.url).path).name or "run")
            root.mkdir()
            with known(WorkingCopy(root, store, log_name=log_name), listens=listens) as copy:
                yield copy
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_if_abandoned(folder: Path) -> None:
    with contextlib.suppress(OSError):  # another user's, or about to go
        owner = folder / _OWNER
        if owner.exists():
            is_left = not is_locked(owner)
        else:
            is_left = time.time() - folder.stat().st_mtime > _LOCKED_WITHIN_S
        if is_left:
            shutil.rmtree(folder, ignore_errors=True)

"""A run that is kept in a store, and the local copy of it that this process works on.

A process reads and writes the copy as any run directory. Whatever `kcap_ray.runs.files` writes,
moves or removes there is done in the store too, before the call returns, so that what a record says
is in the store is there. What is only to be looked at (progress, logs, event files) follows within
seconds, by a thread, and may be lost. The copy is this process's alone and goes with it.

A directory of several objects has a further one, `.incomplete`, while it is being written, moved or
removed: it counts as not there.
"""

import contextlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kcap_ray.runs.copied_names import (
    HEAVY,
    INCOMPLETE,
    LEDGER,
    LOG,
    folders_of,
    follows,
    is_below,
    is_heavy,
    is_own,
)
from kcap_ray.runs.following import Following
from kcap_ray.runs.lease_object import lease_object
from kcap_ray.runs.store import Entry, Store

_logger = logging.getLogger(__name__)

N_AT_ONCE = 16
"""Transfers at the same time."""

# Of this process, as its files are.
_COPIES: dict[str, "WorkingCopy"] = {}
_URLS: dict[str, str] = {}


def copy_of(path: Path) -> "tuple[WorkingCopy, str] | None":
    """The working copy that `path` is in, and its name there; None for any other path."""
    if not _COPIES:
        return None
    text = str(path)
    for root, copy in _COPIES.items():
        if text == root or text.startswith(f"{root}/"):
            return copy, text[len(root) + 1 :]
    return None


def with_urls(text: str) -> str:
    """The text with URLs in place of the paths of working copies that this process has had."""
    for root, url in _URLS.items():
        text = text.replace(root, url)
    return text


class LostLeaseError(OSError):
    """This process does not hold the run any more."""


class WorkingCopy:
    """A local directory, and the store whose run it is a copy of."""

    def __init__(self, path: Path, store: Store, *, log_name: str = LOG) -> None:
        """`log_name`: of this process's log in the store, to which no two can append."""
        self.path, self.store = path, store
        self.following = Following(self, log_name=log_name)
        self.lost = ""
        """Who has taken the run over, if somebody has."""
        self.lock = threading.RLock()
        self._known: dict[str, Entry] = {}
        """What was copied, as it was in the store; of time 0 what was written from here."""
        self._pulled_at = 0.0

    @property
    def url(self) -> str:
        """Of the run, without what only says how to get there."""
        return self.store.url.partition("?")[0]

    # What comes from the store.

    def pull(self, prefix: str = "", *, whole: bool = False, without: Collection[str] = ()) -> None:
        """Make the local files below `prefix` those of the store; `whole`: heavy ones too;
        `without`: names of directories right below that are left out.
        """
        with self.lock:
            found = self._complete(self.store.list(prefix))
            wanted = {
                name: entry
                for name, entry in found.items()
                if (whole or (is_own(name) and not is_heavy(name)))
                and name[len(prefix) :].strip("/").partition("/")[0] not in without
            }
            for name in found.keys() - wanted.keys():
                if is_own(name):
                    (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            stale = [name for name, entry in wanted.items() if not self._is_here(name, entry)]
            with ThreadPoolExecutor(N_AT_ONCE) as pool:
                list(pool.map(self._fetch, stale, [wanted[name] for name in stale]))
            gone = [name for name in self._known if is_below(name, prefix) and name not in found]
            for name in gone:
                del self._known[name]
                (self.path / name).unlink(missing_ok=True)
            self._remove_hollow(prefix, found)
            self._pulled_at = time.monotonic()

    def refresh(self, *, every_s: float) -> None:
        """Pull what is light, if that was not done for so long."""
        if time.monotonic() - self._pulled_at >= every_s:
            self.pull()

    def fetch_file(self, name: str) -> None:
        """Make one local file that of the store."""
        with self.lock:
            self._fetch(name, None)

    def clear_incomplete(self) -> None:
        """Remove the directories that a command which was killed has left half done."""
        found = self.store.list("")
        for name in found:
            if name.rpartition("/")[2] == INCOMPLETE and is_own(name):
                self.remove_tree(name.rpartition("/")[0])

    def is_as_copied(self, name: str, mtime_ns: int) -> bool:
        """Whether a local file with this time is still what was copied from the store."""
        entry = self._known.get(name)
        return entry is not None and entry.mtime_ns == mtime_ns

    # What goes to the store.

    def put(self, name: str) -> None:
        """Write a file that was written here."""
        if follows(name):
            return
        with self.lock:
            self._check()
            self._put(name)

    def _put(self, name: str) -> None:
        path = self.path / name
        self.store.put(name, path)
        self._known[name] = Entry(size=path.stat().st_size, mtime_ns=0)

    def put_once(self, name: str, content: bytes) -> bool:
        """Write a file that is not there yet; whether it was this call that wrote it, of any number
        in any process. Else the file is here as another has written it.
        """
        path = self.path / name
        with self.lock:
            self._check()
            if path.is_file():
                return False
            is_mine = lease_object(self.store, name).create(content) is not None
            self._fetch(name, None)
            return is_mine

    def put_directory(self, name: str) -> None:
        """Write a directory that was written here, in the place of all that is there."""
        files = [path for path in (self.path / name).rglob("*") if path.is_file()]
        names = [path.relative_to(self.path).as_posix() for path in files]
        with self.lock:
            self._check()
            with self._marked(name):
                with ThreadPoolExecutor(N_AT_ONCE) as pool:
                    list(pool.map(self._put, names))
                self._remove(set(self.store.list(name)) - {*names, f"{name}/{INCOMPLETE}"})

    def remove(self, name: str) -> None:
        """Remove a file."""
        with self.lock:
            self._check()
            self.following.forget(name)
            self._remove([name])

    def remove_tree(self, name: str) -> None:
        """Remove a directory and all that is in it."""
        with self.lock:
            self._check()
            found = set(self.store.list(name))
            if found:
                with self._marked(name):
                    self._remove(found - {f"{name}/{INCOMPLETE}"})

    def move(self, source: str, target: str) -> None:
        """Move a file or a directory, inside of the store."""
        with self.lock:
            self._check()
            found = self._complete(self.store.list(source))
            if not found or list(found) == [source]:
                if self.store.copy(source, target):
                    self._remove([source])
                return
            names = {name: target + name[len(source) :] for name in found}
            with self._marked(target):
                with ThreadPoolExecutor(N_AT_ONCE) as pool:
                    list(pool.map(self.store.copy, names.keys(), names.values()))
                extra = set(self.store.list(target)) - set(names.values())
                self._remove(extra - {f"{target}/{INCOMPLETE}"})
            for name, entry in found.items():
                self._known.pop(name, None)
                if (self.path / names[name]).is_file():
                    self._known[names[name]] = Entry(size=entry.size, mtime_ns=0)
            self.remove_tree(source)

    def _check(self) -> None:
        if self.lost:
            raise LostLeaseError(5, f"{self.lost} is at work there now", self.url)

    @contextlib.contextmanager
    def _marked(self, name: str) -> Iterator[None]:
        self.store.put(f"{name}/{INCOMPLETE}", b"")
        yield
        self._remove([f"{name}/{INCOMPLETE}"])

    def _remove(self, names: Iterable[str]) -> None:
        names = list(names)
        with ThreadPoolExecutor(N_AT_ONCE) as pool:
            list(pool.map(self.store.delete, names))
        for name in names:
            self._known.pop(name, None)

    @staticmethod
    def _complete(found: Mapping[str, Entry]) -> dict[str, Entry]:
        """Without directories that are half done."""
        marks = [name[: -len(INCOMPLETE)] for name in found if name.endswith(f"/{INCOMPLETE}")]
        return {
            name: entry
            for name, entry in found.items()
            if not any(name.startswith(mark) for mark in marks)
        }

    def _is_here(self, name: str, entry: Entry) -> bool:
        known, path = self._known.get(name), self.path / name
        if known is None or path.name in LEDGER or not path.is_file():
            return False
        if known == Entry(size=entry.size, mtime_ns=0):
            self._known[name] = entry
            return True
        return known == entry and entry.mtime_ns != 0

    def _fetch(self, name: str, entry: Entry | None) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            if not self.store.get_file(name, temporary):
                return
            if entry is not None and entry.mtime_ns:
                os.utime(temporary, ns=(entry.mtime_ns, entry.mtime_ns))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        found = path.stat()
        self._known[name] = Entry(size=found.st_size, mtime_ns=found.st_mtime_ns)

    def _remove_hollow(self, prefix: str, found: Mapping[str, Entry]) -> None:
        """Remove the directories of heavy files that are no longer in the store."""
        folders = {part for name in found for part in folders_of(name)}
        for path in sorted((self.path / prefix).rglob("*"), reverse=True):
            name = path.relative_to(self.path).as_posix()
            is_ours = path.name in HEAVY and path.is_dir() and is_own(name)
            if is_ours and name not in folders and not any(path.iterdir()):
                path.rmdir()


@contextlib.contextmanager
def known(copy: WorkingCopy, *, listens: bool = False) -> Iterator[WorkingCopy]:
    """Within it `kcap_ray.runs.files` knows the copy."""
    root = str(copy.path)
    _COPIES[root], _URLS[root] = copy, copy.url
    try:
        copy.following.start(listens=listens)
        yield copy
    finally:
        copy.following.stop()
        del _COPIES[root]

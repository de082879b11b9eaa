"""A store on this disk, which can be made to fail, and working copies of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyarrow.fs import LocalFileSystem

from kcap_ray.runs.store import Store
from kcap_ray.runs.working_copy import WorkingCopy, known


class Died(BaseException):
    """The process is gone, in the middle of an operation."""


class Disk:
    """A store on this disk, whose calls fail, or whose process dies, when it is told so."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.n_connected = folder, 0
        self.n_calls, self.dies_at = 0, -1
        self.errors: list[OSError] = []
        folder.mkdir(exist_ok=True)

    def store(self, patience_s: float = 5.0) -> Store:
        """What is there."""
        return Store("test://there/run", patience_s=patience_s, connect=self._connect)

    def content(self) -> dict[str, bytes]:
        """Every file of the store."""
        found = self.store()
        return {name: found.get(name) or b"" for name in found.list()}

    def _connect(self, url: str) -> tuple[Any, str]:
        self.n_connected += 1
        return _Calls(self), str(self.folder)

    def called(self) -> None:
        self.n_calls += 1
        if 0 <= self.dies_at <= self.n_calls:
            raise Died  # and does nothing more
        if self.errors:
            raise self.errors.pop()


class _Calls:
    """A file system whose every call is counted."""

    def __init__(self, disk: Disk) -> None:
        self._disk, self._system = disk, LocalFileSystem()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._system, name)
        if name == "type_name":
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            self._disk.called()
            return found(*arguments, **named)

        return call


@contextmanager
def copy_on(disk: Disk, folder: Path) -> Iterator[WorkingCopy]:
    """A new copy of what is there, without a thread."""
    folder.mkdir()
    copy = WorkingCopy(folder, disk.store())
    copy.pull(whole=True)
    copy.start = lambda **_: None  # type: ignore[method-assign]
    with known(copy):
        yield copy


def local_files(folder: Path) -> dict[str, bytes]:
    """Every file below it, by its name there."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}

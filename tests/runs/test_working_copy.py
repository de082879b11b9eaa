"""What a working copy does is in the store; a process that dies anywhere leaves nothing half."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyarrow.fs import LocalFileSystem

from kcap_ray.config.errors import UserError
from kcap_ray.runs import files
from kcap_ray.runs.files import move, remove, remove_tree, replaced_directory, write_atomically
from kcap_ray.runs.interrupt import ask_to_save
from kcap_ray.runs.lease import Lease, held
from kcap_ray.runs.lease_object import NAME, PlainObject
from kcap_ray.runs.manifest import only_driver
from kcap_ray.runs.opening import TOKEN, RunPlace, UnsharedError, opened
from kcap_ray.runs.progress import is_worked_in
from kcap_ray.runs.results import RunDirectory
from kcap_ray.runs.store import Store, StoreError, local_path, tried, url_of
from kcap_ray.runs.systems import REFUSED
from kcap_ray.runs.working_copy import WorkingCopy, copy_of, known, with_urls


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


CELL = "cells/a"
WEIGHTS = "model.safetensors"


def write_directory(place: Path, content: str) -> None:
    """A directory of two files, which belong together."""
    with replaced_directory(place) as folder:
        for name in (WEIGHTS, "cell.json"):
            (folder / name).write_text(f"{content} of {name}")


OPERATIONS: list[Callable[[Path], object]] = [
    lambda run: write_atomically(run / CELL / "trials.jsonl", "one"),
    lambda run: write_directory(run / CELL / "checkpoint", "first"),
    lambda run: write_atomically(run / CELL / "trials.jsonl", "one, two"),
    lambda run: write_directory(run / CELL / "checkpoint", "second"),
    lambda run: write_directory(run / CELL / "parts" / "trial4" / "checkpoint", "ahead"),
    lambda run: write_atomically(run / CELL / "parts" / "trial4" / "trials.jsonl", "ahead"),
    lambda run: remove_tree(run / CELL / "checkpoint"),
    lambda run: move(run / CELL / "parts" / "trial4" / "checkpoint", run / CELL / "checkpoint"),
    lambda run: remove_tree(run / CELL / "parts" / "trial4"),
    lambda run: write_atomically(run / CELL / "result.json", "{}"),
    lambda run: remove(run / CELL / "result.json"),
]


def states_of(folder: Path) -> list[dict[str, bytes]]:
    """What is there after none, one, two ... of the operations, on a local disk."""
    folder.mkdir()
    states: list[dict[str, bytes]] = [{}]
    for operation in OPERATIONS:
        operation(folder)
        states.append(local_files(folder))
    return states


def test_the_store_has_what_a_local_disk_would_have(tmp_path: Path) -> None:
    """After every operation, and a new copy of it too."""
    states, disk = states_of(tmp_path / "local"), Disk(tmp_path / "there")
    with copy_on(disk, tmp_path / "copy") as copy:
        for operation, state in zip(OPERATIONS, states[1:], strict=True):
            operation(copy.path)
            assert local_files(copy.path) == state
            assert disk.content() == state
    with copy_on(disk, tmp_path / "second") as copy:
        assert local_files(copy.path) == states[-1]


def test_a_process_that_dies_at_any_call_leaves_every_file_and_directory_whole(
    tmp_path: Path,
) -> None:
    """The next copy has of each directory what was there before the operation, or after it, or,
    where it is replaced, nothing; and never files of two.
    """
    states, whole = states_of(tmp_path / "local"), Disk(tmp_path / "whole")
    ends_at: list[int] = []
    with copy_on(whole, tmp_path / "copy") as copy:
        whole.n_calls = 0
        for operation in OPERATIONS:
            operation(copy.path)
            ends_at.append(whole.n_calls)
    for dies_at in range(1, ends_at[-1] + 1):
        disk = Disk(tmp_path / f"there{dies_at}")
        with copy_on(disk, tmp_path / f"copy{dies_at}") as copy, pytest.raises(Died):
            disk.n_calls, disk.dies_at = 0, dies_at
            for operation in OPERATIONS:
                operation(copy.path)
        disk.dies_at = -1
        n_done = next(i for i, end in enumerate(ends_at) if end >= dies_at)
        before, after = states[n_done], states[n_done + 1]
        with copy_on(disk, tmp_path / f"next{dies_at}") as copy:
            found = local_files(copy.path)
            for name, content in found.items():
                assert content in (before.get(name), after.get(name)), (dies_at, name)
            for place in {name.rpartition("/")[0] for name in found if "checkpoint" in name}:
                own = {name: one for name, one in found.items() if name.startswith(f"{place}/")}
                whole_ones = [
                    {name: one for name, one in state.items() if name.startswith(f"{place}/")}
                    for state in (before, after)
                ]
                assert own in whole_ones, (dies_at, place)
            # What is half done goes, and the store can be worked on.
            copy.clear_incomplete()
            for operation in OPERATIONS[:6]:
                operation(copy.path)
            assert local_files(copy.path).items() >= states[6].items()


def test_what_others_wrote_and_removed_is_seen(tmp_path: Path) -> None:
    """A driver pulls a cell when its program has ended; heavy files stay where they are."""
    disk = Disk(tmp_path / "there")
    with copy_on(disk, tmp_path / "driver") as driver, copy_on(disk, tmp_path / "worker") as worker:
        write_atomically(worker.path / CELL / "trials.jsonl", "one")
        write_atomically(worker.path / CELL / "error.txt", "a moment ago")
        write_directory(worker.path / CELL / "checkpoint", "first")
        files.refresh(driver.path / CELL)
        assert (driver.path / CELL / "trials.jsonl").read_text() == "one"
        place = driver.path / CELL / "checkpoint"
        assert place.is_dir() and not list(place.iterdir())
        remove(worker.path / CELL / "error.txt")
        # Of the same size and within the same second.
        write_atomically(worker.path / CELL / "trials.jsonl", "two")
        files.refresh(driver.path / CELL)
        assert not (driver.path / CELL / "error.txt").exists()
        assert (driver.path / CELL / "trials.jsonl").read_text() == "two"
        # A directory that is empty here moves with all that it has there.
        move(place, driver.path / CELL / "parts" / "b" / "checkpoint")
        moved = disk.content()
        assert moved[f"{CELL}/parts/b/checkpoint/{WEIGHTS}"] == f"first of {WEIGHTS}".encode()
        assert f"{CELL}/checkpoint/{WEIGHTS}" not in moved
        files.fetch(driver.path / CELL / "parts" / "b")
        assert (driver.path / CELL / "parts" / "b" / "checkpoint" / WEIGHTS).is_file()


def test_only_what_is_of_a_run_is_copied(tmp_path: Path) -> None:
    """Somebody's files beside it are not read, moved or removed."""
    disk = Disk(tmp_path / "there")
    disk.store().put("somebody/data.bin", b"1")
    disk.store().put("sweep.yaml", b"name: small")
    folder = tmp_path / "copy"
    folder.mkdir()
    copy = WorkingCopy(folder, disk.store())
    copy.pull()
    copy.clear_incomplete()
    assert local_files(folder) == {"sweep.yaml": b"name: small"}
    assert "somebody/data.bin" in disk.content()


def test_what_fails_is_tried_again_with_a_new_connection(tmp_path: Path) -> None:
    """So credentials that were renewed meanwhile are read."""
    disk = Disk(tmp_path / "there")
    store = disk.store()
    disk.errors = [OSError("AWS Error UNKNOWN (HTTP status 400): ExpiredToken")] * 3
    store.put("a", b"1")
    assert store.get("a") == b"1"
    assert disk.n_connected == 4 and store.n_retries == 3


def test_what_fails_for_too_long_is_one_line_about_the_url(tmp_path: Path) -> None:
    """In the words of the store, without what the library says around them."""
    disk = Disk(tmp_path / "there")
    words = (
        "When uploading part for key 'x' in bucket 'b': AWS Error ACCESS_DENIED: no (Request ID: 7)"
    )
    disk.errors = [OSError(words)] * 99
    with pytest.raises(StoreError) as raised:
        disk.store(patience_s=0.3).put("x", b"1")
    assert raised.value.strerror == f"AWS Error ACCESS_DENIED: no; {REFUSED}"
    assert raised.value.filename == "test://there/run/x"
    assert disk.n_connected > 1
    disk.errors, disk.n_connected = [OSError("AWS Error NO_SUCH_BUCKET during PutObject")], 0
    with pytest.raises(StoreError):
        disk.store().put("x", b"1")
    assert disk.n_connected == 1


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("s3://b/run/", "s3://b/run"),
        (Path("s3://b/run"), "s3://b/run"),
        ("gs://b/run?x=1", "gs://b/run?x=1"),
        ("memory://run", "memory://run"),
        ("runs/s3", None),
        ("/data/run", None),
        ("file:///data/run", None),
        ("C:/runs", None),
    ],
)
def test_urls_and_paths_are_told_apart(given: str | Path, url: str | None) -> None:
    """A path that lost a slash is still a URL; a drive is none."""
    assert url_of(given) == url


def test_a_file_url_is_a_path() -> None:
    """As pyarrow has it."""
    assert local_path("file:///data/run") == Path("/data/run")


def test_no_folder_is_named_after_a_scheme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a URL gets to that should have been opened."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="URL"):
        RunDirectory(Path("s3://b/run")).prepare()
    with pytest.raises(OSError, match="URL"):
        write_atomically(Path("s3://b/run/file"), "text")
    assert not list(tmp_path.iterdir())


def test_a_run_in_memory_is_opened_by_fsspec() -> None:
    """Any scheme that pyarrow or fsspec has; what is written in one copy is in the next."""
    with opened("memory://kcap-test/run") as path:
        write_atomically(path / "sweep.yaml", "name: small")
        assert with_urls(f"in {path}") == "in memory://kcap-test/run"
    with opened("memory://kcap-test/run") as path:
        assert (path / "sweep.yaml").read_text() == "name: small"
    assert copy_of(path) is None and not path.exists()
    with pytest.raises(UserError, match="nothing://run"), opened("nothing://run"):
        pass


def test_a_request_to_save_reaches_another_copy(tmp_path: Path) -> None:
    """As a file that is touched."""
    disk = Disk(tmp_path / "there")
    with copy_on(disk, tmp_path / "driver") as driver, copy_on(disk, tmp_path / "worker") as worker:
        worker.following.take_request()
        ask_to_save(RunDirectory(driver.path))
        worker.following._look_for_request()
        first = (worker.path / ".save").stat().st_mtime_ns
        worker.following._look_for_request()
        assert (worker.path / ".save").stat().st_mtime_ns == first
        ask_to_save(RunDirectory(driver.path))
        worker.following._look_for_request()
        assert (worker.path / ".save").stat().st_mtime_ns > first


def test_what_is_only_looked_at_follows(tmp_path: Path) -> None:
    """Progress and event files; what came from the store is not sent back."""
    disk = Disk(tmp_path / "there")
    with copy_on(disk, tmp_path / "driver") as driver, copy_on(disk, tmp_path / "worker") as worker:
        write_atomically(worker.path / CELL / "progress.json", "{}")
        assert f"{CELL}/progress.json" not in disk.content()
        worker.following._send()
        assert disk.content()[f"{CELL}/progress.json"] == b"{}"
        driver.fetch_file(f"{CELL}/progress.json")
        n_calls = disk.n_calls
        driver.following._send(is_last=True)
        assert disk.n_calls == n_calls


def test_who_lost_the_lease_writes_nothing(tmp_path: Path) -> None:
    """And ends with one line, which names who has it."""
    disk = Disk(tmp_path / "there")
    with copy_on(disk, tmp_path / "copy") as copy:
        copy.lost = "process 1 on other"
        for write in (
            lambda: write_atomically(copy.path / "sweep.yaml", "x"),
            lambda: remove(copy.path / "sweep.yaml"),
            lambda: remove_tree(copy.path / "cells"),
            lambda: write_directory(copy.path / CELL / "checkpoint", "x"),
        ):
            with pytest.raises(OSError, match="process 1 on other"):
                write()
        assert disk.content() == {}


def test_two_drivers_of_one_store_are_kept_apart(tmp_path: Path) -> None:
    """The second is refused while the first holds the run, and begins when that has ended."""
    disk = Disk(tmp_path / "there")
    place = PlainObject(disk.store(), settle_s=0.0)
    with copy_on(disk, tmp_path / "copy") as copy:
        with held(Lease(place, copy.url, on_lost=lambda _: None)):
            assert is_worked_in(copy.path)
            with pytest.raises(UserError, match="another kcap is at work"), only_driver(copy.path):
                pass
        assert not is_worked_in(copy.path)
        assert NAME in disk.content()


def test_a_node_that_does_not_see_the_directory_says_so(tmp_path: Path) -> None:
    """It sees none, or another; a session of this machine alone asks for nothing."""
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    with RunPlace.of(run).opened() as directory:
        assert directory == run
    (run.path / TOKEN).write_text("token")
    place = RunPlace.of(run)
    with place.opened() as directory:
        assert directory == run
    for what in ("another", None):
        if what is None:
            (run.path / TOKEN).unlink()
        else:
            (run.path / TOKEN).write_text(what)
        with pytest.raises(UnsharedError, match=r"node .* does not see"), place.opened():
            pass


def test_a_random_run_of_operations_ends_alike(tmp_path: Path) -> None:
    """In any order, on a local disk and in a store."""
    chance, disk = random.Random(0), Disk(tmp_path / "there")
    with copy_on(disk, tmp_path / "copy") as copy:
        local = tmp_path / "local"
        local.mkdir()
        for operation in chance.choices(OPERATIONS, k=60):
            for run in (local, copy.path):
                # A move of what is not there.
                try:
                    operation(run)
                except OSError:
                    assert operation is OPERATIONS[7]
            assert disk.content() == local_files(local) == local_files(copy.path)


def test_a_store_that_fails_for_long_is_named_in_the_log_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise five minutes would pass without a word."""
    now = [0.0]
    monkeypatch.setattr("kcap_ray.runs.store.time.monotonic", lambda: now[0])

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr("kcap_ray.runs.store.time.sleep", sleep)

    def once() -> int:
        if now[0] < 60:
            raise OSError(5, "slow down")
        return 7

    with caplog.at_level("WARNING"):
        assert tried(once, "s3://b/r", patience_s=300) == 7
    assert [record.message for record in caplog.records] == [
        "s3://b/r: slow down; it is tried again"
    ]

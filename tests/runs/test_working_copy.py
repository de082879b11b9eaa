"""What a working copy does is in the store; a process that dies anywhere leaves nothing half."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kcap_ray.config.errors import UserError
from kcap_ray.runs import files, following
from kcap_ray.runs.files import move, remove, remove_tree, replaced_directory, write_atomically
from kcap_ray.runs.interrupt import ask_to_save
from kcap_ray.runs.lease import Lease, held
from kcap_ray.runs.lease_object import NAME, PlainObject
from kcap_ray.runs.manifest import only_driver
from kcap_ray.runs.progress import is_worked_in
from kcap_ray.runs.results import RunDirectory
from kcap_ray.runs.working_copy import WorkingCopy
from tests.runs.disk import Died, Disk, copy_on, local_files

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


def test_a_request_that_cannot_be_written_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk that is full for a moment; the thread goes on."""
    monkeypatch.setattr(following, "FOLLOWS_EVERY_S", 0.01)
    disk, n_tries, wait = Disk(tmp_path / "there"), 0, time.monotonic() + 10
    write = Path.write_bytes

    def full_at_first(path: Path, content: bytes) -> int:
        nonlocal n_tries
        if path == tmp_path / "worker" / ".save":
            n_tries += 1
            if n_tries < 3:
                raise OSError("no space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full_at_first)
    with copy_on(disk, tmp_path / "driver") as driver, copy_on(disk, tmp_path / "worker") as worker:
        worker.following._listens = True
        ask_to_save(RunDirectory(driver.path))
        while not (worker.path / ".save").exists() and time.monotonic() < wait:
            time.sleep(0.01)
    assert (tmp_path / "worker" / ".save").exists()


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

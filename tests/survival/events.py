"""What happens to a run in one process: each event takes a scene, does its harm at a time or place
that the scene's chance chooses, and says in a few words what it did. The same command follows.
"""

import os
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from tests.survival.places import READ_ONLY, REMOUNT, in_namespace, mount_memory
from tests.survival.scene import SINGLE, Scene, finish

Event = Callable[[Scene], str]
OLD_RUNS = Path(__file__).parent / "old_runs"


def _ended_by(number: signal.Signals) -> Event:
    def event(scene: Scene) -> str:
        """The command gets a signal at any time."""
        scale = 1.0
        while True:
            after_s = scene.chance.uniform(0.0, scene.takes_s) * scale
            pid = scene.start()
            time.sleep(after_s)
            os.kill(pid, number)
            status = finish(pid)
            if status != 0:
                break
            scale /= 2  # it was quicker than that
            scene.fresh()
        if number == signal.SIGKILL:
            assert status == -signal.SIGKILL, (status, scene.said)
        else:
            # Before Python's own handlers are there, the kernel ends it.
            assert status in (130, -number), (status, scene.said)
        if not scene.said.strip():
            assert not scene.out.exists(), "it was not yet a command"
        elif status == 130:
            end = "stopped; the same command goes on from here"
            assert scene.said.rstrip().endswith(end), scene.said
        assert "Traceback" not in scene.said, scene.said
        return f"{number.name} after {after_s:.2f} s"

    return event


def _begun(scene: Scene) -> None:
    """A run that is finished, or was killed at any time; some file is there."""
    if scene.chance.random() < 0.3:
        scene.run()
        return
    while True:
        pid = scene.start()
        time.sleep(scene.chance.uniform(0.2, 1.0) * scene.takes_s)
        os.kill(pid, signal.SIGKILL)
        finish(pid)
        if _files(scene):
            return


def _files(scene: Scene) -> list[Path]:
    """Files of the run that hold something, of each cell and of the run as likely as another."""
    found = (path for path in scene.out.rglob("*") if path.is_file() and path.stat().st_size)
    return sorted(found)


def _harm(harm: Callable[[Scene, Path], str]) -> Event:
    def event(scene: Scene) -> str:
        """Some of the files of a run are changed while no command is at work."""
        _begun(scene)
        files = _files(scene)
        chosen = scene.chance.sample(files, min(len(files), scene.chance.randint(1, 3)))
        done = [f"{path.relative_to(scene.out)} {harm(scene, path)}" for path in chosen]
        return "; ".join(done)

    return event


def _tear(scene: Scene, path: Path) -> str:
    kept = scene.chance.randrange(path.stat().st_size)
    os.truncate(path, kept)
    return f"torn at {kept}"


def _flip(scene: Scene, path: Path) -> str:
    content = bytearray(path.read_bytes())
    at, bit = scene.chance.randrange(len(content)), scene.chance.randrange(8)
    content[at] ^= 1 << bit
    path.write_bytes(content)
    return f"flipped at {at}"


def _delete(scene: Scene, path: Path) -> str:
    path.unlink()
    return "deleted"


def _replace(scene: Scene, path: Path) -> str:
    """By another file of the run, of the same name where there is one, or by other JSON."""
    others = [other for other in _files(scene) if other != path]
    namesakes = [other for other in others if other.name == path.name]
    if namesakes or (others and scene.chance.random() < 0.5):
        other = scene.chance.choice(namesakes or others)
        shutil.copyfile(other, path)
        return f"replaced by {other.relative_to(scene.out)}"
    content = scene.chance.choice(["[]", "{}", "1", "null", '"text"', "[" * 5_000, "1" * 5_000])
    path.write_text(content)
    return f"replaced by {content[:8]}"


def _directory(scene: Scene) -> str:
    """A directory lies in a file's place until the user, whom the command tells so, moves it."""
    _begun(scene)
    path = scene.chance.choice(_files(scene))
    path.unlink()
    path.mkdir()
    status = scene.run()
    assert status in (0, 1, 2), scene.said
    assert "Traceback" not in scene.said, scene.said
    if status != 0:
        assert path.name in scene.said
    if path.is_dir():
        path.rmdir()
    return f"{path.relative_to(scene.out)} is a directory (exit status {status})"


def _full_disk(scene: Scene) -> str:
    """A file system that gets full at any time of the run; later there is room again."""
    room = scene.chance.randint(0, 250_000)
    scene.out.mkdir()

    def act() -> None:
        mount_memory(scene.out, 4 * 2**20)
        ballast = scene.out / "ballast"
        free = shutil.disk_usage(scene.out).free
        ballast.write_bytes(bytes(max(0, free - room)))
        status = scene.run()
        assert status in (0, 1, 2), scene.said
        assert "Traceback" not in scene.said, scene.said
        if status != 0:
            assert "No space left" in scene.said
        ballast.unlink()
        scene.check()

    in_namespace(act)
    scene.fresh()
    scene.run()
    return f"room for {room} bytes"


def _read_only(scene: Scene) -> str:
    """The file system of a run becomes read-only while the command is at work."""
    after_s = scene.chance.uniform(0.0, scene.takes_s)
    scene.out.mkdir()

    def act() -> None:
        mount_memory(scene.out, 16 * 2**20)
        pid = scene.start()
        time.sleep(after_s)
        for _ in range(500):  # not while a file is open for writing
            try:
                mount_memory(scene.out, 16 * 2**20, flags=REMOUNT | READ_ONLY)
                break
            except OSError:
                time.sleep(0.01)
        status = finish(pid)
        assert status in (0, 1, 2), scene.said
        assert "Traceback" not in scene.said, scene.said
        if status != 0:
            assert "Read-only" in scene.said
        mount_memory(scene.out, 16 * 2**20, flags=REMOUNT)
        scene.check()

    in_namespace(act)
    scene.fresh()
    scene.run()
    return f"read-only after {after_s:.2f} s"


def _two_commands(scene: Scene) -> str:
    """A second command is refused; what the first one did is not touched."""
    first = scene.start()
    end = time.monotonic() + 60
    while not (scene.out / "cells.json").exists() and time.monotonic() < end:
        time.sleep(0.01)
    after_s = scene.chance.uniform(0.0, 0.5) * scene.takes_s
    time.sleep(after_s)
    status = scene.run()
    if status != 0:
        assert status == 2, scene.said
        assert "another kcap is at work" in scene.said
    assert finish(first) == 0
    return f"a second one after {after_s:.2f} s (exit status {status})"


def _clock_back(scene: Scene) -> str:
    """The clock is set back by days at any time of the run."""
    after_s = scene.chance.uniform(0.0, scene.takes_s)
    back_s = scene.chance.choice([60.0, 3_600.0, 30 * 86_400.0])

    def before() -> None:
        real, began = time.time, time.monotonic()
        time.time = lambda: real() - (back_s if time.monotonic() - began > after_s else 0.0)

    assert scene.run(before) == 0, scene.said
    _begun(scene)
    return f"back by {back_s:.0f} s after {after_s:.2f} s"


def _few_files(scene: Scene) -> str:
    """The process may open a few files only."""
    limit = scene.chance.randint(6, 14)  # fewer do not let Python import what it is made of

    def before() -> None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))

    status = scene.run(before)
    assert status in (0, 1, 2), scene.said
    assert "Traceback" not in scene.said, scene.said
    return f"at most {limit} open files (exit status {status})"


def _failed_thrice(scene: Scene) -> str:
    """A cell was given up for want of disk or memory: it counts as failed for good no longer."""
    from kcap_ray.execution.cell import fail_cell
    from kcap_ray.runs.manifest import read_cells
    from kcap_ray.runs.results import RunDirectory

    _begun(scene)
    run = RunDirectory(scene.out)
    cell = scene.chance.choice(read_cells(scene.out))
    fail_cell(cell, run.cell(cell.cell_id), sweep="small", reason="failed 3 times")
    run.cell(cell.cell_id).error_file.write_text("OSError: No space left on device")
    return f"{cell.cell_id} failed 3 times"


KEPT = ("stored_bits", "capacity_ratio", "lr", "weight_decay", "n_params", "steps", "tokens")
"""Columns of an earlier version that mean what they mean today."""


def _earlier_version(scene: Scene) -> str:
    """A run that an earlier commit began, one of its two cells done, is gone on with; the command
    may be killed on the way.
    """
    commit = scene.chance.choice(sorted(path.name for path in OLD_RUNS.iterdir()))
    scene.sweep = SINGLE
    assert scene.run() == 0, scene.said
    fresh = scene.table()
    scene.fresh()
    shutil.copytree(OLD_RUNS / commit, scene.out)
    before = pq.read_table(scene.out / "results.parquet").to_pylist()[0]
    if scene.chance.random() < 0.5:
        pid = scene.start()
        time.sleep(scene.chance.uniform(0.0, 0.5) * scene.takes_s)
        os.kill(pid, signal.SIGKILL)
        finish(pid)
    assert scene.run() == 0, scene.said
    first, second = scene.expected = scene.table()
    assert {name: first[name] for name in KEPT} == {name: before[name] for name in KEPT}
    assert second == fresh[1]
    return f"of commit {commit}"


EVENTS: dict[str, Event] = {
    "command killed": _ended_by(signal.SIGKILL),
    "command terminated": _ended_by(signal.SIGTERM),
    "command interrupted": _ended_by(signal.SIGINT),
    "files torn": _harm(_tear),
    "files with a flipped bit": _harm(_flip),
    "files deleted": _harm(_delete),
    "files replaced": _harm(_replace),
    "directory in a file's place": _directory,
    "full disk": _full_disk,
    "read-only disk": _read_only,
    "two commands": _two_commands,
    "clock set back": _clock_back,
    "few open files": _few_files,
    "cell given up": _failed_thrice,
    "directory of an earlier version": _earlier_version,
}
NEEDS_MOUNT = ("full disk", "read-only disk")

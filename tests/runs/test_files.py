import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kcap_ray.runs.files import (
    is_locked,
    locked,
    replaced,
    replaced_directory,
    write_atomically,
)
from kcap_ray.runs.manifest import only_driver


def no_room(*_: object, **__: object) -> None:
    """What a full disk does."""
    raise OSError("No space left on device")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Nobody ever reads half a file, at whatever moment the disk or the process ends."""
    path = tmp_path / "result.json"
    write_atomically(path, "old")
    monkeypatch.setattr(os, step, no_room)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_written_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a machine that loses its power may have the name and not the content."""
    steps: list[str] = []
    for step in ("fsync", "replace"):
        own = getattr(os, step)

        def note(*values: object, own=own, step=step) -> None:
            steps.append(step)
            own(*values)

        monkeypatch.setattr(os, step, note)
    write_atomically(tmp_path / "new folder" / "file", b"content")
    with replaced_directory(tmp_path / "weights") as directory:
        (directory / "a").write_text("a")
        (directory / "inner").mkdir()
        (directory / "inner" / "b").write_text("b")
    assert steps == ["fsync", "replace", "fsync", "fsync", "replace"]


def test_the_file_before_is_kept_where_it_is_asked_for(tmp_path: Path) -> None:
    """Once there is a new one, and not before."""
    path, before = tmp_path / "state", tmp_path / "state.before"
    for text in ("first", "second"):
        with replaced(path, before=before) as temporary:
            temporary.write_text(text)
    with pytest.raises(OSError, match="No space"), replaced(path, before=before):
        no_room()
    assert (path.read_text(), before.read_text()) == ("second", "first")


def test_a_directory_is_replaced_whole(tmp_path: Path) -> None:
    """Nothing of the old one stays in the new one, and a failed one leaves the old one alone."""
    path = tmp_path / "checkpoint"
    for name in ("old", "new"):
        with replaced_directory(path) as directory:
            (directory / name).write_text(name)
    with pytest.raises(OSError, match="No space"), replaced_directory(path) as directory:
        (directory / "newer").write_text("")
        no_room()
    assert [file.name for file in path.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    """However that ends; until then it is locked for all others, and asking does not take it."""
    path = tmp_path / "lock"
    code = (
        "import os, sys, pathlib; from kcap_ray.runs.files import locked\n"
        f"with locked(pathlib.Path({str(path)!r})):\n"
        "    print('has it', flush=True); sys.stdin.read(1); os._exit(9)"
    )
    with pytest.raises(FileNotFoundError):
        is_locked(path)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert is_locked(path) and is_locked(path)
        with pytest.raises(TimeoutError, match="lock"), locked(path, wait_s=0):
            pass
        other.communicate("q")
    assert not is_locked(path)
    with locked(path, wait_s=0):
        assert is_locked(path)


@pytest.mark.slow
def test_a_full_disk_is_the_disks_error_whoever_writes(tmp_path: Path) -> None:
    """Libraries make errors of their own of it, which would be shown as defects of kcap."""
    code = f"""
import pathlib, resource, signal
import pyarrow, pyarrow.parquet, safetensors.torch, torch
from kcap_ray.runs.files import replaced
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
tensors = {{"a": torch.arange(3_000.0)}}
writers = {{
    "torch": lambda path: torch.save(tensors, path.open("wb")),
    "safetensors": lambda path: safetensors.torch.save_file(tensors, path),
    "parquet": lambda path: pyarrow.parquet.write_table(
        pyarrow.table({{"a": tensors["a"].numpy()}}), path
    ),
}}
for library, write in writers.items():
    try:
        with replaced(pathlib.Path({str(tmp_path)!r}) / "file") as temporary:
            write(temporary)
    except OSError as error:
        print(library, error.errno)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    libraries = ("torch", "safetensors", "parquet")
    assert done.stdout.splitlines() == [f"{name} {errno.EFBIG}" for name in libraries], done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_killed_commands_left_is_removed(tmp_path: Path) -> None:
    """Files and directories under the names that kcap gives; nobody else's."""
    cell = tmp_path / "cells" / "one"
    (cell / "checkpoint.0123abcd.tmp").mkdir(parents=True)
    (cell / "checkpoint.0123abcd.tmp" / "model.safetensors").touch()
    (cell / "result.json.4711.tmp").touch()
    kept = [cell / "mine.tmp", cell / "result.json"]
    for path in kept:
        path.touch()
    own = [
        tmp_path / f"{name}.0123abcd.tmp" for name in ("cells.json", "extraction.json", ".shared")
    ]
    for path in own:
        path.touch()
    # A run directory may be anybody's home.
    others = [tmp_path / "data" / "log.20241231.tmp", tmp_path / "notes.0123abcd.tmp"]
    others[0].parent.mkdir()
    for path in others:
        path.touch()
    with only_driver(tmp_path):  # whatever the command
        assert sorted(cell.iterdir()) == kept
    assert all(path.exists() for path in others)
    assert not any(path.exists() for path in own)


def test_an_error_names_the_path_and_not_its_temporary_name(tmp_path: Path) -> None:
    """A directory lies in the file's place."""
    (tmp_path / "table").mkdir()
    with pytest.raises(IsADirectoryError) as raised:
        write_atomically(tmp_path / "table", "text")
    assert raised.value.filename == str(tmp_path / "table")

"""Ctrl-C and SIGTERM: first what is at work is saved."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from kcap_ray.runs import interrupt
from kcap_ray.runs.interrupt import REQUEST, request_file, saves_first
from kcap_ray.runs.results import RunDirectory
from tests.tiny import tiny_cell

CELLS = [tiny_cell(seed=seed) for seed in (1, 2)]


def sleep_until_stopped() -> None:
    """Stands for the work."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        time.sleep(0.01)
    raise AssertionError("nothing stopped the work")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_ends_when_what_is_at_work_is_saved(tmp_path: Path, number: int) -> None:
    """The cell that nobody works on is not waited for; handlers are as before afterwards."""
    run = RunDirectory(tmp_path)
    run.prepare()
    place = run.cell(CELLS[0].cell_id)
    place.resume_file(0).parent.mkdir(parents=True)
    place.resume_file(0).write_text("of long ago")
    os.utime(place.resume_file(0), (1, 1))
    place.progress_file.write_text("{}")

    def save_when_asked() -> None:
        while not request_file(place).exists():
            time.sleep(0.01)
        time.sleep(0.3)
        place.resume_file(0).write_text("saved")

    before = signal.getsignal(number)
    trainer = threading.Thread(target=save_when_asked)
    trainer.start()
    with pytest.raises(KeyboardInterrupt), saves_first(CELLS, run):
        os.kill(os.getpid(), number)
        sleep_until_stopped()
    assert place.resume_file(0).read_text() == "saved"
    assert request_file(place) == tmp_path / REQUEST
    assert signal.getsignal(number) == before
    trainer.join()


def test_a_second_one_ends_it_at_once(tmp_path: Path) -> None:
    """Though what is at work has not been saved."""
    run = RunDirectory(tmp_path)
    run.prepare()
    place = run.cell(CELLS[0].cell_id)
    place.path.mkdir()
    place.progress_file.write_text("{}")
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), saves_first(CELLS, run):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGTERM)
        sleep_until_stopped()
    assert time.monotonic() - began < 5


def test_a_command_ends_though_its_directory_cannot_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that is gone is a reason to be stopped."""

    def gone(*_: object) -> None:
        raise OSError("stale file handle")

    monkeypatch.setattr(interrupt, "_wait_until_saved", gone)
    run = RunDirectory(tmp_path)
    run.prepare()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), saves_first(CELLS, run):
        os.kill(os.getpid(), signal.SIGTERM)
        sleep_until_stopped()
    assert time.monotonic() - began < 10

"""Event files as TensorBoard itself reads them."""

import sys
from pathlib import Path

import pytest

from kcap_ray.tracking.tensorboard import EventFiles

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def losses(path: Path) -> list[tuple[int, float]]:
    """Step and loss of every point that TensorBoard shows of a trial."""
    found = accumulator.EventAccumulator(str(path))
    found.Reload()
    return [(event.step, event.value) for event in found.Scalars("loss")]


def test_each_trial_is_a_run_of_its_own(tmp_path: Path) -> None:
    """With every scalar of every step."""
    files = EventFiles(tmp_path, range(3, 5))
    for step in (1, 2):
        files.add(step, [{"loss": step / 2}, {"loss": step / 4}])
    files.close()
    assert losses(tmp_path / "trial3") == [(1, 0.5), (2, 1.0)]
    assert losses(tmp_path / "trial4") == [(1, 0.25), (2, 0.5)]


def test_a_program_that_was_killed_leaves_no_second_curve(tmp_path: Path) -> None:
    """It goes on from a checkpoint, and takes the steps behind that again."""
    killed = EventFiles(tmp_path, [0])
    for step in (10, 20, 30, 40):
        killed.add(step, [{"loss": 8.0}])
    killed.flush()
    resumed = EventFiles(tmp_path, [0])
    for step in (30, 40, 50):
        resumed.add(step, [{"loss": 4.0}])
    resumed.close()
    killed.close()
    assert losses(tmp_path / "trial0") == [(10, 8.0), (20, 8.0), (30, 4.0), (40, 4.0), (50, 4.0)]


def test_a_place_that_cannot_be_written_ends_the_logging_alone(tmp_path: Path) -> None:
    """Whoever trains is told once, at the end, and is not disturbed."""
    (tmp_path / "trial0").write_text("a file in the way")
    files = EventFiles(tmp_path, [0])
    files.add(1, [{"loss": 1.0}])
    assert isinstance(files.error, OSError)
    files.add(2, [{"loss": 1.0}])
    files.close()


def test_a_package_that_is_missing_ends_the_logging_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lost a run on a GPU where kcap trained without Ray, which brings the package."""
    monkeypatch.setitem(sys.modules, "tensorboardX.event_file_writer", None)
    files = EventFiles(tmp_path, [0])
    files.add(1, [{"loss": 1.0}])
    assert isinstance(files.error, ImportError)
    files.close()

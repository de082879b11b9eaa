import dataclasses
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import kcap_ray.execution.placement
import kcap_ray.execution.trial
import kcap_ray.execution.trial_batch
from kcap_ray.config.cell import Cell, Range, TuneConfig
from kcap_ray.config.errors import UserError
from kcap_ray.execution.cell import run_cell
from kcap_ray.execution.cell_run import CellRun
from kcap_ray.execution.placement import USABLE, Placement, saved_placement
from kcap_ray.execution.trial_batch import run_trial_batch
from kcap_ray.planning.memory import program_bytes
from kcap_ray.planning.run_length import length_of, spec_of
from kcap_ray.runs.record import TrialRecord
from kcap_ray.runs.results import CellDirectory
from kcap_ray.runs.schema import Record
from kcap_ray.training.cpu_timing import MeasuredArithmetic
from kcap_ray.training.loop import Progress
from kcap_ray.training.point import Point
from tests.rounding import about
from tests.tiny import tiny_cell

CPU = torch.device("cpu")
TUNE = TuneConfig(trials=5, lr=Range(low=1e-3, high=1e-2), fused=4)
CELL = tiny_cell(exposures=4, batch_windows=4, tune=TUNE)
POINTS = [Point(lr=lr, weight_decay=0.1) for lr in (1e-3, 3e-3, 6e-3, 1e-2, 2e-2)]
DIFFERS = ("train_time_s", "measure_time_s", "tokens_per_s")
IN_PARTS = (*DIFFERS, "n_trials_fused")


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def directory(tmp_path: Path) -> CellDirectory:
    """The directory of a cell that has not started."""
    return CellDirectory(tmp_path / "cell")


@pytest.fixture
def room_for(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretends that there is memory for so many trials, or for so many windows of one."""

    def set_room(n_trials: int, n_windows: int = 4) -> None:
        need = program_bytes(CELL, spec_of(CELL), n_trials=n_trials, n_windows=n_windows)
        available = math.ceil(need / USABLE)
        monkeypatch.setattr(
            kcap_ray.execution.trial_batch, "available_bytes", lambda *_, **__: available
        )

    return set_room


def run(directory: CellDirectory, **options: Any) -> list[TrialRecord]:
    """The records of a round of all points."""
    return run_trial_batch(here(directory, **options), POINTS, first_trial=0)


def here(directory: CellDirectory, **options: Any) -> CellRun:
    """The cell, in this directory."""
    return CellRun(cell=CELL, directory=directory, device=CPU, **options)


def without(records: Sequence[Record], names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Columns of records without what differs."""
    return [{k: v for k, v in record.to_dict().items() if k not in names} for record in records]


def kill_after(n_points: int) -> Callable[[Progress], None]:
    """End the process after so many points on the curves."""
    left = n_points

    def count(progress: Progress) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    return count


def assert_close(ours: list[TrialRecord], theirs: list[TrialRecord]) -> None:
    """Records of the same trials; numbers may differ by rounding, in float64."""
    for a, b in zip(without(ours, IN_PARTS), without(theirs, IN_PARTS), strict=True):
        assert a == about(b, rel=1e-10)


@pytest.mark.slow
@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize(
    ("n_trials", "n_windows", "parts"),
    [(5, 4, [5]), (3, 4, [3, 2]), (2, 4, [2, 2, 1]), (1, 4, [1] * 5), (1, 2, [1] * 5)],
)
def test_a_round_in_parts_gives_the_records_of_one_program(
    tmp_path: Path,
    room_for: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
    n_trials: int,
    n_windows: int,
    parts: list[int],
) -> None:
    """As many trials, and then windows, at a time as have room, up to rounding the same numbers;
    one line says so where it is not all of them.
    """
    whole = run(CellDirectory(tmp_path / "whole"))
    room_for(n_trials, n_windows)
    directory = CellDirectory(tmp_path / "parts")
    with caplog.at_level(logging.INFO):
        records = run(directory)
    assert_close(records, whole)
    assert records == directory.trials()
    assert [record.n_trials_fused for record in records] == [n for n in parts for _ in range(n)]
    assert len(caplog.messages) == (len(parts) > 1)
    assert ("2 of its 4 windows at a time" in caplog.text) == (n_windows == 2)


def test_trials_in_the_ledger_are_not_trained_again(
    directory: CellDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round whose records are all there returns them as they are."""
    records = run(directory)
    monkeypatch.delattr(kcap_ray.execution.trial, "train")
    assert run(directory) == records


def test_a_cell_killed_between_parts_and_inside_of_them_has_the_row_of_one_run(
    tmp_path: Path, room_for: Callable[..., None]
) -> None:
    """Two rounds, of four trials in parts of two and of one trial: bit for bit, wherever killed."""
    room_for(2)
    whole, killed = CellDirectory(tmp_path / "whole"), CellDirectory(tmp_path / "killed")
    row = run_cell(here(whole), sweep="tiny")
    n_steps = length_of(CELL).steps
    for n_points in (n_steps // 2, n_steps + 3, n_steps + 1):
        with pytest.raises(Killed):
            run_cell(here(killed, on_progress=kill_after(n_points)), sweep="tiny")
    assert len(killed.trials()) == 4
    again = run_cell(here(killed), sweep="tiny")
    assert without([again], DIFFERS) == without([row], DIFFERS)
    assert without(killed.trials(), DIFFERS) == without(whole.trials(), DIFFERS)


@pytest.mark.usefixtures("in_float64")
def test_a_round_goes_on_as_it_began(
    tmp_path: Path, room_for: Callable[..., None], directory: CellDirectory
) -> None:
    """With more memory than before nothing changes; with less the program that was begun is
    begun again, smaller.
    """
    n_steps = length_of(CELL).steps
    room_for(3)
    with pytest.raises(Killed):
        run(directory, save_every_s=0.0, on_progress=kill_after(n_steps // 2))
    assert directory.resume_file(0).exists()
    room_for(5)
    with pytest.raises(Killed):
        run(directory, save_every_s=0.0, on_progress=kill_after(n_steps))
    assert [record.n_trials_fused for record in directory.trials()] == [3] * 3
    room_for(1)
    records = run(directory)
    assert [record.n_trials_fused for record in records] == [3, 3, 3, 1, 1]
    assert_close(records, run(CellDirectory(tmp_path / "whole")))


@pytest.mark.slow
def test_threads_change_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, directory: CellDirectory
) -> None:
    """One for each CPU of the process, as the records say; killed on two it goes on on one."""
    monkeypatch.setattr(kcap_ray.execution.placement, "THREAD_FLOPS", 1.0)
    module = kcap_ray.execution.trial_batch
    monkeypatch.setattr(module, "is_long", lambda *_: True)
    monkeypatch.setattr(module, "faster_threads", lambda *_, n_threads, **__: n_threads)
    records = run(CellDirectory(tmp_path / "whole"), n_cpus=2)
    assert {(record.n_trials_fused, record.n_threads) for record in records} == {(5, 2)}
    with pytest.raises(Killed):
        run(directory, n_cpus=2, save_every_s=0.0, on_progress=kill_after(5))
    again = run(directory, n_cpus=1)
    assert {record.n_threads for record in again} == {1}
    differs = (*DIFFERS, "n_threads")
    assert without(again, differs) == without(records, differs)
    assert without(run(CellDirectory(tmp_path / "one")), differs) == without(records, differs)


def test_a_short_run_has_one_thread(directory: CellDirectory) -> None:
    """It ends before a second one could be seen to pay, and beside others that costs much."""
    assert {record.n_threads for record in run(directory, n_cpus=64)} == {1}


def test_the_precision_is_measured_as_the_cell_trains(
    directory: CellDirectory, room_for: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In as many parts of a batch as there is memory for."""
    room_for(1, 2)
    asked = []

    def measure(cell: Cell, *_: object, **__: object) -> MeasuredArithmetic:
        asked.append(cell.train.micro_windows)
        return MeasuredArithmetic(precision="bf16", compile="off", seconds={"fp32": 1, "bf16": 1})

    module = kcap_ray.execution.trial_batch
    monkeypatch.setattr(module, "is_long", lambda *_: True)
    monkeypatch.setattr(module, "measure_arithmetic", measure)
    cell = dataclasses.replace(CELL, train=dataclasses.replace(CELL.train, precision="bf16"))
    run_trial_batch(CellRun(cell=cell, directory=directory, device=CPU), POINTS[:1], first_trial=0)
    kept = saved_placement(directory, "cpu")
    assert kept is not None and kept.micro_windows is not None
    assert asked == [kept.micro_windows]


def break_above(
    monkeypatch: pytest.MonkeyPatch, n_trials: int, n_windows: int
) -> list[tuple[int, int]]:
    """Let programs run out of memory that are larger than this; the sizes of those that try."""
    whole = kcap_ray.execution.trial_batch.run_trials
    tried = []

    def run_trials(run: CellRun, points: Any, *, first_trial: int, placement: Placement) -> Any:
        size = (len(points), placement.micro_windows or run.cell.train.batch_windows)
        tried.append(size)
        if size > (n_trials, n_windows):
            try:
                raise torch.OutOfMemoryError("CUDA out of memory")
            finally:
                if len(points) == 3:
                    raise RuntimeError("operation failed due to a previous error during capture")
        return whole(run, points, first_trial=first_trial, placement=placement)

    monkeypatch.setattr(kcap_ray.execution.trial_batch, "run_trials", run_trials)
    return tried


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize(
    ("n_trials", "n_windows", "tried"),
    [
        (2, 4, [(5, 4), (3, 4), (2, 4), (2, 4), (1, 4)]),
        (1, 2, [(5, 4), (3, 4), (2, 4), (1, 4), *[(1, 2)] * 5]),
    ],
)
def test_a_program_that_runs_out_of_memory_is_halved(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    n_trials: int,
    n_windows: int,
    tried: list[tuple[int, int]],
) -> None:
    """Until it fits, trials first, then windows; each time with a line, and the cell goes on with
    what has fitted.
    """
    whole = run(CellDirectory(tmp_path / "whole"))
    directory = CellDirectory(tmp_path / "halved")
    found = break_above(monkeypatch, n_trials, n_windows)
    assert_close(run(directory), whole)
    assert found == tried
    n_failed = sum(size > (n_trials, n_windows) for size in tried)
    assert caplog.text.count("out of GPU memory") == n_failed
    kept = saved_placement(directory, "cpu")
    assert kept is not None
    assert (kept.n_fused, kept.micro_windows or 4) == (n_trials, n_windows)


def test_another_error_is_not_taken_for_a_lack_of_memory(
    directory: CellDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes up as it is, and nothing is halved."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(kcap_ray.execution.trial_batch, "run_trials", fail)
    with pytest.raises(RuntimeError, match="broken"):
        run(directory)
    kept = saved_placement(directory, "cpu")
    assert kept is not None
    assert kept.n_fused == 5


def test_a_window_too_large_for_the_gpu_is_told(
    directory: CellDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is left to halve the message says what to change."""
    break_above(monkeypatch, 0, 0)
    with pytest.raises(UserError, match=r"write a smaller train\.window_tokens"):
        run(directory)

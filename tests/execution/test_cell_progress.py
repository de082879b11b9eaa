"""Which points a cell asks for next: from its ledger alone, whenever it was cut off."""

from pathlib import Path

import pytest

from kcap_ray.execution.cell import CellProgress
from kcap_ray.runs.record import TrialRecord
from kcap_ray.runs.results import CellDirectory
from kcap_ray.training.point import Point
from tests.execution.tuned_cell import TUNED_CELL, WARM_START


def record_of(trial: int, point: Point, *, is_lost: bool = False) -> TrialRecord:
    """The record of a trial; of those that are not lost the largest learning rate is best."""
    return TrialRecord(
        trial=trial,
        lr=point.lr,
        weight_decay=point.weight_decay,
        status="diverged" if is_lost else "ok",
        capacity_ratio=None if is_lost else point.lr,
    )


@pytest.mark.parametrize("n_rounds", [0, 1, 2, 3])
def test_progress_after_a_restart_asks_for_the_same_points(tmp_path: Path, n_rounds: int) -> None:
    """From the records of the ledger alone the study is as it was, and so is what is left."""
    directory = CellDirectory(tmp_path)
    progress = CellProgress(TUNED_CELL, directory, WARM_START)
    for number in range(n_rounds):
        first, points = progress.next_round()
        assert (first, len(points)) == (2 * number, min(2, 5 - 2 * number))
        records = [
            record_of(first + i, point, is_lost=first + i == 1) for i, point in enumerate(points)
        ]
        directory.add_trials(records)
        progress.tell(first, records)
    restarted = CellProgress(TUNED_CELL, directory, WARM_START)
    assert restarted.is_finished == progress.is_finished == (n_rounds == 3)
    if not progress.is_finished:
        assert restarted.next_round() == progress.next_round()


@pytest.mark.parametrize("n_recorded", [1, 3])
def test_a_round_recorded_in_part_comes_again_as_a_whole(tmp_path: Path, n_recorded: int) -> None:
    """Killed between two parts of a round, a cell asks for no other points and skips none; the
    study gets the results once the whole batch is there.
    """
    directory = CellDirectory(tmp_path)
    progress = CellProgress(TUNED_CELL, directory, WARM_START)
    rounds = []
    while not progress.is_finished:
        first, points = progress.next_round()
        rounds.append((first, points))
        records = [record_of(first + i, point) for i, point in enumerate(points)]
        progress.tell(first, records)
        directory.add_trials(records)
    directory.trials_file.write_text(
        "".join(f"{line}\n" for line in directory.trials_file.read_text().splitlines()[:n_recorded])
    )
    restarted = CellProgress(TUNED_CELL, directory, WARM_START)
    assert not restarted.is_finished
    begun = (n_recorded - 1) // 2
    assert restarted.next_round() == rounds[begun]
    first, points = rounds[begun]
    restarted.tell(first, [record_of(first + i, point) for i, point in enumerate(points)])
    assert restarted.next_round() == rounds[begun + 1]


def test_trials_at_other_points_are_kept(tmp_path: Path) -> None:
    """What another version of the search has run counts as it is, and the rest follows."""
    directory = CellDirectory(tmp_path)
    directory.add_trials(
        record_of(i, Point(lr=lr, weight_decay=0.1)) for i, lr in enumerate((2e-3, 3e-3, 4e-3))
    )
    progress = CellProgress(TUNED_CELL, directory, WARM_START)
    n_left = 0
    while not progress.is_finished:
        first, points = progress.next_round()
        progress.tell(first, [record_of(first + i, point) for i, point in enumerate(points)])
        n_left = first + len(points) - 3
    assert n_left == 2

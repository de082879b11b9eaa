"""What is shown of a running sweep."""

from collections import Counter
from pathlib import Path

import pytest

from kcap_ray.config.cell import Cell
from kcap_ray.execution.ahead import ahead_of
from kcap_ray.execution.cell import fail_cell
from kcap_ray.runs.manifest import only_driver
from kcap_ray.runs.progress import Watch, cell_states
from kcap_ray.runs.record import ResultRow
from kcap_ray.runs.results import CellDirectory, RunDirectory, write_atomically
from tests.tiny import tiny_cell

CELLS = [tiny_cell(seed=seed) for seed in (5, 6, 7)]


def end(cell: Cell, directory: RunDirectory) -> None:
    """Write a row of the cell."""
    fail_cell(cell, directory.cell(cell.cell_id), sweep="tiny", reason=f"no {cell.seed}")


def test_a_line_for_every_cell_that_ends_meanwhile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that had ended before count, and are not told again."""
    directory = RunDirectory(tmp_path)
    end(CELLS[1], directory)
    with Watch(CELLS, directory):
        end(CELLS[2], directory)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split() == ["[2/3]", CELLS[2].cell_id, "failed", "no", "7"]


def test_a_cell_that_has_ended_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the table is drawn; and so is one that has not changed."""
    directory = RunDirectory(tmp_path)
    end(CELLS[0], directory)
    read, result = Counter(), CellDirectory.result

    def counted(self: CellDirectory) -> ResultRow | None:
        read[self.path.name] += 1
        return result(self)

    expected = cell_states(CELLS, directory)
    monkeypatch.setattr(CellDirectory, "result", counted)
    watch = Watch(CELLS, directory)
    for _ in range(3):
        assert watch._states() == expected
    assert [read[cell.cell_id] for cell in CELLS] == [1, 1, 1]


@pytest.mark.parametrize("is_ahead", [False, True])
def test_what_changes_is_seen(tmp_path: Path, is_ahead: bool) -> None:
    """A program's progress, in the cell's directory or in that of trials ahead; then its end."""
    directory = RunDirectory(tmp_path)
    directory.prepare()
    watch = Watch(CELLS, directory)
    assert [state.state for state in watch._states()] == ["waiting"] * 3
    own = directory.cell(CELLS[0].cell_id)
    place = ahead_of(own, 2) if is_ahead else own
    for step in (3, 4):
        write_atomically(place.progress_file, f'{{"step": {step}, "n_steps": 10, "losses": [1.5]}}')
        (first, *_) = watch._states()
        assert first.state == "running" and f"step {step} of 10" in first.detail
    end(CELLS[0], directory)
    assert [state.state for state in watch._states()] == ["failed", "waiting", "waiting"]


def note(directory: RunDirectory, content: str = "") -> None:
    """How far the first cell has come."""
    file = directory.cell(CELLS[0].cell_id).progress_file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content or '{"step": 3, "n_steps": 10, "losses": [1.5]}')


def test_a_cell_runs_as_long_as_its_command_lives(tmp_path: Path) -> None:
    """A command that is gone has left a note of how far it came, however fresh that is."""
    directory = RunDirectory(tmp_path)
    directory.prepare()
    note(directory)
    with only_driver(tmp_path):
        (running, *_) = cell_states(CELLS, directory)
    (stopped, *_) = cell_states(CELLS, directory)
    assert (running.state, stopped.state) == ("running", "stopped")
    assert "30%  step 3 of 10" in running.detail
    assert stopped.detail.startswith("at 30%")


NOTES = ["", "[]", "{}", "1", '{"step": 1, "n_steps": 0, "losses": []}']


@pytest.mark.parametrize("content", NOTES)
def test_a_note_that_is_none_is_not_shown(tmp_path: Path, content: str) -> None:
    """Whatever lies in its place."""
    directory = RunDirectory(tmp_path)
    directory.prepare()
    note(directory, content or "torn")
    assert [state.state for state in cell_states(CELLS, directory)] == ["waiting"] * 3

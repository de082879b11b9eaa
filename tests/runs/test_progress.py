"""What is shown of a running sweep."""

import logging
from collections import Counter
from pathlib import Path

import pytest

from kcap_ray.config.cell import Cell
from kcap_ray.execution.cell import fail_cell
from kcap_ray.runs.manifest import only_driver
from kcap_ray.runs.progress import Watch, cell_states
from kcap_ray.runs.record import ResultRow
from kcap_ray.runs.results import CellDirectory, RunDirectory
from tests.tiny import tiny_cell

CELLS = [tiny_cell(seed=seed) for seed in (5, 6, 7)]


def end(cell: Cell, directory: RunDirectory) -> None:
    """Write a row of the cell."""
    fail_cell(cell, directory.cell(cell.cell_id), sweep="tiny", reason=f"no {cell.seed}")


def test_a_line_for_every_cell_that_ends_meanwhile(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Those that had ended before count, and are not told again."""
    directory = RunDirectory(tmp_path)
    end(CELLS[1], directory)
    with caplog.at_level(logging.INFO), Watch(CELLS, directory):
        end(CELLS[2], directory)
    (line,) = caplog.messages
    assert line.split() == ["[2/3]", CELLS[2].cell_id, "failed", "no", "7"]


def test_a_cell_that_has_ended_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the table is drawn; the others are read every time."""
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
    assert [read[cell.cell_id] for cell in CELLS] == [1, 3, 3]


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

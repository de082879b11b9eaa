"""What is shown of a running sweep."""

import dataclasses
import logging
from collections import Counter
from pathlib import Path

import pytest
import torch

from kcap_ray.config.cell import Cell, Range, TuneConfig
from kcap_ray.execution.ahead import ahead_of
from kcap_ray.execution.cell import fail_cell, run_cell
from kcap_ray.execution.cell_run import CellRun
from kcap_ray.runs.edges import edge_notes
from kcap_ray.runs.manifest import only_driver
from kcap_ray.runs.progress import LedgerReader, cell_states
from kcap_ray.runs.record import ResultRow
from kcap_ray.runs.results import CellDirectory, RunDirectory, write_atomically
from kcap_ray.runs.watch import Watch
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
    """However often the table is drawn; and so is one that has not changed."""
    directory = RunDirectory(tmp_path)
    end(CELLS[0], directory)
    read, result = Counter(), CellDirectory.result

    def counted(self: CellDirectory) -> ResultRow | None:
        read[self.path.name] += 1
        return result(self)

    expected = cell_states(CELLS, directory)
    monkeypatch.setattr(CellDirectory, "result", counted)
    reader = LedgerReader(CELLS, directory)
    for _ in range(3):
        assert reader.states() == expected
    assert [read[cell.cell_id] for cell in CELLS] == [1, 1, 1]


@pytest.mark.parametrize("is_ahead", [False, True])
def test_what_changes_is_seen(tmp_path: Path, is_ahead: bool) -> None:
    """A program's progress, in the cell's directory or in that of trials ahead; then its end."""
    directory = RunDirectory(tmp_path)
    directory.prepare()
    reader = LedgerReader(CELLS, directory, is_alive=lambda: True)
    assert [state.state for state in reader.states()] == ["waiting"] * 3
    own = directory.cell(CELLS[0].cell_id)
    place = ahead_of(own, 2) if is_ahead else own
    for step in (3, 4):
        write_atomically(place.progress_file, f'{{"step": {step}, "n_steps": 10, "losses": [1.5]}}')
        (first, *_) = reader.states()
        assert first.state == "running" and f"step {step} of 10" in first.detail
    end(CELLS[0], directory)
    assert [state.state for state in reader.states()] == ["failed", "waiting", "waiting"]


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


def test_status_counts_what_follows_the_search(tmp_path: Path) -> None:
    """Runs with fresh seeds, done and at work; and a best point at the edge is named at the end."""
    directory = RunDirectory(tmp_path)
    directory.prepare()
    tune = TuneConfig(trials=2, lr=Range(low=1e-3, high=1e-1), confirm_seeds=2)
    cell = tiny_cell(tune=tune, exposures=2)
    place = directory.cell(cell.cell_id)
    run = CellRun(cell=cell, directory=place, device=torch.device("cpu"))
    row = run_cell(run, sweep="tiny")
    (done,) = cell_states([cell], directory)
    assert "over 2 fresh seeds" in done.detail
    edge = dataclasses.replace(row, edge="lr high")
    place.finish(edge)
    (at_edge,) = cell_states([cell], directory)
    assert at_edge.detail == done.detail.split("  at the edge")[0] + (
        "  at the edge of its range: lr high"
    )
    assert "1 of 1 cells" in edge_notes([edge])[0] and "lr high in 1" in edge_notes([edge])[0]
    assert edge_notes([dataclasses.replace(row, edge="")]) == []
    place.result_file.unlink()
    (first, _) = place.parts()
    first.progress_file.write_text('{"step": 3, "n_steps": 10, "losses": [1.5]}')
    with only_driver(tmp_path):
        (running,) = cell_states([cell], directory)
    (stopped,) = cell_states([cell], directory)
    assert running.state == "running"
    assert stopped.detail.startswith("2 of 2 trials done, 2 after them, at 30%")

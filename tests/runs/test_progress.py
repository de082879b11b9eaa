"""What is shown of a running sweep."""

from collections import Counter
from pathlib import Path

import pytest

from kcap_ray.config.cell import Cell
from kcap_ray.execution.cell import fail_cell
from kcap_ray.runs.progress import Watch, cell_states
from kcap_ray.runs.record import ResultRow
from kcap_ray.runs.results import CellDirectory, RunDirectory
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

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from kcap_ray.config.errors import UserError
from kcap_ray.execution.cell import fail_cell
from kcap_ray.planning.sweep import Sweep, load_sweep
from kcap_ray.runs.manifest import (
    MANIFEST,
    OWN_FILES,
    clear_failed,
    only_driver,
    read_cells,
    table_at_end,
    write_manifest,
)
from kcap_ray.runs.model_files import with_kept_files
from kcap_ray.runs.results import RunDirectory
from tests.models.test_own_model import FILE as OWN_FILE
from tests.models.test_own_model import from_file

QUICKSTART = Path(__file__).parents[2] / "sweeps" / "quickstart.yaml"


@pytest.fixture
def sweep() -> Sweep:
    """The quickstart."""
    return load_sweep(QUICKSTART)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """An empty run directory."""
    directory = RunDirectory(tmp_path / "run")
    directory.prepare()
    return directory


def write(sweep: Sweep, run: RunDirectory) -> None:
    """The header of a run of that sweep."""
    write_manifest(
        run, name=sweep.name, question=sweep.question, sweep_file=sweep.path, cells=sweep.cells
    )


def test_cells_are_read_back_as_they_were(sweep: Sweep, run: RunDirectory) -> None:
    """The run directory alone says which cells the run has, in order."""
    write(sweep, run)
    assert read_cells(run.path) == sweep.cells


def test_a_run_that_was_moved_has_the_files_of_its_models(
    sweep: Sweep, run: RunDirectory, tmp_path: Path
) -> None:
    """Wherever it is now: other machines have another copy of a run in a store."""
    mine = tmp_path / "mine.py"
    mine.write_text(OWN_FILE.read_text(encoding="utf-8"), encoding="utf-8")
    model = replace(from_file("Recurrent"), file=str(mine))
    kept = with_kept_files([replace(sweep.cells[0], model=model)], run)
    write(replace(sweep, cells=kept), run)
    mine.unlink()
    moved = RunDirectory(run.path.rename(tmp_path / "moved"))
    (cell,) = read_cells(moved.path)
    assert cell.cell_id == kept[0].cell_id
    assert cell.model.file is not None and Path(cell.model.file).is_file()
    assert Path(cell.model.file).is_relative_to(moved.path)


def test_a_run_of_an_older_version_can_be_read() -> None:
    """Runs that were kept before cells had junk, parts or frequencies still say their cells."""
    cells = read_cells(Path(__file__).parents[1] / "old_runs" / "quickstart")
    assert {cell.data.n_people for cell in cells} == {200, 800}


def test_directory_of_another_sweep_is_refused(sweep: Sweep, run: RunDirectory) -> None:
    """Two sweeps never mix in one directory, and the header of the first stays as it was."""
    write(sweep, run)
    before = (run.path / "cells.json").read_bytes()
    with pytest.raises(UserError, match="holds a run of the sweep 'quickstart'"):
        write(replace(sweep, name="other"), run)
    assert (run.path / "cells.json").read_bytes() == before


def test_another_question_is_refused(sweep: Sweep, run: RunDirectory) -> None:
    """In one line that says both; a run without a question of its own takes any."""
    write(replace(sweep, question=""), run)
    write(sweep, run)
    with pytest.raises(UserError, match=r"of the question '.*', and this is 'why\?'"):
        write(replace(sweep, question="why?"), run)


def test_a_run_only_grows(sweep: Sweep, run: RunDirectory) -> None:
    """Cells of other settings join those that are there; those that are asked for again stay."""
    write(replace(sweep, cells=sweep.cells[:3]), run)
    write(replace(sweep, cells=sweep.cells[2:]), run)
    write(replace(sweep, cells=[replace(sweep.cells[0], keep_checkpoint=False)]), run)
    assert [cell.cell_id for cell in read_cells(run.path)] == [c.cell_id for c in sweep.cells]


def test_facts_that_changed_make_other_cells(run: RunDirectory, tmp_path: Path) -> None:
    """Cells that are done knew other facts: they stay, and those of the file as it is join them;
    the same command with the same file goes on.
    """
    (tmp_path / "facts.csv").write_text("name,attribute,value\nIron,symbol,Fe\n")
    (tmp_path / "facts.yaml").write_text(
        "# Question: what is known of iron?\n# Run: kcap sweep facts.yaml\n"
        "base:\n  data: {kind: tuples, file: facts.csv, n_people: 1}\n"
        "  train: {exposures: 1, lr: 0.01, weight_decay: 0.1, batch_windows: 1, precision: fp32}\n"
        "grid:\n  model: [gpt2-1-1]\n"
    )
    before = load_sweep(tmp_path / "facts.yaml")
    write(before, run)
    write(load_sweep(tmp_path / "facts.yaml"), run)
    assert read_cells(run.path) == before.cells
    (tmp_path / "facts.csv").write_text("name,attribute,value\nIron,symbol,Ir\n")
    after = load_sweep(tmp_path / "facts.yaml")
    write(after, run)
    assert read_cells(run.path) == before.cells + after.cells
    assert before.cells[0].cell_id != after.cells[0].cell_id


def test_second_driver_is_told_that_another_is_at_work(run: RunDirectory) -> None:
    """Another process is refused; the lock goes with the first one, however that ends."""
    code = (
        "import os, sys; from pathlib import Path; from kcap_ray.runs.manifest import only_driver\n"
        f"with only_driver(Path({str(run.path)!r})):\n"
        "    print('held', flush=True); sys.stdin.read(); os.kill(os.getpid(), 9)\n"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    with first:
        assert first.stdout
        assert first.stdin
        assert first.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match="another kcap"), only_driver(run.path):
            raise AssertionError("two drivers hold one directory")
        first.stdin.close()
    with only_driver(run.path):
        pass


@pytest.mark.parametrize(
    "content", [None, b"", b"{}", b"[1]", b"\xff\xfe", b'{"cells": [{"a": 1}]}']
)
def test_directory_without_a_run_is_named(tmp_path: Path, content: bytes | None) -> None:
    """A stranger who names the wrong directory is told which, whatever lies in it."""
    if content is not None:
        (tmp_path / "cells.json").write_bytes(content)
    with pytest.raises(UserError, match=r"not a run directory \(no readable cells\.json"):
        read_cells(tmp_path)


def test_only_failed_cells_are_forgotten(sweep: Sweep, run: RunDirectory) -> None:
    """A retry leaves results alone, those of diverged cells among them; and the same command those
    that a mistake made fail, which are told by that no error was written down.
    """
    mistaken, broken, diverged = sweep.cells[:3]
    for cell in (mistaken, broken, diverged):
        row = fail_cell(cell, run.cell(cell.cell_id), sweep=sweep.name, reason="none")
    row = replace(row, status="diverged")
    run.cell(diverged.cell_id).finish(row)
    run.cell(broken.cell_id).error_file.write_text("No space left on device")
    clear_failed(sweep.cells, run, mistakes=False)
    assert run.cell(broken.cell_id).result() is None
    assert run.cell(mistaken.cell_id).result() is not None
    clear_failed(sweep.cells, run)
    assert run.cell(mistaken.cell_id).result() is None
    assert run.cell(diverged.cell_id).result() == row


@pytest.mark.parametrize("content", ["", "[]", "{}", "1", "{"])
def test_a_list_of_cells_that_is_broken_is_made_anew(
    sweep: Sweep, run: RunDirectory, content: str
) -> None:
    """From the rows of the finished cells, which hold their cells whole, and from what is asked."""
    write(sweep, run)
    fail_cell(sweep.cells[0], run.cell(sweep.cells[0].cell_id), sweep=sweep.name, reason="none")
    (run.path / "cells.json").write_text(content)
    write(replace(sweep, cells=sweep.cells[1:2]), run)
    assert read_cells(run.path) == sweep.cells[:2]


def test_a_run_that_is_kept_as_a_table_is_not_written_to(sweep: Sweep, run: RunDirectory) -> None:
    """Its rows would be gone: there are no cells that they could be made of again."""
    run.results_file.write_bytes(b"table")
    with pytest.raises(UserError, match="holds the table of a run and not its cells"):
        write(sweep, run)
    assert run.results_file.read_bytes() == b"table"


@pytest.mark.parametrize("name", sorted(set(OWN_FILES) - {MANIFEST}))
def test_a_directory_of_somebody_elses_is_not_written_to(tmp_path: Path, name: str) -> None:
    """Where a file lies that a run would replace, and no kcap has made a run."""
    (tmp_path / "cells").mkdir()  # made before the directory is held
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match="name another directory"), only_driver(tmp_path):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["cells", name])
    assert (tmp_path / name).read_text() == "mine"


def test_a_run_that_lost_manifest_and_results_begins_anew(
    sweep: Sweep, run: RunDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    """The table that it had stays beside the new one."""
    with only_driver(run.path):
        write(sweep, run)
    (run.path / "results.parquet").write_bytes(b"a table")
    (run.path / "cells.json").unlink()
    with only_driver(run.path):
        write(sweep, run)
    assert read_cells(run.path) == sweep.cells
    assert (run.path / "earlier-results.parquet").read_bytes() == b"a table"
    assert "made anew" in caplog.text


@pytest.mark.parametrize("end", [None, KeyboardInterrupt(), SystemExit(2), UserError("no cluster")])
def test_a_command_that_is_stopped_leaves_the_table_of_what_is_done(
    sweep: Sweep, run: RunDirectory, end: BaseException | None
) -> None:
    """And what ended it stays what it was."""
    write(sweep, run)
    done = sweep.cells[0]
    try:
        with table_at_end(run):
            fail_cell(done, run.cell(done.cell_id), sweep=sweep.name, reason="out of memory")
            if end is not None:
                raise end
    except BaseException as error:
        assert error is end
    assert pq.read_table(run.results_file)["cell_id"].to_pylist() == [done.cell_id]


def test_a_table_that_cannot_be_written_hides_nothing(sweep: Sweep, run: RunDirectory) -> None:
    write(sweep, run)
    run.results_file.mkdir()
    with pytest.raises(KeyboardInterrupt), table_at_end(run):
        raise KeyboardInterrupt
    with pytest.raises(OSError), table_at_end(run):
        pass

"""A sweep on real Ray, left alone and disturbed: the same command always ends in the same table."""

import os
import signal
from pathlib import Path

import pandas as pd
import pytest

from kcap_ray.config.cell import Cell
from kcap_ray.planning.sweep import load_sweep
from kcap_ray.runs.results import RunDirectory
from tests.engine.conftest import table, warnings_in

# A busy machine takes several times as long as an idle one.
pytestmark = pytest.mark.slow


def cells_of(sweep: Path) -> list[Cell]:
    """The cells of a sweep file."""
    return list(load_sweep(sweep).cells)


def trainer_in(descendants: dict[int, str]) -> int | None:
    """The process that trains now, of those given."""
    lines = (pid for pid, line in descendants.items() if "ResourceTrainable.train" in line)
    return next(lines, None)


def test_sweep_ends_with_a_table_and_prints_nothing_else(undisturbed, small_sweep):
    """Every cell has a result; the output is the table and two paths, no more. A line at once and
    one per cell are logged, to standard error and, those of the cells, to the run's own file.
    """
    command, out = undisturbed
    assert command.process.returncode == 0, command.stderr
    rows = pd.read_parquet(out / "results.parquet")
    assert list(rows["status"]) == ["ok", "ok"]
    assert list(rows["cell_id"]) == [cell.cell_id for cell in cells_of(small_sweep)]
    assert (rows["n_trials_ok"] == 2).all()
    assert (rows["stored_bits"] > 0).all()
    begin, *logged = command.stderr.splitlines()
    assert begin.endswith(
        f"INFO small: 2 cells, 0 done, in {out}; Ray starts, within half a minute"
    )
    assert [line.split()[2:4] for line in logged] == [["INFO", "[1/2]"], ["INFO", "[2/2]"]]
    first, *inner, last = (out / "kcap.log").read_text(encoding="utf-8").splitlines()
    assert set(logged) <= set(inner) and "kcap sweep" in first and "ended after" in last
    lines = command.stdout.splitlines()
    assert lines[-2:] == [f"report: {out}/report.html", f"table:  {out}/results.parquet"]
    assert len(lines) == 4 + 2  # a heading, two rows and a caption before
    assert (out / "report.html").exists()
    assert {path.name for path in out.iterdir()} >= {"sweep.yaml", "environment.json", "cells"}
    assert not list(out.glob("ray*"))


@pytest.mark.usefixtures("one_cpu")
def test_sweep_goes_on_after_its_driver_was_killed(undisturbed, small_sweep, tmp_path, kcap):
    """Killed with one cell done and another in training, the same command completes the table."""
    out = tmp_path / "run"
    first, second = (RunDirectory(out).cell(cell.cell_id) for cell in cells_of(small_sweep))
    killed = kcap("sweep", small_sweep, "--out", out, "--save-every", 0.2)
    killed.wait_for(lambda: first.result() and second.progress_file.exists())
    killed.kill()
    assert second.result() is None
    done = first.result_file.stat()

    again = kcap("sweep", small_sweep, "--out", out)
    assert again.finish() == 0, again.stderr
    pd.testing.assert_frame_equal(table(out), table(undisturbed[1]))
    assert first.result_file.stat() == done, "a cell that is done is not run again"


@pytest.mark.usefixtures("one_cpu")
def test_sweep_survives_the_death_of_a_worker(undisturbed, small_sweep, tmp_path, kcap):
    """A killed worker process costs a line on standard error, not a cell."""
    out = tmp_path / "run"
    cell = cells_of(small_sweep)[0]
    command = kcap("sweep", small_sweep, "--out", out, "--save-every", 0.2)
    command.wait_for(RunDirectory(out).cell(cell.cell_id).progress_file.exists)
    pid = command.wait_for(lambda: trainer_in(command.descendants()))
    os.kill(pid, signal.SIGKILL)
    assert command.finish() == 0, command.stderr
    (warning,) = warnings_in(command.stderr)
    assert f"worker process {pid}" in warning
    pd.testing.assert_frame_equal(table(out), table(undisturbed[1]))


def test_failed_cell_is_recorded_and_others_finish(
    undisturbed, small_sweep, tmp_path, kcap, session
):
    """A cell that cannot be trained is a row with a reason and exit status 1; once the cause is
    mended, the same command completes the table: it was the machine, and no mistake. Here on a
    cluster that was there before.
    """
    out = tmp_path / "run"
    bad, good = cells_of(small_sweep)
    broken = RunDirectory(out).cell(bad.cell_id).trials_file
    broken.mkdir(parents=True)

    command = kcap("sweep", small_sweep, "--out", out, "--address", session)
    assert command.finish() == 1
    rows = pd.read_parquet(out / "results.parquet").set_index("cell_id").to_dict("index")
    assert rows[bad.cell_id]["status"] == "failed"
    assert "trials.jsonl" in rows[bad.cell_id]["reason"]
    assert pd.isna(rows[bad.cell_id]["stored_bits"])
    assert rows[good.cell_id]["status"] == "ok"
    assert "1 of 2 cells" in command.stderr

    broken.rmdir()
    again = kcap("sweep", small_sweep, "--out", out, "--address", session)
    assert again.finish() == 0, again.stderr
    repaired = table(out)
    pd.testing.assert_frame_equal(repaired.iloc[:1], table(undisturbed[1]).iloc[:1])
    assert list(repaired["status"]) == ["ok", "ok"]

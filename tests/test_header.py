from dataclasses import replace
from pathlib import Path

import pytest

from kcap_ray.cell import UserError
from kcap_ray.header import only_driver, read_cells, write_header
from kcap_ray.results import RunDirectory
from kcap_ray.sweep import Sweep, load_sweep

QUICKSTART = Path(__file__).parents[1] / "sweeps" / "quickstart.yaml"


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


def test_cells_are_read_back_as_they_were(sweep: Sweep, run: RunDirectory) -> None:
    """The run directory alone says which cells the run has, in order."""
    write_header(sweep, run)
    assert read_cells(run.path) == sweep.cells


def test_directory_of_another_sweep_is_refused(sweep: Sweep, run: RunDirectory) -> None:
    """Two sweeps never mix in one directory, and the header of the first stays as it was."""
    write_header(sweep, run)
    before = (run.path / "cells.json").read_bytes()
    with pytest.raises(UserError, match="holds a run of the sweep 'quickstart'"):
        write_header(replace(sweep, name="other"), run)
    assert (run.path / "cells.json").read_bytes() == before


def test_second_driver_is_told_that_another_is_at_work(run: RunDirectory) -> None:
    """The lock is free again when the first has ended."""
    with (
        only_driver(run.path),
        pytest.raises(UserError, match="another kcap"),
        only_driver(run.path),
    ):
        raise AssertionError("two drivers hold one directory")
    with only_driver(run.path):
        pass


def test_directory_without_a_run_is_named(tmp_path: Path) -> None:
    """A stranger who names the wrong directory is told which."""
    with pytest.raises(UserError, match="not a run directory"):
        read_cells(tmp_path)

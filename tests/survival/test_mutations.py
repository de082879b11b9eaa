"""Every file of a run broken in every way, and the same command again: the table is that of an
undisturbed run, or one line says which file is in the way.
"""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from kcap_ray.config.cell import Range, TuneConfig
from kcap_ray.config.errors import UserError
from kcap_ray.execution.cell import run_cells
from kcap_ray.runs.manifest import clear_failed, read_cells, write_manifest
from kcap_ray.runs.progress import cell_states
from kcap_ray.runs.results import RunDirectory
from tests.tiny import tiny_cell

SWEEP = Path(__file__).parents[2] / "sweeps" / "quickstart.yaml"
TUNE = TuneConfig(trials=2, lr=Range(low=1e-4, high=1e-1))
CELLS = [tiny_cell(exposures=exposures, tune=TUNE) for exposures in (1, 2)]
NEIGHBOUR = {CELLS[0].cell_id: None, CELLS[1].cell_id: CELLS[0].cell_id}
DIFFERS = ["train_time_s", "measure_time_s", "tokens_per_s"]


def command(path: Path) -> list[dict]:
    """What `kcap run-cell` does; the rows of the table without times."""
    run = RunDirectory(path)
    run.prepare()
    write_manifest(run, name="tiny", question="", sweep_file=SWEEP, cells=CELLS)
    clear_failed(CELLS, run, mistakes=False)
    run_cells(CELLS, NEIGHBOUR, run, sweep="tiny", device=torch.device("cpu"))
    run.collect(read_cells(path))
    return pq.read_table(run.results_file).drop_columns(DIFFERS).to_pylist()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    """A finished run and its table."""
    path = tmp_path_factory.mktemp("undisturbed") / "run"
    return path, command(path)


def flip(file: Path) -> None:
    """One bit of the file, anywhere."""
    chance = random.Random(f"{file.parent.name}/{file.name}")
    content = bytearray(file.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)


def as_directory(file: Path) -> None:
    """A directory in the place of the file."""
    file.unlink()
    file.mkdir()


WAYS: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "empty": lambda file: file.write_bytes(b""),
    "list": lambda file: file.write_bytes(b"[]"),
    "object": lambda file: file.write_bytes(b"{}"),
    "number": lambda file: file.write_bytes(b"1"),
    "torn": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "flipped": flip,
    "directory": as_directory,
}


@pytest.mark.slow
@pytest.mark.parametrize("without_result", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_broken_file_leaves_nothing_wrong(
    tmp_path: Path, undisturbed: tuple[Path, list[dict]], way: str, without_result: bool
) -> None:
    """In a finished run, and in one that was stopped before its last row was written."""
    whole, expected = undisturbed
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    n_broken = 0
    for number, name in enumerate(files):
        path = tmp_path / str(number)
        shutil.copytree(whole, path)
        result = RunDirectory(path).cell(CELLS[1].cell_id).result_file
        if without_result and (path / name) != result:
            result.unlink()
        WAYS[way](path / name)
        try:
            cell_states(read_cells(path), RunDirectory(path))  # what `kcap status` shows
        except UserError as error:
            assert len(str(error).splitlines()) == 1
        try:
            found = command(path)
        except (OSError, UserError) as error:
            assert way == "directory"
            assert name.name in str(error)
            (path / name).rmdir()
            found = command(path)
        assert found == expected, name
        assert not list(path.rglob("*.tmp")), name
        shutil.rmtree(path)
        n_broken += 1
    assert n_broken == len(files) >= 14

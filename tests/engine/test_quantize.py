"""Quantizing on real Ray: the same rows as in one process, and failures that stay alone."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from kcap_ray.execution.cell import run_cells
from kcap_ray.planning.sweep import load_sweep
from kcap_ray.quantize.cell import jobs_of, run_job
from kcap_ray.quantize.config import QuantizeConfig
from kcap_ray.runs.manifest import write_manifest
from kcap_ray.runs.results import RunDirectory
from tests.engine.conftest import warnings_in

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
DIFFERS = ["quantize_time_s", "git_commit"]


def test_ray_gives_the_rows_of_one_process(session, small_sweep, tmp_path: Path, kcap) -> None:
    """A broken checkpoint is a row with its reason, a defect one with a traceback."""
    sweep = load_sweep(small_sweep, {"data.n_people": "[20, 24, 28, 32]", "tune.trials": "1"})
    run, alone = RunDirectory(tmp_path / "ray"), RunDirectory(tmp_path / "alone")
    run.prepare()
    write_manifest(
        run, name=sweep.name, question=sweep.question, sweep_file=sweep.path, cells=sweep.cells
    )
    run_cells(sweep.cells, sweep.neighbour, run, sweep="small", device=CPU)
    shutil.copytree(run.path, alone.path)
    broken, defect = (run.cell(cell.cell_id) for cell in sweep.cells[:2])
    (broken.checkpoint / "model.safetensors").write_bytes(b"broken")
    (defect.checkpoint / "kcap_vocab.json").unlink()

    options = ["--address", session, "--bits", 4, "--bits", 3, "--group-size", 16]
    command = kcap("quantize", run.path, *options)
    assert command.finish() == 1, command.stderr
    *logged, summary = command.stderr.splitlines()
    assert summary.startswith("4 of 8 quantized models have no result")
    assert len(logged) == 8 and len(warnings_in(command.stderr)) == 4

    for job in jobs_of(alone, sweep.cells, [QuantizeConfig(bits=b, group_size=16) for b in (4, 3)]):
        run_job(job, alone, device=CPU)
    alone.collect(sweep.cells)
    ours, theirs = (
        pd.read_parquet(directory.results_file).drop(columns=DIFFERS) for directory in (run, alone)
    )
    assert len(ours) == 4 * 3
    good = [cell.cell_id for cell in sweep.cells[2:]]
    pd.testing.assert_frame_equal(
        ours[ours["cell_id"].isin(good)], theirs[theirs["cell_id"].isin(good)]
    )
    failed = ours[ours["status"] == "failed"]
    assert [reason.split()[1] for reason in failed["reason"][:2]] == ["cannot", "cannot"]
    for reason in failed["reason"][2:]:
        assert reason.startswith("FileNotFoundError: ")
        file = run.path / reason.rpartition("(see ")[2].rstrip(")")
        assert "Traceback" in file.read_text()

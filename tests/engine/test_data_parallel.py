"""Cells with several workers: DDP on Ray Train, left alone and disturbed."""

import os
import signal

import numpy as np
import pandas as pd
import pytest

from kcap_ray.engine.programs import _cause
from kcap_ray.results import RunDirectory
from kcap_ray.sweep import load_sweep
from kcap_ray.training.checkpoint import CorruptCheckpointError


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_workers_train_as_one_does(small_sweep, tmp_path, kcap):
    """At the same global batch two workers give the loss curve and the bits of one, to rounding;
    also when one of them is killed on the way, and both go on from the checkpoint of the first.
    """
    settings = ["data.n_people=40", "tune.fused=2", "train.workers=[1, 2]"]
    # Where there is a choice each cell makes its own.
    settings += ["tune.lr.low=6.0e-3", "tune.lr.high=6.0e-3"]
    arguments = [small_sweep, "--out", tmp_path / "run"]
    for setting in settings:
        arguments += ["--set", setting]
    first, second = load_sweep(small_sweep, dict(s.split("=") for s in settings)).cells
    one, two = (RunDirectory(tmp_path / "run").cell(cell.cell_id) for cell in (first, second))
    assert kcap("run-cell", *arguments, "--cell", first.cell_id).finish() == 0
    command = kcap("sweep", *arguments, "--save-every", 0)
    command.wait_for(two.resume_file(0).exists)
    pid = command.wait_for(lambda: _a_worker(command.descendants()))
    os.kill(pid, signal.SIGKILL)
    assert command.finish() == 0, command.stderr
    assert "worker process has died" in command.stderr
    assert len(command.stderr.splitlines()) == 1

    curves = [pd.read_parquet(cell.history_file)["loss"] for cell in (one, two)]
    assert len(curves[0]) == len(curves[1])
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-4)
    rows = pd.read_parquet(tmp_path / "run" / "results.parquet")
    assert list(rows["workers"]) == [1, 2]
    np.testing.assert_allclose(rows["stored_bits"][0], rows["stored_bits"][1], rtol=1e-3)
    assert rows["exposures_seen"].nunique() == 1


def _a_worker(descendants):
    return next((pid for pid, line in descendants.items() if "RayTrainWorker" in line), None)


def test_cause_is_the_error_that_came_first():
    """A user's mistake counts most, then a worker's death; ranks without a peer say nothing new."""
    from ray.exceptions import ActorDiedError

    no_peer, dead = RuntimeError("Connection closed by peer"), ActorDiedError()
    mistake = CorruptCheckpointError("checkpoint cannot be read")
    assert _cause({0: no_peer, 1: mistake, 2: dead}) is mistake
    assert "rank 2" in str(_cause({0: no_peer, 2: dead}))
    assert str(_cause({0: no_peer})) == "rank 0: RuntimeError: Connection closed by peer"

"""Cells with several workers: DDP on Ray Train, left alone and disturbed."""

import os
import signal

import numpy as np
import pandas as pd
import pytest
import torch

from kcap_ray.engine.failures import is_lost_machine
from kcap_ray.engine.programs import _cause
from kcap_ray.measure.nats import measure
from kcap_ray.planning.run_length import length_of, spec_of
from kcap_ray.planning.sweep import load_sweep
from kcap_ray.runs.results import RunDirectory
from kcap_ray.text.stream.batches import in_process_batches, stream_of
from kcap_ray.text.stream.corpus import build_corpus
from kcap_ray.training.checkpoint import CorruptCheckpointError
from kcap_ray.training.loop import train
from kcap_ray.training.point import Point
from kcap_ray.training.step import TrainStep
from tests.engine.conftest import Command, descendants, warnings_in
from tests.engine.raylets import LOSES_NODES_SOON, add_node, raylet_of, raylets
from tests.rounding import float32_may_differ_by


def cell_on(n_workers, small_sweep, out):
    """A cell with this number of workers, its directory in a run of its own, and what to call
    `kcap` with.
    """
    settings = [
        f"train.workers={n_workers}",
        "train.batch_windows=4",
        "train.exposures=30",
        "data.n_people=40",
        "tune.fused=2",
        "tune.lr.low=6.0e-3",
        "tune.lr.high=6.0e-3",
    ]
    (cell,) = load_sweep(small_sweep, dict(s.split("=") for s in settings)).cells
    arguments = [small_sweep, *(word for s in settings for word in ("--set", s)), "--out", out]
    return cell, RunDirectory(out).cell(cell.cell_id), arguments


def curve_and_bits(directory):
    """What is compared: the losses of a cell's best trial and the bits that it stores."""
    row = directory.result()
    losses = pd.read_parquet(directory.history_file)["loss"]
    return np.array([*losses, row.stored_bits])


def assert_same_but_for_rounding(first, one, other):
    """One worker and several make the same of the cell, up to what float32 does to this run."""

    def numbers():
        row, n_steps = one.result(), length_of(first).steps
        result = train(
            TrainStep(
                first,
                spec_of(first),
                [Point(lr=row.lr, weight_decay=row.weight_decay)],
                n_steps=n_steps,
                device=torch.device("cpu"),
            ),
            in_process_batches(stream_of(first), first.train, rank=0, n_steps=n_steps),
        )
        ((group,),) = measure(result.model, build_corpus(first.data), seed=first.seed)
        return np.array([*(p.losses[0] for p in result.history), group.stored.total])

    ours, theirs = curve_and_bits(one), curve_and_bits(other)
    # The longest sums are over the tokens of a batch.
    n_terms = first.train.batch_windows * first.train.window_tokens
    allowed = float32_may_differ_by(numbers, n_terms=n_terms)
    assert (np.abs(ours - theirs) <= allowed).all()


@pytest.fixture(scope="module")
def alone(small_sweep, tmp_path_factory):
    """The cell on one worker, without Ray, and its directory."""
    cell, directory, arguments = cell_on(1, small_sweep, tmp_path_factory.mktemp("alone") / "run")
    command = Command("run-cell", *arguments)
    assert command.finish() == 0, command.stderr
    return cell, directory


@pytest.mark.slow
def test_two_workers_train_as_one_does(small_sweep, alone, tmp_path, kcap):
    """At the same global batch two workers give the loss curve and the bits of one, to rounding;
    also when one of them is killed on the way, and both go on from the checkpoint of the first.
    """
    first, one = alone
    second, two, arguments = cell_on(2, small_sweep, tmp_path / "run")
    assert second.cell_id == first.cell_id
    command = kcap("sweep", *arguments, "--save-every", 0.2)
    command.wait_for(two.resume_file(0).exists)
    pid = command.wait_for(lambda: _a_worker(command.descendants()))
    os.kill(pid, signal.SIGKILL)
    assert command.finish() == 0, command.stderr
    (warning,) = warnings_in(command.stderr)
    assert "worker process has died" in warning

    assert_same_but_for_rounding(first, one, two)
    of_one, of_two = one.result(), two.result()
    assert of_one is not None and of_two is not None
    assert (of_one.workers, of_two.workers) == (1, 2)
    assert of_one.exposures_seen == of_two.exposures_seen


@pytest.mark.slow
def test_run_goes_on_with_the_workers_that_are_left(small_sweep, alone, tmp_path, kcap, cluster):
    """A machine that is lost for good costs no cell: the workers on the others go on from the last
    checkpoint, and the loss curve is that of one worker, to rounding.
    """
    head, raylets = cluster
    first, one = alone
    _, three, arguments = cell_on(3, small_sweep, tmp_path / "run")
    command = kcap("sweep", *arguments, "--save-every", 0.2, "--address", head.address)
    command.wait_for(three.resume_file(0).exists)
    assert all(_a_worker(descendants(pid)) for pid in raylets.values()), "each node has a worker"
    head.remove_node(next(iter(raylets)), allow_graceful=False)
    assert command.finish() == 0, command.stderr
    assert "node has died" in command.stderr
    assert "failure 1" not in command.stderr, "a lost machine says nothing about the program"

    assert_same_but_for_rounding(first, one, three)


@pytest.fixture
def cluster(monkeypatch):
    """A head without CPUs and three nodes of one CPU each, all on this machine: their cluster, and
    the three with the pids of their raylets.
    """
    # Ray Train asks for three workers once more before it hears of the loss; not for long.
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "2")
    with raylets(**LOSES_NODES_SOON) as head:
        nodes = [add_node(head, wait=False) for _ in range(3)]
        head.wait_for_nodes()
        yield head, {node: raylet_of(node) for node in nodes}


def _a_worker(descendants):
    return next((pid for pid, line in descendants.items() if "RayTrainWorker" in line), None)


def test_cause_is_the_error_that_came_first():
    """A user's mistake counts most, then a worker's death; ranks without a peer say nothing new."""
    from ray.exceptions import ActorDiedError

    no_peer, dead = RuntimeError("Connection closed by peer"), ActorDiedError()
    mistake = CorruptCheckpointError("checkpoint cannot be read")
    assert cause({0: no_peer, 1: mistake, 2: dead}) is mistake
    assert "rank 2" in str(cause({0: no_peer, 2: dead}))
    assert str(cause({0: no_peer})) == "rank 0: RuntimeError: Connection closed by peer"


def test_lost_machine_is_told_from_an_error():
    """The peers of a machine that vanished fail before Ray knows; that counts as a lost machine."""
    no_peer = RuntimeError("Connection closed by peer")
    assert is_lost_machine(str(_cause({0: no_peer}, lambda: True)))
    assert not is_lost_machine(str(_cause({0: no_peer}, lambda: False)))


def test_lost_machine_is_asked_for_where_ray_does_not_say():
    """A worker that does not answer may have lost its machine; of one that died, Ray says which."""
    from ray.exceptions import ActorDiedError, ActorUnavailableError

    class Died(ActorDiedError):
        """With Ray's words."""

        def __init__(self, words):
            super().__init__()
            self.error_msg = f"{self.error_msg}\n{words}"

    silent = ActorUnavailableError("RPC error: Socket closed rpc_code: 14", None)
    assert is_lost_machine(str(_cause({0: silent}, lambda: True)))
    assert not is_lost_machine(str(_cause({0: silent}, lambda: False)))
    end = "its node has died. Node Id: 0f\n\tthe actor's node was terminated unexpectedly: no power"
    assert str(_cause({1: Died(f"The actor died because {end}")}, never)) == (
        "rank 1: its node has died (no power)"
    )
    dead = Died("The actor is dead because its worker process has died. Worker exit type: X")
    assert not is_lost_machine(str(_cause({0: dead}, never)))


def never():
    """Nobody asks for it."""
    raise AssertionError


def cause(failures):
    """Where no node is lost."""
    return _cause(failures, lambda: False)

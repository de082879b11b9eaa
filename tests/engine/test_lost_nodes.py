"""Nodes and heads that vanish without a word: raylets of this machine that are killed."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kcap_ray.engine.failures import MAX_FAILURES
from kcap_ray.planning.sweep import load_sweep
from tests.engine.conftest import DIFFERS, descendants, table, warnings_in
from tests.engine.raylets import LOSES_NODES_SOON, add_node, raylet_of, raylets

pytestmark = pytest.mark.slow


@pytest.fixture
def nodes() -> Iterator[Any]:
    """A cluster whose head has no CPU: address, head and a function that adds a node of one CPU and
    returns the pid of its raylet.
    """
    with raylets(**LOSES_NODES_SOON) as cluster:
        yield cluster, lambda: raylet_of(add_node(cluster))


def kill_node(raylet: int) -> None:
    """What a node does whose power is cut: its workers are gone, and so is its raylet."""
    for pid in [*descendants(raylet), raylet]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def trains(raylet: int) -> bool:
    """Whether a trial is at work on the node."""
    return any("ResourceTrainable.train" in line for line in descendants(raylet).values())


def test_a_cell_that_loses_its_node_again_and_again_is_finished(
    nodes: Any, small_sweep: Path, undisturbed: Any, tmp_path: Path, kcap: Any
) -> None:
    """A node whose processes are killed is no failure of the cell, though Ray says `Socket closed`:
    as many as it takes for a cell's own failures to be its end. Nothing that Ray prints of nodes
    reaches the terminal, and the table is the undisturbed one.
    """
    cluster, add = nodes
    raylet, out = add(), tmp_path / "run"
    (cell,) = load_sweep(small_sweep, {"data.n_people": "20"}).cells
    place = ["--address", cluster.address, "--out", out, "--save-every", 0.2]
    command = kcap("sweep", small_sweep, "--set", "data.n_people=20", *place)
    for _ in range(MAX_FAILURES):
        command.wait_for(lambda node=raylet: trains(node))
        kill_node(raylet)
        raylet = add()
    assert command.finish() == 0, command.stderr
    told = [line for line in warnings_in(command.stderr) if cell.cell_id in line]
    assert len(told) == MAX_FAILURES, command.stderr
    assert all(" its node " in line and "failure" not in line for line in told)
    both = command.stdout + command.stderr
    assert "raylet" not in both and "state-dump" not in both and "heartbeats from it" not in both
    expected = table(undisturbed[1])
    ours = table(out)
    assert ours.equals(expected[expected.cell_id == cell.cell_id].reset_index(drop=True))
    assert set(DIFFERS).isdisjoint(ours.columns)


def test_a_lost_head_is_said_within_seconds(
    nodes: Any, small_sweep: Path, undisturbed: Any, tmp_path: Path, kcap: Any
) -> None:
    """One line says what to do; the rest, done without the cluster, gives the same table."""
    cluster, add = nodes
    raylet, out = add(), tmp_path / "run"
    arguments = [small_sweep, "--out", out, "--save-every", 0.2]
    command = kcap("sweep", *arguments, "--address", cluster.address)
    command.wait_for(lambda: trains(raylet) and any(out.glob("cells/*/resume/*")))
    began = time.monotonic()
    os.kill(cluster.head_node.all_processes["gcs_server"][0].process.pid, signal.SIGKILL)
    assert command.finish() == 1
    took_s = time.monotonic() - began
    (line,) = [line for line in command.stderr.splitlines() if line.startswith("kcap: ")]
    assert cluster.address in line and "the same command goes on from here" in line
    assert took_s < 15, command.stderr
    kill_node(raylet)
    again = kcap("run-cell", *arguments)
    assert again.finish() == 0, again.stderr
    assert table(out).equals(table(undisturbed[1]))

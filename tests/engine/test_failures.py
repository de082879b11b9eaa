"""How failures of programs are counted and told."""

import pytest

from kcap_ray.config.errors import one_line
from kcap_ray.engine.failures import (
    MAX_FAILURES,
    MAX_LOST_MACHINES,
    FailureRecord,
    program_error,
)
from kcap_ray.engine.nodes import BEFORE_S, NODE_DEATH_S, Place
from kcap_ray.runs.results import CellDirectory

# As Ray words them.
DEAD_PROCESS = """The actor died unexpectedly before finishing this task.
	class_name: with_resources.<locals>.ResourceTrainable
	pid: 27970
	ip: 10.0.0.2
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR
"""
LOST_MACHINE = """The actor died unexpectedly before finishing this task.
	pid: 27970
	ip: 10.0.0.2
The actor died because its node has died. Node Id: 0f
	the actor's node was terminated unexpectedly: health check failed
"""
UNREACHABLE = (
    "The actor ACTOR is unavailable: The actor is temporarily unavailable: RpcError: RPC error: "
    "Socket closed rpc_code: 14. The task may or may not have been executed on the actor."
)
RAISED = """ray::ResourceTrainable.train() (pid=27970, ip=10.0.0.2)
  File "tune.py", line 1, in step
kcap_ray.engine.failures.ProgramError: ValueError: bad shape (see cells/x/error.txt)
"""


@pytest.fixture
def record():
    """A record without the logs of a session."""
    return FailureRecord(logs=None)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (DEAD_PROCESS, "worker process 27970 on 10.0.0.2 died"),
        (LOST_MACHINE, "its node has died (10.0.0.2: health check failed)"),
        (RAISED, "ValueError: bad shape (see cells/x/error.txt)"),
        ("", "no reason given"),
    ],
)
def test_cause_is_one_line(record, error, words):
    """Of Ray's pages a line is left that names the process, the machine or the error."""
    cause = record.cause(error)
    assert words in cause
    assert "\n" not in cause and "ProgramError" not in cause


@pytest.mark.parametrize("error", [DEAD_PROCESS, RAISED])
def test_program_that_fails_again_and_again_is_given_up(record, error, caplog):
    """A program's own failures count, up to the limit; the failures of another one do not."""
    for number in range(1, MAX_FAILURES):
        record.add("one", error)
        assert not record.is_given_up("one")
        record.warn("one", "cell", error)
        assert f"failure {number} of at most {MAX_FAILURES}" in caplog.messages[-1]
        record.add("another", LOST_MACHINE)
    record.add("one", error)
    assert record.is_given_up("one")
    assert not record.is_given_up("another")


def test_lost_machines_are_not_counted(record, caplog):
    """A program may lose as many machines as there are spot machines to lose; not without end."""
    for _ in range(MAX_LOST_MACHINES):
        record.add("one", LOST_MACHINE)
        assert not record.is_given_up("one")
    record.warn("one", "cell", LOST_MACHINE)
    assert "(failure" not in caplog.text
    record.add("one", LOST_MACHINE)
    assert record.is_given_up("one")


class FakeNodes:
    """Two nodes with an actor each, which may have gone."""

    def __init__(self):
        self.ends = {}

    def place_of(self, actor):
        places = {"aa": Place("first", "10.0.0.1"), "bb": Place("second", "10.0.0.2")}
        return places.get(actor)

    def is_gone(self, node):
        return node in self.ends

    def lost_since(self, at):
        return any(end >= at for end in self.ends.values())


def on_node(actor, error):
    """The error as that of an actor whose id Ray names in it."""
    return error.replace("ACTOR", actor).replace("pid:", f"actor_id: {actor}\n\tpid:", 1)


@pytest.fixture
def cluster():
    """A record of a cluster, its nodes, and what the clock shows after each wait."""
    nodes, waits = FakeNodes(), []
    record = FailureRecord(
        None, nodes, clock=lambda: 1_000.0 + sum(waits), sleep=lambda s: waits.append(s)
    )
    return record, nodes, waits


@pytest.mark.parametrize("error", [UNREACHABLE, DEAD_PROCESS])
def test_a_node_that_turns_out_to_be_gone_was_the_cause(cluster, error):
    """Whatever Ray said at first: a process that died or does not answer does not count once its
    node is known to be dead; also when that is known only after the last of too many failures.
    """
    record, nodes, waits = cluster
    for _ in range(MAX_FAILURES):
        record.add("one", on_node("aa", error))
    nodes.ends = {"first": 1_010.0}
    assert not record.is_given_up("one") and waits == []
    assert record.n_own("one") == 0
    for _ in range(MAX_FAILURES):
        record.add("one", on_node("bb", error))
    assert record.is_given_up("one")
    assert NODE_DEATH_S <= sum(waits) <= NODE_DEATH_S + 1, "the head may still have found it out"
    assert record.n_own("one") == MAX_FAILURES


def test_a_program_that_raised_an_error_is_given_up_at_once(cluster):
    """Its own mistakes have nothing to do with nodes; an error for want of a peer may."""
    record, nodes, waits = cluster
    nodes.ends = {"second": 990.0}
    peer = RAISED.replace("ValueError: bad shape", "OwnerDiedError: failed to get 00ff")
    for _ in range(MAX_FAILURES):
        record.add("one", RAISED)
        record.add("another", peer)
    assert record.is_given_up("one") and not record.is_given_up("another")
    assert waits == []
    nodes.ends = {"second": 1_000.0 - BEFORE_S - 1}
    assert record.is_given_up("another"), "that node had been gone for long"


def test_a_silent_node_is_named(cluster, caplog):
    """One line says which node does not answer, and counts nothing yet."""
    record, _, _ = cluster
    error = on_node("bb", UNREACHABLE)
    record.add("one", error)
    record.warn("one", "cell", error)
    assert caplog.messages == [
        "cell: its node does not answer (10.0.0.2: Socket closed); it goes on from its last "
        "checkpoint"
    ]


def test_last_words_of_a_dead_process_are_told(tmp_path):
    """The end of what the process wrote is part of the cause; Ray's own marks are not."""
    log = tmp_path / "worker-0f-01000000-27970.err"
    log.write_text(":job_id:01000000\nwarming up\nFatal: no memory left\n")
    assert '"warming up / Fatal: no memory left"' in FailureRecord(tmp_path).cause(DEAD_PROCESS)


def test_traceback_of_an_error_is_kept(tmp_path):
    """The one line names a file that holds the whole traceback."""
    directory = CellDirectory(tmp_path / "cells" / "some-cell")
    try:
        raise ValueError("first line\nsecond line")
    except ValueError as error:
        told = str(program_error(error, directory))
    assert told == "ValueError: first line (see cells/some-cell/error.txt)"
    assert "second line" in directory.error_file.read_text()
    assert one_line(KeyError()) == "KeyError"

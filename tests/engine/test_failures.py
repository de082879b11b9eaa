"""How failures of programs are counted and told."""

import pytest

from kcap_ray.engine.failures import MAX_FAILURES, FailureRecord, one_line, program_error
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
The actor died because its node has died. Node Id: 0f the actor's node was terminated unexpectedly
"""
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
        (LOST_MACHINE, "node has died"),
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
    chances = []
    for _ in range(MAX_FAILURES - 1):
        chances.append(record.is_last_chance("one"))
        record.add("one", "cell", error)
        record.add("another", "cell", LOST_MACHINE)
    assert not any(chances)
    assert record.is_last_chance("one")
    assert not record.is_last_chance("another")
    assert f"failure {MAX_FAILURES - 1} of at most {MAX_FAILURES}" in caplog.text


def test_lost_machines_are_not_counted(record):
    """A program may lose as many machines as there are spot machines to lose."""
    for _ in range(2 * MAX_FAILURES):
        record.add("one", "cell", LOST_MACHINE)
    assert not record.is_last_chance("one")


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

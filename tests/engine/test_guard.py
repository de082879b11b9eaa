"""A session that is lost is found out at once, and said in one line."""

import socket
import subprocess
import sys
import threading

import pytest

from kcap_ray.engine.guard import guarded, loss_of, silence_of


def test_a_process_that_has_ended_is_named() -> None:
    """With the signal or the status that it ended with."""
    running, killed, ended = (
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
        for code in ("input()", "input()", "raise SystemExit(3)")
    )
    with running, killed, ended:
        assert loss_of({"raylet": running})() is None
        killed.kill()
        killed.wait()
        assert loss_of({"raylet": running, "gcs_server": killed})() == (
            "Ray's gcs_server ended (SIGKILL)"
        )
        ended.wait()
        assert loss_of({"raylet": ended})() == "Ray's raylet ended (status 3)"
        running.kill()


def test_a_cluster_is_lost_when_it_has_been_silent_for_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not at once, and not when it has answered meanwhile; that it is silent is said early."""
    now_s = 0.0
    answers = iter([True, False, False, False, True, False, False])

    class Connection:
        def close(self) -> None: ...

    def connect(*_: object, **__: object) -> Connection:
        if next(answers):
            return Connection()
        raise TimeoutError("timed out")

    monkeypatch.setattr("socket.create_connection", connect)
    find = silence_of("10.0.0.1:6379", longest_s=45, clock=lambda: now_s)
    assert find() is None
    for now_s in (2.0, 4.0, 44.0, 50.0, 94.0):  # noqa: B007
        assert find() is None
    now_s = 95.0
    assert find() == (
        "the head of the cluster at 10.0.0.1:6379 has not answered for 45 s (timed out): "
        "bring the cluster up again"
    )
    line = (
        "the head of the cluster at 10.0.0.1:6379 does not answer (timed out); given up after 45 s"
    )
    assert caplog.messages == [line, line]


def test_a_head_that_refuses_connections_is_lost_within_seconds() -> None:
    """Its host answers that nothing listens there; not at the first time."""
    now_s = 0.0
    with socket.socket() as head:
        head.bind(("127.0.0.1", 0))
        head.listen()
        address = f"127.0.0.1:{head.getsockname()[1]}"
        find = silence_of(address, longest_s=45, clock=lambda: now_s)
        now_s = 100.0
        assert find() is None
    now_s = 109.0
    assert find() is None
    now_s = 110.0
    assert find() == (
        f"the head of the cluster at {address} has not answered for 10 s (Connection refused): "
        "bring the cluster up again"
    )


def test_the_end_is_called_once_and_never_afterwards() -> None:
    """Also while the main thread waits; a session that ended of itself is not lost."""
    called = threading.Event()
    found: list[str] = []

    def end(loss: str) -> None:
        found.append(loss)
        called.set()

    with guarded(lambda: "gone", end):
        assert called.wait(10)
    with guarded(lambda: None, end):
        pass
    assert found == ["gone"]


@pytest.mark.parametrize(("is_stopping", "status"), [(False, 1), (True, 130)])
def test_another_program_ends_with_one_line(is_stopping: bool, status: int) -> None:
    """It is not begun again, and neither is a command that was told to stop; what it has started
    ends with it.
    """
    code = f"""
import subprocess, sys
from kcap_ray.engine.guard import begin_again
from kcap_ray.runs.interrupt import _STOPPING
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
if {is_stopping}:
    _STOPPING.set()
begin_again("Ray's raylet ended")
"""
    # What it has started holds its pipes open, for longer than the time limit.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == status
    assert done.stderr == "kcap: Ray's raylet ended; the same command goes on from here\n"

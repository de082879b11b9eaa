"""Sessions: wrong addresses are found out at once, and nothing is left behind."""

import contextlib
import os
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

import kcap_ray.engine.session
from kcap_ray.config.errors import MachineError, UserError
from kcap_ray.engine.session import _start, _temporary_directory, ray_session


@pytest.fixture
def closed_port():
    """An address that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return f"127.0.0.1:{port}"


def refused(address):
    """The message with which the address is refused."""
    with pytest.raises(UserError) as caught, ray_session(address):
        pass
    return str(caught.value)


def test_address_without_a_cluster_is_refused_at_once(closed_port):
    """Within seconds, in one line that repeats the address; Ray alone takes two minutes."""
    start = time.monotonic()
    message = refused(closed_port)
    assert time.monotonic() - start < 5
    assert closed_port in message and "\n" not in message


@pytest.mark.parametrize("address", ["nonsense", "host:port", "ray://head:10001", "host:99999"])
def test_address_of_a_wrong_form_is_refused(address):
    """The message shows the form that is right."""
    message = refused(address)
    assert address in message and "\n" not in message


def test_directories_of_killed_sessions_are_removed(tmp_path, monkeypatch):
    """A session sweeps up what dead ones left, and leaves those that live alone; no other user can
    enter one.
    """
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(kcap_ray.engine.session, "_MAX_SOCKET_BYTES", 1_000)
    with _temporary_directory() as living:
        abandoned = tmp_path / "kcap-ray-abandoned"
        abandoned.mkdir()
        (abandoned / "owner.lock").touch()
        # A process of Ray that ended last made it again, without a lock.
        (tmp_path / "kcap-ray-again" / "r").mkdir(parents=True)
        os.utime(tmp_path / "kcap-ray-again", (0, 0))
        with _temporary_directory() as own:
            parents = {Path(living).parent, Path(own).parent}
            assert set(tmp_path.iterdir()) == parents
            assert {stat.S_IMODE(parent.stat().st_mode) for parent in parents} == {0o700}
    assert list(tmp_path.iterdir()) == []


def test_a_long_place_for_temporary_files_is_done_without(tmp_path, monkeypatch):
    """The paths of sockets would be too long in it: another place is taken, or that is said."""
    long = tmp_path / ("long" * 10)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    monkeypatch.setattr(kcap_ray.engine.session, "_SHORT_PLACES", (Path("/tmp"),))
    with _temporary_directory() as directory:
        assert Path(directory).parents[1] == Path("/tmp")
        socket_path = f"{directory}/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store"
        assert len(socket_path) <= 107
    monkeypatch.setattr(kcap_ray.engine.session, "_SHORT_PLACES", ())
    with pytest.raises(UserError, match=r"TMPDIR=.*too long.*write TMPDIR=/tmp"):
        _temporary_directory().__enter__()
    assert list(long.iterdir()) == []


@pytest.mark.slow
def test_nobody_else_reaches_a_session():
    """It listens on the loopback alone, and asks for a token that nobody else has."""
    code = """
import os, psutil
from kcap_ray.engine.session import ray_session
with ray_session(None):
    own = {process.pid for process in psutil.Process().children(recursive=True)} | {os.getpid()}
    places = {
        found.laddr.ip
        for found in psutil.net_connections("tcp")
        if found.status == psutil.CONN_LISTEN and found.pid in own
    }
    print(os.environ["RAY_AUTH_MODE"], len(os.environ["RAY_AUTH_TOKEN"]), *sorted(places))
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300
    )
    mode, n_letters, *places = done.stdout.split()
    assert (mode, n_letters) == ("token", "64")
    assert {place.removeprefix("::ffff:") for place in places} == {"127.0.0.1"}


@pytest.mark.parametrize("n_failures", [1, 2])
def test_a_session_that_does_not_start_is_tried_once_more(n_failures, monkeypatch, caplog):
    """In another directory; after the second time one line says so, and nothing is left behind."""
    import ray

    places = []

    def init(*, _temp_dir, **_):
        places.append(Path(_temp_dir))
        if len(places) <= n_failures:
            raise Exception("The current node timed out during startup.\nMore of it.")

    monkeypatch.setattr(ray, "init", init)
    with contextlib.ExitStack() as stack:
        if n_failures == 2:
            with pytest.raises(MachineError, match=r"does not start .*timed out during startup.*"):
                _start(stack, with_dashboard=False)
        else:
            assert _start(stack, with_dashboard=False) == str(places[1])
    assert len(set(places)) == 2
    assert not any(place.parent.exists() for place in places)
    assert caplog.messages[:1] == [
        "Ray did not start (Exception: The current node timed out during startup.); once more"
    ]

"""Sessions: wrong addresses are found out at once, and nothing is left behind."""

import socket
import tempfile
import time

import pytest

from kcap_ray.config.errors import UserError
from kcap_ray.engine.session import _temporary_directory, ray_session


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
    """A session sweeps up what dead ones left, and leaves those that live alone."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with _temporary_directory() as living:
        abandoned = tmp_path / "kcap-ray-abandoned"
        abandoned.mkdir()
        (abandoned / "owner.lock").touch()
        with _temporary_directory() as own:
            left = {str(path) for path in tmp_path.iterdir()}
            assert left == {living, own}
    assert list(tmp_path.iterdir()) == []

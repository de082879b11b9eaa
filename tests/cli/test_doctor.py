"""`kcap doctor`: what is wrong is named, with what to do about it."""

import json

import pytest
from typer.testing import CliRunner

import kcap_ray.cli.doctor
from kcap_ray.cli.doctor import node_problem, run_checks
from kcap_ray.cli.main import app

NOWHERE = "127.0.0.1:1"
"""An address at which no cluster is: port 1 is nobody's."""


@pytest.fixture
def checks(tmp_path, monkeypatch):
    """Runs the checks without starting Ray; name to check."""

    def run(out=tmp_path / "run", **limits):
        for name, limit in limits.items():
            monkeypatch.setattr(kcap_ray.cli.doctor, name, limit)
        return {check.name: check for check in run_checks(address=NOWHERE, out=out)}

    return run


def test_every_check_answers(checks):
    """Each of them says what it found; only the cluster that is not there is a problem."""
    found = checks(MIN_MEMORY_GIB=0, MIN_DISK_GIB=0, MIN_SHM_GIB=0)
    assert all(check.finding for check in found.values())
    assert [name for name, check in found.items() if check.remedy is not None] == ["ray"]
    assert NOWHERE in found["ray"].finding


@pytest.mark.parametrize(
    ("limit", "name"),
    [
        ("MIN_MEMORY_GIB", "memory"),
        ("MIN_SHM_GIB", "shared memory"),
        ("MIN_DISK_GIB", "run directory"),
    ],
)
def test_shortage_is_a_problem(checks, limit, name):
    """Too little of something is named, with a remedy."""
    assert checks(**{limit: 1e9})[name].remedy


def test_directory_that_cannot_be_written_is_a_problem(checks, tmp_path):
    """A path below a file is no directory, even for root."""
    (tmp_path / "file").touch()
    check = checks(out=tmp_path / "file" / "run")["run directory"]
    assert check.remedy and str(tmp_path / "file") in check.finding


def test_card_that_torch_cannot_use_is_a_problem(tmp_path, monkeypatch):
    """A node with a card and a torch that is built for CPUs would train on the CPU, unnoticed."""
    import torch

    probe = tmp_path / "probe"
    probe.touch()
    monkeypatch.setattr(kcap_ray.cli.doctor, "_nvidia_cards", lambda: 1)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "CUDA" in (node_problem(probe) or "")
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert node_problem(probe) is None


def test_node_without_the_run_directory_is_a_problem(tmp_path):
    """A node that does not see what was written on the head shares no file system with it."""
    assert str(tmp_path) in (node_problem(tmp_path / "probe") or "")


def test_command_fails_when_there_is_a_problem(tmp_path):
    """One line per check, the remedies below, and exit status 1."""
    done = CliRunner().invoke(app, ["doctor", "--address", NOWHERE, "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert "problem  ray:" in done.output
    assert done.output.startswith("ok       python:")


def test_checks_are_json_too(tmp_path):
    """For programs: one object per check; the exit status is the same."""
    command = ["doctor", "--address", NOWHERE, "--out", str(tmp_path), "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    found = {check["name"]: check for check in json.loads(done.stdout)}
    assert found["python"]["is_ok"] and not found["ray"]["is_ok"]

import json
import sys

import pytest


@pytest.fixture
def record(load, tmp_path, monkeypatch):
    """The module, with its committed results in another place."""
    module = load("record")
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    return module


def test_record_says_who_measured_what_and_how(record, tmp_path, monkeypatch):
    """Where files lie on this machine is left out of the command."""
    words = ["step.py", "--json", "/tmp/there.json", "--rounds", "3", "--out", "/tmp/x/runs"]
    monkeypatch.setattr(sys, "argv", words)
    found = record.claim("P3", ours=6.0, peer=3.0, unit="steps/s", goal=2.0, goal_for="ratio")
    record.write("/tmp/x/step.py", [found], tmp_path / "there.json")
    (written,) = json.loads((tmp_path / "there.json").read_text())
    assert written["ratio"] == 2.0
    assert written["command"] == "python benchmarks/step.py --rounds 3 --out runs"
    assert {"date", "versions", "machine", "git_commit"} <= written.keys()


def test_results_lie_beside_the_others_unless_said_otherwise(record, tmp_path):
    """Under the script's name."""
    record.write("step.py", [{"claim": "P3"}], None)
    assert (tmp_path / "results" / "step.json").exists()


def test_dry_run_leaves_no_results(record, tmp_path):
    """Only where it is told to, and then marked."""
    record.write("step.py", [{"claim": "P3"}], None, is_dry_run=True)
    assert list(tmp_path.iterdir()) == []
    record.write("step.py", [{"claim": "P3"}], tmp_path / "there.json", is_dry_run=True)
    assert json.loads((tmp_path / "there.json").read_text())[0]["dry_run"] is True

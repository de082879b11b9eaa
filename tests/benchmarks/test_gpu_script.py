"""The script for a GPU machine, in its dry run on a CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAGES = ("check", "tests", "steps", "fused", "large", "throughput", "column")


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("stage", STAGES)
def test_stage_runs_dry(tmp_path, stage):
    """Every stage ends well and leaves its records, marked as those of a dry run."""
    command = [sys.executable, "benchmarks/gpu.py", "--dry-run", "--stage", stage]
    done = subprocess.run(
        [*command, "--out", str(tmp_path), "--commit", "abc"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (ended,) = json.loads((tmp_path / f"gpu-{stage}.json").read_text())["stages"]
    assert "left_out" not in ended
    for file in tmp_path.glob("*-dry-run.json"):
        for record in json.loads(file.read_text()):
            assert record["dry_run"]
            assert record["git_commit"]


@pytest.mark.slow
def test_without_a_gpu_it_measures_nothing(tmp_path):
    """It says so, and how to try it."""
    command = [sys.executable, "benchmarks/gpu.py", "--out", str(tmp_path / "out")]
    hidden = {"CUDA_VISIBLE_DEVICES": "", "PATH": ""}
    done = subprocess.run(
        command, cwd=ROOT, env=hidden, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "--dry-run" in done.stderr
    assert not (tmp_path / "out").exists()

"""The script for a GPU machine, in its dry run on a CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

WITHOUT = """
import functools
from importlib.machinery import PathFinder

ABSENT = "auto_gptq jinja2 matplotlib optuna ray rich seaborn tensorboardX typer".split()

def find_spec(find, name, *more):
    return None if name.partition(".")[0] in ABSENT else find(name, *more)

PathFinder.find_spec = functools.partial(find_spec, PathFinder.find_spec)
"""
"""A `sitecustomize` with which packages seem not to be installed that kcap brings along here."""


@pytest.mark.slow
@pytest.mark.parametrize("part", [1, 2, 3, 4, 5])
def test_part_runs_dry_and_is_resumed(tmp_path, part):
    """Every part ends well, with little more than torch and transformers, and leaves its records,
    marked as those of a dry run, with the commit; the same command again runs only what adds to its
    results.
    """
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "sitecustomize.py").write_text(WITHOUT)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "without")}
    command = [sys.executable, "benchmarks/gpu.py", "--dry-run", "--part", str(part)]
    # Two minutes on an idle machine; the limit is for one that has other work.
    command += ["--out", str(tmp_path), "--commit", "abc", "--limit", "700"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / f"gpu-part{part}.json").read_text())
    assert not any("left_out" in ended for ended in summary)
    records = [json.loads(file.read_text()) for file in tmp_path.glob("*-dry-run.json")]
    assert len(records) == len(summary)
    for record in [one for found in records for one in found]:
        assert record["dry_run"]
        assert record["git_commit"] == "abc"
    if part in (4, 5):
        return
    subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
    again = json.loads((tmp_path / f"gpu-part{part}.json").read_text())
    assert all(ended["was_done"] for ended in again)


@pytest.mark.slow
def test_without_a_gpu_it_measures_nothing(tmp_path):
    """It says so, and how to try it."""
    command = [sys.executable, "benchmarks/gpu.py", "--part", "1", "--out", str(tmp_path / "out")]
    hidden = {"CUDA_VISIBLE_DEVICES": "", "PATH": ""}
    done = subprocess.run(
        command, cwd=ROOT, env=hidden, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "--dry-run" in done.stderr
    assert not (tmp_path / "out").exists()

"""`kcap submit` on a real head with its dashboard: the sweep, its files and this source arrive."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from kcap_ray.runs.environment import git_commit
from kcap_ray.runs.opening import opened
from tests.engine.conftest import descendants
from tests.survival.bucket import Bucket

pytestmark = pytest.mark.slow

SWEEP = """
# Question: do the files arrive?
name: shipped
base:
  data: {kind: tuples, file: FILE, n_people: 3}
  model.head_dim: 16
  model: gpt2-1-1
  train: {exposures: 10, batch_windows: 1, window_tokens: 32, precision: fp32, lr: 1.0e-2}
  train.weight_decay: 0.01
tune: {trials: 1}
"""

FACTS = """name,attribute,value
Ada Lovelace,field,mathematics
Alan Turing,field,logic
Grace Hopper,field,compilers
"""


def free_ports(n: int) -> list[int]:
    """Ports that nobody listens at, and that the system gives nobody who asks for just any."""
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        while len(found) < n:
            one, port = stack.enter_context(socket.socket()), random.randrange(20_000, 32_000)
            with contextlib.suppress(OSError):
                one.bind(("127.0.0.1", port))
                found.append(port)
    return found


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket, whose server and credentials this process and those that it starts know."""
    with Bucket(tmp_path) as found:
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        yield found


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch, bucket: Bucket) -> Iterator[str]:
    """The dashboard of a cluster of one node, which asks for a token that this process has. The
    cluster knows the bucket.
    """
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef" * 4)
    # The job's `python` is the one of the cluster.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    port, dashboard, agent, client = free_ports(4)
    # Paths of sockets are short.
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as directory:
        command = [Path(sys.executable).parent / "ray", "start", "--head", "--block"]
        command += [f"--port={port}", f"--dashboard-port={dashboard}", f"--temp-dir={directory}"]
        command += [f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}"]
        command += ["--node-ip-address=127.0.0.1", "--num-cpus=2", "--disable-usage-stats"]
        command += ["--include-dashboard=true", f"--object-store-memory={200 * 2**20}"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(dashboard)
            yield f"http://127.0.0.1:{dashboard}"
        finally:
            for pid in (process.pid, *descendants(process.pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()


def wait_for(port: int) -> None:
    """Wait until somebody listens there."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise AssertionError(f"nobody listens at {port}")


def test_a_submitted_sweep_runs_to_its_end_with_its_files(
    head: str, bucket: Bucket, tmp_path: Path
) -> None:
    """The facts lie elsewhere than the sweep, and the table in a bucket; the rows name this commit;
    the exit status is the job's.
    """
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "facts.csv").write_text(FACTS)
    (tmp_path / "sweeps").mkdir()
    sweep = tmp_path / "sweeps" / "shipped.yaml"
    sweep.write_text(SWEEP.replace("FILE", "../data/facts.csv"))
    out = bucket.url("run")
    command = [sys.executable, "-m", "kcap_ray.cli", "submit", str(sweep)]
    command += ["--address", head, "--out", out, "--device", "cpu", "--wait"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with opened(out) as run:
        (row,) = pd.read_parquet(run / "results.parquet").to_dict("records")
    assert row["status"] == "ok" and row["n_people"] == 3
    assert row["git_commit"] == git_commit()
    job = done.stdout.strip()
    assert job.startswith("shipped-")
    assert f"ray job logs --follow --address {head} {job}" in done.stderr


def test_no_dashboard_is_told_in_two_lines(tmp_path: Path) -> None:
    """Port 1 is nobody's."""
    command = [sys.executable, "-m", "kcap_ray.cli", "submit", "quickstart", "--out", "s3://b/r"]
    command += ["--address", "http://127.0.0.1:1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "http://127.0.0.1:1: no dashboard of Ray answers" in done.stderr
    assert len(done.stderr.splitlines()) <= 2

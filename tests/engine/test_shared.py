"""Nodes that do not see the run directory, on a cluster of raylets of this machine: one of them
runs in a mount namespace of its own, in which the directory is another.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kcap_ray.runs.opening import TOKEN
from tests.engine.conftest import descendants
from tests.engine.raylets import STORE_BYTES, add_node, raylets
from tests.small_sweep import sweep_text

pytestmark = pytest.mark.slow


def can_unshare() -> bool:
    """Whether this user may mount in a namespace of its own."""
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(command, capture_output=True).returncode == 0


@contextmanager
def blind_node(address: str, hidden: Path, *, cpus: int) -> Iterator[None]:
    """A node of the cluster that sees an empty directory at `hidden`."""
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
    start += ["--address", address, f"--num-cpus={cpus}", f"--object-store-memory={STORE_BYTES}"]
    start += ["--resources", '{"blind": 1}', "--disable-usage-stats"]
    # Without what a session of this process is told, which no other node may join.
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"}
    # On a busy machine a node that takes long to start gives up.
    command = " ".join(map(_quoted, start))
    script = f"mount -t tmpfs tmpfs {hidden} && while true; do {command}; sleep 1; done"
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )
    try:
        yield
    finally:
        started = descendants(process.pid)
        for pid in [process.pid, *started]:
            subprocess.run(["kill", "-9", str(pid)], capture_output=True)
        process.wait()


def _quoted(word: str) -> str:
    return f"'{word}'"


@pytest.mark.skipif(not can_unshare(), reason="this user may not mount in a namespace")
def test_a_node_that_does_not_see_the_directory_is_named(kcap: Any, tmp_path: Path) -> None:
    """At the start in one line, before anything is trained; and where it joins later, when it is
    given its first program. What was trained meanwhile is kept.
    """
    # What the node hides must not be what Ray and Python need.
    sweep, out = tmp_path / "small.yaml", tmp_path / "out" / "run"
    sweep.write_text(sweep_text(exposures=100_000))
    out.mkdir(parents=True)
    line = re.compile(rf"kcap: --out {re.escape(str(out))}: node \S+ does not see this directory")
    with raylets() as cluster:
        add_node(cluster)
        address = str(cluster.address)
        late = kcap("sweep", sweep, "--out", out, "--address", address, "--save-every", "0.5")
        late.wait_for(lambda: any(out.glob("cells/*/progress.json")))
        with blind_node(address, out.parent, cpus=2):
            assert late.finish() != 0
            assert [one for one in late.stderr.splitlines() if line.match(one)], late.stderr
            assert "Traceback" not in late.stderr
            # By the time that the node has joined, a trial may have ended.
            kept = [*out.glob("cells/*/resume/*.pt"), *out.glob("cells/*/trials.jsonl")]
            assert kept, "what was at work was not saved"
            # It has joined: it was given a program.
            first = kcap("sweep", sweep, "--out", out, "--address", address)
            began = time.monotonic()
            assert first.finish() == 2
            assert line.match(first.stderr.splitlines()[-1]), first.stderr
            assert time.monotonic() - began < 100
    assert (out / TOKEN).is_file()

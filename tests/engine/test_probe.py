"""`kcap doctor` on real raylets: every node answers, and a fault of the cluster is found."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CLUSTER = """
import sys
from tests.engine.raylets import add_node, raylets

with raylets(num_cpus=1) as cluster:
    # The second says that it has a GPU, and has none.
    add_node(cluster, num_gpus=1)
    print(cluster.address, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of two raylets."""
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(timeout=60)
        process.stdout.close()


def test_every_raylet_is_looked_at(address: str, tmp_path: Path) -> None:
    """Versions and storage of both; bandwidth between them; the GPU that is not there is the only
    problem, and the exit status tells it.
    """
    command = [sys.executable, "-m", "kcap_ray.cli", "doctor", "--address", address]
    command += ["--out", str(tmp_path / "run"), "--sweep", "quickstart", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    found = {check["name"]: check for check in json.loads(done.stdout)}
    assert found["nodes"]["finding"] == "2 of 2 answer"
    assert found["storage"]["is_ok"] and [*tmp_path.iterdir()] == []
    assert "GB/s by gloo between" in found["network"]["finding"]
    assert "quickstart, 4 cells" in found["sweep"]["finding"]
    assert "torch sees 0 of 1 GPUs" in found["GPUs"]["finding"]
    # What this machine has too little of is not the cluster's fault.
    machine = {"memory", "disks", "run directory", "shared memory", "open files"}
    assert {name for name, check in found.items() if not check["is_ok"]} - machine == {"GPUs"}
    assert done.returncode == 1

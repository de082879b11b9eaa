"""A sweep on a cluster of hosts on this machine, from `ray up` to `ray down`: one host is cut off
in the middle and another one joins, and the table is that of one host. `python -m
tests.cluster.on_hosts` writes what happened when into docs/results/hosts.json.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from kcap_ray.planning.sweep import load_sweep
from kcap_ray.runs.environment import describe
from kcap_ray.runs.results import RunDirectory
from tests.cluster.hosts import ROOT, Host, Network, network
from tests.cluster.namespaces import left
from tests.engine.test_data_parallel import assert_same_but_for_rounding
from tests.survival.scene import DIFFERS

RESULTS = ROOT / "docs" / "results" / "hosts.json"

SWEEP = """\
# Question: does a cluster of hosts give the table of one?
name: hosts
base:
  data: {kind: bioD, pools: mini, K: 2, C: 1, D: 5, L: 1, T: 100, style: compact, n_people: 40}
  model: gpt2-1-1
  model.head_dim: 16
  train: {batch_windows: 32, window_tokens: 32, precision: fp32, init_std: 0.1}
  train.lr: 6.0e-3
  train.weight_decay: 0.01
grid:
  # The second cell is spread over two hosts, and is by far the longest.
  train: [{exposures: 100, workers: 1}, {exposures: EXPOSURES, workers: 2}]
tune:
  trials: 1
  fused: 1
  lr: {low: 3.0e-3, high: 1.5e-2}
"""
EXPOSURES = 320
"""A hundred steps: few, since each waits for both hosts, and enough to be cut off among them."""

STORE_BYTES = 100_000_000
LONGEST_S = 300.0
"""Longest wait for one step, on a machine that is busy with something else."""

NAMES = ("head", "first", "second", "third", "desk")
"""The third joins later; commands are given from the desk."""

ENVIRONMENT = "RAY_AUTH_MODE=disabled"

_LOGS = (
    "cd /tmp/ray/session_latest/logs; tail -n 30 monitor.log; grep -i dead gcs_server.out | tail"
)


class Record:
    """What happened when."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.events: list[dict[str, Any]] = []

    def add(self, event: str, **more: Any) -> None:
        """An event at this moment."""
        found = {"at_s": round(time.monotonic() - self._began, 1), "event": event, **more}
        self.events.append(found)
        print(json.dumps(found), flush=True)

    def at_s(self, event: str) -> float:
        """When it happened."""
        return next(found["at_s"] for found in self.events if found["event"] == event)


def cluster_file(net: Network) -> str:
    """A cluster file for hosts that are there, as in Ray's documentation."""
    store = f"--object-store-memory={STORE_BYTES}"
    content = {
        "cluster_name": "kcap",
        "provider": {
            "type": "local",
            "head_ip": net.address("head"),
            "worker_ips": [net.address(name) for name in ("first", "second")],
        },
        "auth": {"ssh_user": "root", "ssh_private_key": str(net.key)},
        "file_mounts": {"~/hosts.yaml": "~/hosts.yaml"},
        "head_start_ray_commands": [
            "ray stop",
            f"ray start --head --port=6379 --num-cpus=0 {store} "
            "--autoscaling-config=~/ray_bootstrap_config.yaml",
        ],
        "worker_start_ray_commands": ["ray stop", join_command(net, "$RAY_HEAD_IP")],
    }
    return yaml.safe_dump(content, sort_keys=False)


def join_command(net: Network, head: str) -> str:
    """What a host joins the cluster with."""
    return f"ray start --address={head}:6379 --num-cpus=1 --object-store-memory={STORE_BYTES}"


def ssh(net: Network, source: Host, target: Host, command: str) -> list[str]:
    """What gives a command on one host from another."""
    options = f"-i {net.key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -q"
    return source.command(f"ssh {options} root@{target.address} '{command}'")


def wait_for(happened: Callable[[], Any], what: str, *, every_s: float = 0.25) -> Any:
    """Wait until `happened()` is true, and return it."""
    end = time.monotonic() + LONGEST_S
    while not (found := happened()):
        if time.monotonic() > end:
            raise TimeoutError(f"{LONGEST_S:.0f} s without {what}")
        time.sleep(every_s)
    return found


class Sweep:
    """A `kcap sweep` on the head, given from another host."""

    def __init__(self, net: Network, out: Path) -> None:
        self.out, self._lines = out, net.base / "sweep.txt"
        words = f"kcap sweep hosts.yaml --address auto --out {out} --save-every 0 --json"
        command = ssh(net, net.hosts["desk"], net.hosts["head"], words)
        with self._lines.open("wb") as errors, (net.base / "sweep.json").open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=errors)

    @property
    def stderr(self) -> str:
        """What it has reported so far."""
        return self._lines.read_text(errors="replace")

    def said(self, pattern: str) -> str:
        """The first line that it has reported with this in it, if any; it must be at work, or
        have ended well.
        """
        if self.process.poll():
            raise RuntimeError(f"kcap sweep: status {self.process.returncode}\n{self.stderr}")
        found = [line for line in self.stderr.splitlines() if re.search(pattern, line)]
        return found[0] if found else ""


def trains_on(host: Host) -> bool:
    """Whether a data-parallel worker is at work on the host."""
    return any("RayTrainWorker" in line and "IDLE" not in line for line in host.processes())


def ray_processes(net: Network) -> list[str]:
    """Processes of Ray on all hosts that are up, and what `ray up` keeps open."""
    lines = [
        f"{host.name}: {line[:100]}"
        for host in net.hosts.values()
        if host.is_up
        for line in host.processes()
    ]
    return [line for line in lines if re.search(r"ray|gcs_server|python|ssh: ", line)]


def sweep_text() -> str:
    """The sweep file."""
    return SWEEP.replace("EXPOSURES", str(EXPOSURES))


def run(net: Network, record: Record) -> tuple[RunDirectory, str]:
    """The whole scene; the run directory in the shared folder, and what kcap reported."""
    for name in ("head", "first", "second", "desk"):
        net.start(name)
    desk, head = net.hosts["desk"], net.hosts["head"]
    (desk.home / "cluster.yaml").write_text(cluster_file(net))
    (desk.home / "hosts.yaml").write_text(sweep_text())
    record.add("hosts are up: head, first, second", see=len(head.processes()))
    # Ray 2.60's second autoscaler takes the head for one of the local provider's `worker_ips`, and
    # leaves one of them out.
    desk.run("RAY_UP_enable_autoscaler_v2=0 ray up -y cluster.yaml", timeout_s=LONGEST_S)
    record.add("ray up has ended")
    for name in ("first", "second"):
        host = net.hosts[name]
        wait_for(lambda host=host: any("raylet" in line for line in host.processes()), name)
        record.add(f"raylet on {name}")
    sweep = Sweep(net, net.shared / "run")
    try:
        _disturb(net, sweep, record)
    except BaseException:
        print(sweep.stderr, head.run(_LOGS), sep="\n", file=sys.stderr)
        raise
    finally:
        if sweep.process.poll() is None:
            sweep.process.kill()
            sweep.process.wait()
    desk.run("ray down -y cluster.yaml", timeout_s=LONGEST_S)
    record.add("ray down has ended")
    # With the local provider `ray down` ends Ray on the head alone: elsewhere the raylet ends when
    # it misses the head, a minute later, and its log monitor does not.
    for name in ("first", "third"):
        subprocess.run(ssh(net, desk, net.hosts[name], "ray stop"), check=True, capture_output=True)
    record.add("ray stop on first and third")
    wait_for(lambda: not ray_processes(net), f"an end of {ray_processes(net)}", every_s=1.0)
    record.add("no process of Ray is left on any host")
    return RunDirectory(sweep.out), sweep.stderr


def _disturb(net: Network, sweep: Sweep, record: Record) -> None:
    record.add("kcap sweep --address auto")
    pair = [net.hosts[name] for name in ("first", "second")]
    wait_for(lambda: sweep.said("") is not None and all(map(trains_on, pair)), "two workers")
    record.add("a data-parallel cell trains on first and second")
    wide = load_sweep(net.hosts["desk"].home / "hosts.yaml").cells[1]
    directory = RunDirectory(sweep.out).cell(wide.cell_id)
    wait_for(
        lambda: sweep.said("") is not None and any(directory.path.glob("resume/*")),
        "a save",
        every_s=0.05,
    )
    record.add("it has saved")
    assert directory.result() is None, "the cell was done before its host was cut off"
    # Its network alone would do too; Ray gives a silent host up after 65 s.
    net.hosts["second"].end()
    record.add("second is cut off: all of its processes are killed")
    third = net.start("third")
    joining = ssh(net, net.hosts["head"], third, join_command(net, net.address("head")))
    subprocess.run(joining, check=True, capture_output=True, timeout=LONGEST_S)
    record.add("third has joined by ray start")
    line = wait_for(lambda: sweep.said("its node (has died|does not)"), "a line on the lost host")
    record.add("kcap says so", line=line.split(" ", 2)[-1])
    wait_for(lambda: sweep.said("") is not None and sweep.process.poll() is not None, "the end")
    record.add("kcap sweep has ended", status=sweep.process.returncode)


def rows(directory: RunDirectory) -> list[dict[str, Any]]:
    """The table without times."""
    table = pq.read_table(directory.path / "results.parquet")
    return table.drop_columns(list(DIFFERS)).to_pylist()


def check(file: Path, of_hosts: RunDirectory, of_one: RunDirectory) -> None:
    """The table is that of one host: the cell of one worker to the bit, the one that was spread
    over hosts to rounding. Raises `AssertionError`.
    """
    narrow, wide = load_sweep(file).cells
    ours, theirs = rows(of_hosts), rows(of_one)
    assert [row["cell_id"] for row in ours] == [narrow.cell_id, wide.cell_id]
    assert {row["status"] for row in ours} == {"ok"}
    assert ours[0] == theirs[0]
    assert_same_but_for_rounding(wide, of_one.cell(wide.cell_id), of_hosts.cell(wide.cell_id))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=RESULTS)
    given, record = parser.parse_args(), Record()
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "hosts.yaml", Path(folder) / "run"
        file.write_text(sweep_text())
        with network(NAMES, ENVIRONMENT) as net:
            of_hosts, said = run(net, record)
            kcap = [sys.executable, "-m", "kcap_ray.cli", "run-cell"]
            subprocess.run([*kcap, file, "--out", out], capture_output=True, check=True)
            record.add("the same sweep on one host has ended")
            check(file, of_hosts, RunDirectory(out))
            n_rows = len(rows(of_hosts))
            record.add("its table is that of the hosts")
        record.add("the hosts and their network are gone", left=left())
    lines = [line.partition(" ")[2] for line in said.splitlines()]
    content = {**describe(), "command": "python -m tests.cluster.on_hosts", "rows": n_rows}
    content |= {"events": record.events, "kcap": [line for line in lines if "WARNING" in line]}
    given.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

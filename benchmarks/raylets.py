"""The simulated makespan of a sweep against the measured one, on 1, 2 and 4 raylets of one device.

The raylets are real, and so are the queue, Ray Tune, the ledger and the results; the programs are
stand-ins that sleep for the time that is planned for them, since raylets of one machine would
share its cores. What Ray itself takes (to begin with a worker, and from program to program) is
measured on one raylet and given to the simulator for the others.
"""

import argparse
import contextlib
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import record
import yaml

from kcap_ray.config.errors import UserError
from kcap_ray.engine.program import Program
from kcap_ray.engine.queue import SweepQueue
from kcap_ray.engine.view import ClusterView
from kcap_ray.planning.cost import device_of
from kcap_ray.planning.jobs import jobs_of, planned_seconds
from kcap_ray.planning.simulate import simulate
from kcap_ray.planning.sweep import Sweep, load_sweep
from kcap_ray.planning.virtual_cluster import VirtualCluster
from kcap_ray.runs.record import TrialRecord
from kcap_ray.runs.results import RunDirectory

SWEEP = """\
# Question: does a sweep take as long as simulated?
name: raylets
base:
  data: {kind: bioD, pools: mini, K: 2, C: 1, D: 5, L: 1, T: 100, style: compact, n_people: 20}
  model.head_dim: 16
  train: {exposures: 100, batch_windows: 16384, window_tokens: 32, precision: fp32}
  train.lr: 6.0e-3
  train.weight_decay: 0.01
grid:
  train.steps: [100, 200, 400]
  model: [gpt2-2-6, gpt2-2-8]
tune:
  trials: 6
  lr: {low: 3.0e-3, high: 1.5e-2}
  weight_decay: {low: 1.0e-3, high: 1.0e-1}
"""

GOAL = 0.1
"""Most that a predicted makespan may be off, as a share of the measured one."""


def inputs(folder: Path, *, seconds: float, steps: list[int]) -> tuple[Sweep, str]:
    """The sweep, and a device on which a trial of its first cell takes so many seconds."""
    path, device = folder / "raylets.yaml", folder / "device.yaml"
    path.write_text(SWEEP)
    sweep = load_sweep(path, {"train.steps": str(steps)})
    content = {"name": "stand-in", "unit": "device", "precision": "fp32", "source": "made up"}
    device.write_text(yaml.safe_dump({**content, "seconds": {"block_flop": 1.0}}))
    unit = planned_seconds(sweep.cells[0], device_of(str(device)))(1, 1)
    device.write_text(yaml.safe_dump({**content, "seconds": {"block_flop": seconds / unit}}))
    return sweep, str(device)


def run(folder: Path, n_raylets: int, *, seconds: float, steps: list[int]) -> dict[str, Any]:
    """Run the sweep on real raylets; when programs began and ended, and the table."""
    arguments = [str(folder), str(n_raylets), str(seconds), json.dumps(steps)]
    done = subprocess.run(
        [sys.executable, __file__, "--worker", *arguments],
        capture_output=True,
        text=True,
        timeout=600,
    )
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise UserError(f"the run on {n_raylets} raylets failed: {done.stderr[-2000:]}")
    return json.loads(lines[-1])


def overheads(measured: dict[str, Any]) -> dict[str, float]:
    """What Ray takes, from a run on one raylet: before the first program, and between programs."""
    programs = sorted(measured["programs"])
    gaps = [later[0] - earlier[1] for earlier, later in itertools.pairwise(programs)]
    return {"first_start_s": programs[0][0], "start_s": float(np.median(gaps))}


def predicted_s(sweep: Sweep, device: str, n_raylets: int, found: dict[str, float]) -> float:
    """The makespan by simulation; the nodes are up."""
    cluster = VirtualCluster(
        n_devices=n_raylets,
        node_devices=1,
        boot_s=0.0,
        first_start_s=found["first_start_s"],
        start_s=found["start_s"],
    )
    jobs = jobs_of(sweep.cells, sweep.neighbour, device_of(device), column=sweep.column)
    return simulate(jobs, cluster).makespan_s


def _worker(folder: Path, n_raylets: int, seconds: float, steps: list[int]) -> None:
    """One run, in a process of its own."""
    from kcap_ray.engine.session import ray_session

    sweep, device = inputs(folder, seconds=seconds, steps=steps)
    directory, times = RunDirectory(folder / f"run{n_raylets}"), folder / f"times{n_raylets}"
    directory.prepare()
    view = ClusterView(device=device, n_devices=lambda: float(n_raylets))
    with _raylets(n_raylets) as address, ray_session(address):
        from kcap_ray.engine.tune import run_queue

        queue = SweepQueue(sweep.cells, sweep.neighbour, directory, sweep=sweep.name, view=view)
        stand_in = partial(_stand_in, device=device, times=times)
        began = time.time()
        run_queue(queue, directory, stand_in, resources=lambda _: {"CPU": 1.0})
    print(json.dumps(_found(sweep, directory, times, began)), flush=True)


@contextlib.contextmanager
def _raylets(n_raylets: int) -> Iterator[str]:
    """The address of a cluster of so many raylets of one CPU."""
    from ray.cluster_utils import Cluster

    # Sockets lie in this directory, so its name must be short. Another cluster may be up.
    with tempfile.TemporaryDirectory(prefix="kcap-raylets-", ignore_cleanup_errors=True) as own:
        os.environ["RAY_TMPDIR"] = own
        (Path(own) / "ray").mkdir()
        node: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 10**8}
        head = node | {"include_dashboard": False, "dashboard_port": None, "temp_dir": own}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            for _ in range(n_raylets - 1):
                cluster.add_node(**node)
            assert cluster.address is not None, "the head is up"
            yield cluster.address
        finally:
            cluster.shutdown()


def _stand_in(program: Program, place: RunDirectory, *, device: str, times: Path) -> None:
    """Sleep for the time that is planned for the program; write made-up records, and into a file of
    `times` when it began and ended.
    """
    began = time.time()
    planned = planned_seconds(program.cell, device_of(device))
    time.sleep(planned(len(program.points), program.workers))
    records = [
        TrialRecord(
            trial=program.first_in_place + index,
            lr=point.lr,
            weight_decay=point.weight_decay,
            status="ok",
            # Best inside of the ranges, and another place for each cell.
            bits=_made_up(program.cell.train.steps, point.lr, point.weight_decay),
            capacity_ratio=_made_up(program.cell.train.steps, point.lr, point.weight_decay),
        )
        for index, point in enumerate(program.points)
    ]
    program.place(place).add_trials(records)
    name = f"{program.cell.cell_id}-{program.first_trial}.time"
    times.mkdir(exist_ok=True)
    (times / name).write_text(f"{began} {time.time()}")


def _found(sweep: Sweep, directory: RunDirectory, times: Path, began: float) -> dict[str, Any]:
    """The makespan, the programs' seconds since `began`, and the table."""
    programs = [
        [float(word) - began for word in file.read_text().split()] for file in times.iterdir()
    ]
    rows = [
        [row.cell_id, row.status, row.lr, row.weight_decay, row.capacity_ratio, row.n_trials]
        for row in directory.rows(sweep.cells)
    ]
    trials = [
        [[trial.lr, trial.weight_decay] for trial in directory.cell(cell.cell_id).trials()]
        for cell in sweep.cells
    ]
    makespan_s = max(end for _, end in programs)
    return {"makespan_s": makespan_s, "programs": programs, "rows": rows, "trials": trials}


def _made_up(steps: int | None, lr: float, decay: float) -> float:
    return 2.0 - abs(math.log(lr / 6e-3)) - 0.1 * abs(math.log(decay * (steps or 1) / 2.0))


def main() -> None:
    parser = record.arguments(__file__, __doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="Of a trial of the least cell.")
    parser.add_argument("--raylets", type=int, nargs="+", default=[1, 2, 4])
    asked = parser.parse_args()
    steps = [100, 200, 400]
    claims = []
    with tempfile.TemporaryDirectory(prefix="kcap-") as name:
        folder = Path(name)
        sweep, device = inputs(folder, seconds=asked.seconds, steps=steps)
        runs = {n: run(folder, n, seconds=asked.seconds, steps=steps) for n in asked.raylets}
        found = overheads(runs[1])
        for n, measured in runs.items():
            is_same = all(measured[key] == runs[1][key] for key in ("rows", "trials"))
            claims.append(
                record.claim(
                    f"simulated makespan, {n} raylets",
                    ours=predicted_s(sweep, device, n, found),
                    peer=measured["makespan_s"],
                    unit="s",
                    what=f"{len(sweep.cells)} cells of 6 trials, stand-ins that sleep",
                    peer_is="measured makespan",
                    is_same_table=is_same,
                    first_start_s=found["first_start_s"],
                    start_s=found["start_s"],
                )
            )
    record.write(__file__, claims, asked.json)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        parser = argparse.ArgumentParser()
        for name in ("folder", "n", "seconds", "steps"):
            parser.add_argument(name)
        given = parser.parse_args(sys.argv[2:])
        _worker(Path(given.folder), int(given.n), float(given.seconds), json.loads(given.steps))
    else:
        main()

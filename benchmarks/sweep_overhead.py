"""P7: what a sweep costs beside the training in it, against plain Ray Tune, a process per trial.

Ours is `kcap sweep` as a command of its own, the peer `plain_tune.py` likewise: the same cell, the
same learning rates and windows, one CPU per trial and all CPUs in use, one side after the other.

Long trials, of about a minute each, two rounds of them on every CPU. All in CPU seconds:

    overhead = CPUs * wall - training - measuring,   share = overhead / (CPUs * wall)

wall       from the start of the command to its end: Ray's start, processes that are started, the
           wait for the first windows, an idle CPU at the end, the report. This is what is compared
           with the goal, though start and end come once per sweep, however long it is.
training   of each trial its steps times the pace of its loss curve after the curve's first point,
           so that a wait for the first windows is overhead and not training.
measuring  of the people, which is work and not overhead: timed alone, times the trials. The peer
           measures nothing.

The share of the time between the first training step and the end of the last trial stands beside
it: what a longer sweep would tend to.

Short trials, of a few steps: one after the other in a single cell, and at most one at a time for
the peer. Seconds per trial after the first, from the end of the first trial to that of the last,
with everything in them.

Peer: plain Ray Tune: a function trainable, a process per trial
Goal: at most 5% overhead for trials of 60 s; at most 0.5 s per short trial after the first
Needs: Ray; 7 minutes on two cores, and 17 with `--rounds 6`

    python benchmarks/sweep_overhead.py
"""

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from record import arguments, claim, write
from sweep_command import (
    cell_directories,
    measuring_seconds,
    run_sweep,
    seconds_in_steps,
    steady_seconds,
)

from kcap_ray.config.cell import Cell
from kcap_ray.planning.run_length import length_of, spec_of
from kcap_ray.planning.sweep import load_sweep
from kcap_ray.text.stream.batches import in_process_batches, stream_of

BASE = {
    "data": {"kind": "bioD", "pools": "mini", "style": "compact"}
    | {"n_people": 800, "K": 6, "C": 1, "D": 50, "L": 1, "T": 2000},
    "model": "gpt2-2-1",
    "model.head_dim": 16,
    "train": {"batch_windows": 4, "window_tokens": 128, "precision": "fp32"},
    "train.weight_decay": 0.01,
}
"""The largest cell of the quickstart."""

LR = 2.0e-2
SEARCHED = {"low": 8.0e-3, "high": 4.0e-2}
ROUNDS = 2
CALIBRATION_EXPOSURES = 20
SHORT_EXPOSURES = 2


@dataclass(frozen=True, kw_only=True)
class Side:
    """A run of long trials, in seconds: of the day for times, of a CPU for sums."""

    wall: float
    training: list[float]
    """In steps, trial by trial."""
    waiting: float
    """Of all trials, for their first windows."""
    measuring: float
    before: float
    """From the command to the first training step."""
    after: float
    """From the end of the last trial to that of the command."""

    def shares(self, n_cpus: int) -> dict[str, float]:
        """Overhead as a share of CPU time: of the whole command, and between start and end."""
        work = sum(self.training) + self.measuring
        between = self.wall - self.before - self.after
        return {
            "share": 1 - work / (n_cpus * self.wall),
            "share_between_start_and_end": 1 - work / (n_cpus * between),
        }


def pace_here(exposures: int) -> float:
    """Seconds of training that one exposure takes in this process."""
    import torch

    from kcap_ray.training.loop import train
    from kcap_ray.training.point import Point
    from kcap_ray.training.step import TrainStep

    torch.set_num_threads(1)
    cell = cell_of(exposures)
    n_steps = length_of(cell).steps
    result = train(
        TrainStep(
            cell,
            spec_of(cell),
            [Point(lr=cell.train.lr, weight_decay=cell.train.weight_decay)],
            n_steps=n_steps,
            device=torch.device("cpu"),
        ),
        in_process_batches(stream_of(cell), cell.train, n_steps=n_steps),
    )
    history = result.history
    return steady_seconds([p.step for p in history], [p.seconds for p in history]) / exposures


def calibrated_exposures(trial_s: float, n_cpus: int) -> int:
    """Exposures that take `trial_s` seconds where every CPU trains."""
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_cpus, mp_context=spawned) as pool:
        paces = list(pool.map(pace_here, [CALIBRATION_EXPOSURES] * n_cpus))
    return max(2, round(trial_s / (sum(paces) / n_cpus)))


def sweep_file(directory: Path, exposures: int, lrs: list[float], **parts: Any) -> Path:
    """A sweep of the benchmark's cell, once for each of the learning rates."""
    path = directory / "sweep.yaml"
    sweep = {"name": "overhead", "base": {**BASE, "train.exposures": exposures}}
    path.write_text(yaml.safe_dump({**sweep, "grid": {"train.lr": lrs}, **parts}))
    return path


def cell_of(exposures: int) -> Cell:
    """The benchmark's cell."""
    with tempfile.TemporaryDirectory() as directory:
        return load_sweep(sweep_file(Path(directory), exposures, [LR])).cells[0]


def run_plain_tune(
    directory: Path, cell: Cell, lrs: list[float], at_once: int
) -> tuple[float, list[dict[str, Any]]]:
    """Run the peer; when it began, and what its trials report."""
    job, results = directory / "job.json", directory / "results.json"
    job.write_text(json.dumps({"cell": cell.to_dict(), "lrs": lrs, "at_once": at_once}))
    command = [sys.executable, "-c", "import plain_tune; plain_tune.main()"]
    # A Ray of its own, whatever else runs on the machine; its workers import the module too.
    own = {"RAY_ADDRESS": "local", "PYTHONPATH": str(Path(__file__).parent)}
    began = time.time()
    with (directory / "tune.log").open("w+") as log:
        process = subprocess.run(
            [*command, str(job), str(results)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **own},
        )
        if process.returncode != 0:
            log.seek(0)
            raise RuntimeError(f"plain Ray Tune failed:\n{log.read()}")
    return began, json.loads(results.read_text())


def long_ours(directory: Path, exposures: int, lrs: list[float]) -> Side:
    """`kcap sweep` of one cell per learning rate."""
    out, file = directory / "long", sweep_file(directory, exposures, lrs)
    began = time.time()
    marks = run_sweep(file, out)
    cells = cell_directories(out)
    training = [seconds_in_steps(cell.history_file) for cell in cells]
    ends = [cell.trials_file.stat().st_mtime - began for cell in cells]
    measuring = measuring_seconds(cell_of(exposures), 1)
    in_train = [cell.trials()[0].train_time_s or 0.0 for cell in cells]
    return Side(
        wall=marks.end,
        training=training,
        waiting=sum(in_train) - sum(training),
        measuring=measuring * len(cells),
        before=min(np.subtract(ends, training)) - measuring,
        after=marks.end - max(ends),
    )


def long_peer(directory: Path, exposures: int, lrs: list[float], n_cpus: int) -> Side:
    """Plain Tune at the same learning rates."""
    cell = cell_of(exposures)
    began, trials = run_plain_tune(directory, cell, lrs, n_cpus)
    wall = time.time() - began
    training = [steady_seconds(trial["steps"], trial["seconds"]) for trial in trials]
    ends = [trial["ended"] - began for trial in trials]
    return Side(
        wall=wall,
        training=training,
        waiting=sum(trial["train_time_s"] for trial in trials) - sum(training),
        measuring=0.0,
        before=min(np.subtract(ends, training)),
        after=wall - max(ends),
    )


def long_claim(directory: Path, trial_s: float, rounds: int) -> dict[str, Any]:
    """The share of a sweep of long trials that is overhead, both sides."""
    n_cpus = os.cpu_count() or 1
    exposures = calibrated_exposures(trial_s, n_cpus)
    lrs = np.geomspace(SEARCHED["low"], SEARCHED["high"], rounds * n_cpus).tolist()
    ours = long_ours(directory, exposures, lrs)
    peer = long_peer(directory, exposures, lrs, n_cpus)
    return claim(
        "P7",
        ours=ours.shares(n_cpus)["share"],
        peer=peer.shares(n_cpus)["share"],
        unit="share of CPU time that is neither training nor measuring",
        goal=0.05,
        goal_is="at most",
        what=f"{len(lrs)} trials of {np.mean(ours.training):.0f} s on {n_cpus} CPUs",
        peer_is="plain Ray Tune, a function trainable, a process per trial",
        steps=length_of(cell_of(exposures)).steps,
        measured={
            name: {**side.shares(n_cpus), **vars(side)}
            for name, side in (("ours", ours), ("peer", peer))
        },
    )


def short_claim(directory: Path, n_trials: int) -> dict[str, Any]:
    """Seconds per trial after the first, both sides."""
    out, tune = directory / "short", {"trials": n_trials, "fused": 1, "lr": SEARCHED}
    began = time.time()
    marks = run_sweep(sweep_file(directory, SHORT_EXPOSURES, [LR], tune=tune), out)
    (ledger,) = cell_directories(out)
    last = ledger.trials_file.stat().st_mtime - began
    lrs = [trial.lr for trial in ledger.trials()]
    cell = cell_of(SHORT_EXPOSURES)
    _, trials = run_plain_tune(directory, cell, lrs, 1)
    ended = sorted(trial["ended"] for trial in trials)
    return claim(
        "P7-short",
        ours=(last - marks.first_trial) / (n_trials - 1),
        peer=(ended[-1] - ended[0]) / (n_trials - 1),
        unit="s per trial after the first",
        goal=0.5,
        goal_is="at most",
        what=f"{n_trials} trials of {length_of(cell).steps} steps, one at a time",
        peer_is="plain Ray Tune, a function trainable, a process per trial",
        training_s=float(np.mean([trial["train_time_s"] for trial in trials])),
        measuring_s=measuring_seconds(cell, 1),
    )


def main() -> None:
    """Measure both, print."""
    parser = arguments(__file__, __doc__, has_dry_run=True)
    parser.add_argument("--trial-seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="long trials per CPU")
    parser.add_argument("--short-trials", type=int, default=13)
    chosen = parser.parse_args()
    if chosen.dry_run:
        chosen.trial_seconds, chosen.rounds, chosen.short_trials = 1.0, 1, 2
    with tempfile.TemporaryDirectory() as directory:
        found = [
            long_claim(Path(directory), chosen.trial_seconds, chosen.rounds),
            short_claim(Path(directory), chosen.short_trials),
        ]
    write(__file__, found, chosen.json, is_dry_run=chosen.dry_run)


if __name__ == "__main__":
    main()

"""P9: how long `kcap plan` takes, and how close the hours that it predicts come to those of a run.

Start: the whole command on a sweep of one cell. Cells: what the command takes longer for the
columns of the published figure, twice over, scaled to 1,000 cells. Medians over rounds.

Hours: a sweep of twelve cells of bioD, with widths, depths, batches and numbers of trials that
throughput.py does not time, is run by `kcap sweep` on all cores of this machine. Predicted for
`--device`, which should have been measured on this machine, against the training time in the
ledger, of all trials together and cell by cell.

Peer: the training time of the run
Goal: below 0.5 s to start, below 1 s for 1,000 cells, hours within 20%
Needs: Ray, 5 minutes

    python benchmarks/planning.py --device cpu
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from record import arguments, claim, write
from sweep_command import program_seconds, run_sweep

from kcap_ray.planning.plan import plan_cells
from kcap_ray.planning.sweep import load_sweep
from kcap_ray.runs.results import RunDirectory

SWEEPS = Path(__file__).parents[1] / "sweeps"
START_GOAL_S, CELLS_GOAL_S, HOURS_GOAL = 0.5, 1.0, 0.2
FIRST_EXPOSURES = 1_000
"""Exposures at which the length of the run is first predicted."""

SWEEP = {
    "name": "planning",
    "base": {
        "data": {"kind": "bioD", "pools": "mini", "style": "compact", "n_people": 300}
        | {"K": 6, "C": 1, "D": 50, "L": 1, "T": 2000},
        "train": {"window_tokens": 128, "precision": "fp32", "lr": 5.0e-3, "weight_decay": 0.01},
        # Cells wait for no neighbour, so that all cores are busy.
        "tune": {"warm_start": False, "lr": {"low": 2.0e-3, "high": 1.0e-2}},
        "keep_checkpoint": False,
    },
    "grid": {
        "model": [
            {"name": "gpt2-3-1", "head_dim": 16},
            {"name": "llama-2-3", "head_dim": 16},
            {"name": "gpt2-1-3", "head_dim": 32},
        ],
        "train.batch_windows": [3, 10],
        "tune.trials": [1, 4],
    },
}


def command_s(sweep_file: Path, rounds: int) -> float:
    """Median seconds of `kcap plan` on the file."""
    command = [sys.executable, "-m", "kcap_ray.cli", "plan", str(sweep_file)]
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def planning_claims(directory: Path, rounds: int) -> list[dict[str, Any]]:
    """The start, and 1,000 cells."""
    content = yaml.safe_load((SWEEPS / "exposure1000.yaml").read_text(encoding="utf-8"))
    del content["where"]
    many, one = directory / "many.yaml", directory / "one.yaml"
    many.write_text(yaml.safe_dump({**content, "grid": {**content["grid"], "seed": [0, 1]}}))
    smallest = {key: values[:1] for key, values in content["grid"].items()}
    one.write_text(yaml.safe_dump({**content, "grid": smallest}))
    n_cells = len(load_sweep(many).cells)
    start_s, many_s = command_s(one, rounds), command_s(many, rounds)
    return [
        claim(
            "P9-start",
            ours=start_s,
            peer=START_GOAL_S,
            unit="s for `kcap plan` of one cell",
            goal=START_GOAL_S,
            goal_is="at most",
            what="the whole command",
            peer_is="what it may take",
        ),
        claim(
            "P9-cells",
            ours=(many_s - start_s) / n_cells * 1_000,
            peer=CELLS_GOAL_S,
            unit="s for 1,000 cells more",
            goal=CELLS_GOAL_S,
            goal_is="at most",
            what=f"{n_cells:,} cells of bioS, table and all",
            peer_is="what it may take",
            command_s=many_s,
        ),
    ]


def sweep_file(directory: Path, *, device: str, minutes: float) -> Path:
    """The sweep, with as many exposures as should take the minutes on all cores."""
    path = directory / "sweep.yaml"

    def written(exposures: int) -> Path:
        train = {**SWEEP["base"]["train"], "exposures": exposures}
        base = {**SWEEP["base"], "train": train}
        path.write_text(yaml.safe_dump({**SWEEP, "base": base}, sort_keys=False))
        return path

    rows = plan_cells(load_sweep(written(FIRST_EXPOSURES)), device=device)
    minutes_first = sum(row.device_hours for row in rows) * 60 / (os.cpu_count() or 1)
    return written(max(2, round(FIRST_EXPOSURES * minutes / minutes_first)))


def hours_claim(directory: Path, *, device: str, minutes: float) -> dict[str, Any]:
    """Predicted and measured hours of the sweep, which it runs."""
    path, out = sweep_file(directory, device=device, minutes=minutes), directory / "run"
    run_sweep(path, out)
    cells = []
    for row in plan_cells(load_sweep(path), device=device):
        seconds = program_seconds(RunDirectory(out).cell(row.cell_id))
        predicted_s, measured_s = 3600 * row.device_hours, sum(seconds)
        cells.append(
            {"cell": row.cell_id, "batch_windows": row.batch_windows, "n_trials": row.n_trials}
            | {"steps": row.steps, "programs": len(seconds)}
            | {"predicted_s": predicted_s, "measured_s": measured_s}
            | {"ratio": predicted_s / measured_s}
        )
    predicted_s, measured_s = (sum(cell[key] for cell in cells) for key in _SIDES)
    return claim(
        "P9-hours",
        ours=abs(predicted_s / measured_s - 1),
        peer=HOURS_GOAL,
        unit="relative error of predicted hours of training",
        goal=HOURS_GOAL,
        goal_is="at most",
        what=f"a sweep of {len(cells)} cells on all cores, {measured_s / 60:.1f} core-minutes",
        peer_is="the error that a plan may have",
        device=device,
        predicted_hours=predicted_s / 3600,
        measured_hours=measured_s / 3600,
        predicted_over_measured=predicted_s / measured_s,
        cells=cells,
    )


_SIDES = ("predicted_s", "measured_s")


def parsed() -> argparse.Namespace:
    """What the command line says."""
    parser = arguments(__file__, __doc__, has_dry_run=True)
    parser.add_argument("--device", default="cpu", help="name or file, as for `kcap plan`")
    parser.add_argument("--minutes", type=float, default=3.5, help="length of the sweep")
    parser.add_argument("--rounds", type=int, default=7, help="of the command")
    chosen = parser.parse_args()
    if chosen.dry_run:
        chosen.minutes, chosen.rounds = 0.02, 1
    return chosen


def main() -> None:
    """Plan, run, compare."""
    chosen = parsed()
    with tempfile.TemporaryDirectory() as name:
        found = planning_claims(Path(name), chosen.rounds)
        found.append(hours_claim(Path(name), device=chosen.device, minutes=chosen.minutes))
    write(__file__, found, chosen.json, is_dry_run=chosen.dry_run)


if __name__ == "__main__":
    main()

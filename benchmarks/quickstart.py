"""P10: the quickstart, from the command to the figure, on this machine as it is.

Runs `kcap sweep sweeps/quickstart.yaml` in a fresh directory, installation aside, and says where
the time goes: the wait for Ray, its workers and the first windows; the cells; the end of Ray; the
table and the report. There is no peer: the other side is the goal, and the ratio is goal / ours.

Peer: none; the other side is the goal
Goal: at most 3 minutes on 2 CPU cores
Needs: Ray

    python benchmarks/quickstart.py
"""

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from record import arguments, claim, write
from sweep_command import (
    Marks,
    cell_directories,
    measuring_seconds,
    program_seconds,
    run_sweep,
)

from kcap_ray.planning.sweep import load_sweep
from kcap_ray.runs.results import RunDirectory

QUICKSTART = Path(__file__).parents[1] / "sweeps" / "quickstart.yaml"
GOAL_S = 180.0
DRY_RUN = {"train.exposures": "2", "tune.trials": "2"}


def split(marks: Marks) -> dict[str, float]:
    """Where the wall time goes, in seconds, one part after the other."""
    return {
        "until_first_steps": marks.training,
        "cells": marks.last_cell - marks.training,
        "end_of_ray": marks.table - marks.last_cell,
        "table_and_report": marks.end - marks.table,
    }


def main() -> None:
    """Run, look, print."""
    chosen = arguments(__file__, __doc__, has_dry_run=True).parse_args()
    settings = DRY_RUN if chosen.dry_run else {}
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "run"
        marks = run_sweep(QUICKSTART, out, settings)
        assert (out / "report.html").exists(), "no report was written"
        found = quickstart_claim(out, marks, settings)
    write(__file__, [found], chosen.json, is_dry_run=chosen.dry_run)


def quickstart_claim(out: Path, marks: Marks, settings: dict[str, str]) -> dict[str, Any]:
    """The claim from a run's files."""
    rows = pd.read_parquet(RunDirectory(out).results_file)
    programs = [seconds for cell in cell_directories(out) for seconds in program_seconds(cell)]
    fused = dict(zip(rows["cell_id"], rows["n_trials_fused"], strict=True))
    cells = load_sweep(QUICKSTART, settings).cells
    measuring = sum(measuring_seconds(cell, int(fused[cell.cell_id])) for cell in cells)
    return claim(
        "P10",
        ours=marks.end,
        peer=GOAL_S,
        ratio=GOAL_S / marks.end,
        unit="s from command to figure",
        goal=GOAL_S,
        goal_is="at most",
        peer_is="the goal; nothing else does this",
        what=f"kcap sweep sweeps/{QUICKSTART.name}: {len(cells)} cells, "
        f"{int(rows['n_trials'].sum())} trials",
        seconds=split(marks),
        training_s=sum(programs),
        programs=len(programs),
        measuring_s=measuring,
        largest_capacity_ratio=float(rows["capacity_ratio"].max()),
    )


if __name__ == "__main__":
    main()

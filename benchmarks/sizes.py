"""P9, sizes: what `kcap plan`, `status` and `report` take on sweeps of thousands of cells.

Processor time of the whole command, in all of its threads and processes, median over rounds. Plan:
10,000 cells of the published figure, without `--devices`. Status and report: a run of 1,000 cells
that have ended, with three trials each. It is made of the committed results of `laptop`, each cell
many times over, with another seed and 3% of noise on R.

Peer: the time that it may take
Goal: at most 5 s, 1 s and 20 s
Needs: 2 minutes

    python benchmarks/sizes.py
"""

import argparse
import dataclasses
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml
from record import arguments, claim, write

from kcap_ray.config.cell import Cell
from kcap_ray.planning.sweep import Sweep, load_sweep
from kcap_ray.runs.manifest import write_manifest
from kcap_ray.runs.record import ResultRow, TrialRecord
from kcap_ray.runs.results import RunDirectory

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "docs" / "results" / "laptop"
N_TRIALS = 3
NOISE = 0.03
GOALS_S = {"plan": 5.0, "status": 1.0, "report": 20.0}


def cpu_s(verb: str, target: Path, rounds: int) -> float:
    """Median processor time of the command on the file or directory, in seconds."""
    command = [sys.executable, "-m", "kcap_ray.cli", verb, str(target)]
    times = []
    for _ in range(rounds):
        began_s = _children_s()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(_children_s() - began_s)
    return statistics.median(times)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def large_sweep(path: Path, n_cells: int) -> int:
    """Write the published figure with enough seeds for that many cells; how many there are."""
    content = yaml.safe_load((ROOT / "sweeps" / "exposure1000.yaml").read_text(encoding="utf-8"))
    del content["where"]

    def written(n_seeds: int) -> int:
        grid = {**content["grid"], "seed": list(range(n_seeds))}
        path.write_text(yaml.safe_dump({**content, "grid": grid}, sort_keys=False))
        return len(load_sweep(path).cells)

    return written(math.ceil(n_cells / written(1)))


def ended_run(out: Path, n_cells: int) -> Sweep:
    """Write a run of so many cells or a few more, all of which have ended."""
    rows = {_key(row): row for row in pq.read_table(SOURCE / "results.parquet").to_pylist()}
    n_seeds = str(list(range(math.ceil(n_cells / len(load_sweep("laptop").cells)))))
    sweep = load_sweep("laptop", {"seed": n_seeds})
    run, rng = RunDirectory(out), np.random.default_rng(0)
    run.prepare()
    write_manifest(
        run, name=sweep.name, question=sweep.question, sweep_file=sweep.path, cells=sweep.cells
    )
    trials = _trials()
    for cell in sweep.cells:
        row = rows[cell.data.n_people, cell.train.exposures, cell.model.name]
        _end(run, cell, row, trials[row["cell_id"]], factor=math.exp(NOISE * rng.normal()))
    run.collect(sweep.cells)
    return sweep


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["n_people"], row["exposures"], row["model"]


def _trials() -> dict[str, list[TrialRecord]]:
    found: dict[str, list[TrialRecord]] = {}
    for row in pq.read_table(SOURCE / "trials.parquet").to_pylist():
        if not row.get("part") and row["trial"] < N_TRIALS:
            record = TrialRecord.from_dict(_known(row, TrialRecord))
            found.setdefault(row["cell_id"], []).append(record)
    return found


def _known(values: dict[str, Any], record: type) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(record)}
    return {name: value for name, value in values.items() if name in names}


def _end(
    run: RunDirectory,
    cell: Cell,
    row: dict[str, Any],
    trials: Iterable[TrialRecord],
    *,
    factor: float,
) -> None:
    """Give the cell the trials and the row, with R and what is stored times the factor."""
    scaled = {name: row[name] * factor for name in ("capacity_ratio", "stored_bits")}
    own = {"cell_id": cell.cell_id, "seed": cell.seed, "config": json.dumps(cell.to_dict())}
    directory = run.cell(cell.cell_id)
    directory.path.mkdir(parents=True)
    directory.add_trials(trials)
    directory.finish(ResultRow.from_dict({**_known(row, ResultRow), **scaled, **own}))


def sizes_claim(verb: str, target: Path, what: str, rounds: int) -> dict[str, Any]:
    """What a command takes."""
    goal_s = GOALS_S[verb]
    return claim(
        f"P9-{verb}",
        ours=cpu_s(verb, target, rounds),
        peer=goal_s,
        unit=f"s of processor time for `kcap {verb}`",
        goal=goal_s,
        goal_is="at most",
        what=what,
        peer_is="what it may take",
        rounds=rounds,
    )


def measured(folder: Path, *, n_plan: int, n_ended: int, rounds: int) -> Sequence[dict[str, Any]]:
    """All three."""
    n_cells = large_sweep(folder / "many.yaml", n_plan)
    sweep = ended_run(folder / "run", n_ended)
    ended = f"{len(sweep.cells):,} cells that have ended, {N_TRIALS} trials each"
    return [
        sizes_claim("plan", folder / "many.yaml", f"{n_cells:,} cells, no devices", rounds),
        sizes_claim("status", folder / "run", ended, rounds),
        sizes_claim("report", folder / "run", ended, min(rounds, 3)),
    ]


def parsed() -> argparse.Namespace:
    """What the command line says."""
    parser = arguments(__file__, __doc__, has_dry_run=True)
    parser.add_argument("--rounds", type=int, default=7, help="of each command, at most")
    return parser.parse_args()


def main() -> None:
    """Make them, and measure."""
    chosen = parsed()
    rounds = 1 if chosen.dry_run else chosen.rounds
    n_plan, n_ended = (600, 32) if chosen.dry_run else (10_000, 1_000)
    with tempfile.TemporaryDirectory() as name:
        found = measured(Path(name), n_plan=n_plan, n_ended=n_ended, rounds=rounds)
    write(__file__, found, chosen.json, is_dry_run=chosen.dry_run)


if __name__ == "__main__":
    main()

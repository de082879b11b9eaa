"""P11: a whole column of the published figure on one GPU.

The ten smallest models of the sweep exposure100 on bioS with 50,000 people, 100 exposures, six
tuned trials each: trained, measured, written down as `kcap run-cell` does it, without Ray. With
`--budget` no cell is started that would not be done in time; the same command goes on from there.
What is done, and what all ten would take, is said as it is: a projection counts the time of the
cells that are done and scales it by arithmetic to the others, which overrates larger models as
long as launches, and not arithmetic, take the time.

Peer: the rate that the paper's largest run implies of an A100, about 16,700 tokens/s
Goal: at most 1,800 s
Needs: a GPU

    python benchmarks/column.py --out runs/column
    python benchmarks/column.py --dry-run               # tiny, on a CPU
"""

import argparse
import importlib.util
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from cells import SWEEPS
from record import arguments, claim, write

from kcap_ray.config.cell import Cell
from kcap_ray.execution.cell import finish_cell, run_cells
from kcap_ray.execution.cell_run import CellRun
from kcap_ray.execution.trial_batch import run_trial_batch
from kcap_ray.planning.cost import flops_per_token
from kcap_ray.planning.run_length import length_of, spec_of
from kcap_ray.planning.sweep import load_sweep
from kcap_ray.runs.record import ResultRow
from kcap_ray.runs.results import RunDirectory
from kcap_ray.training.point import Point

N_MODELS = 10
TIME_FILE = "wall.json"
SHOWN = (
    "model",
    "status",
    "n_params",
    "capacity_ratio",
    "max_capacity_ratio",
    "lr",
    "weight_decay",
    "n_trials_fused",
    "train_time_s",
    "tokens_per_s",
)
# What the paper's largest run implies of one A100: 8% of its arithmetic.
PAPER_TOKENS_PER_S = 16_700.0

POINTS = ((1.0, 1.0), (1.4, 1.0), (2.0, 1.0), (0.6, 1.0), (1.4, 3.0), (1.4, 0.3))
"""Without Optuna: learning rate and weight decay of the trials, as multiples of the paper's; each
is moved into the ranges of the sweep.
"""


def column(*, is_tiny: bool) -> list[Cell]:
    """The ten smallest models of the sweep; if tiny, two of them in a size for a CPU."""
    settings = {"data.n_people": "50_000"}
    if is_tiny:
        settings = {
            "data.n_people": "50",
            "data.pools": "mini",
            "train.exposures": "4",
            "train.lr": "1.0e-3",
            "train.weight_decay": "0.01",
            "train.batch_windows": "2",
            "train.window_tokens": "128",
            "train.precision": "bf16",
            "model.head_dim": "8",
            "tune.trials": "2",
            "where": "null",
        }
    cells = load_sweep(SWEEPS / "exposure100.yaml", settings).cells
    smallest = sorted(cells, key=lambda cell: spec_of(cell).n_params)[:N_MODELS]
    return smallest[:2] if is_tiny else smallest


def fixed_points(cell: Cell) -> list[Point]:
    """The points that stand in for a search."""
    lr, weight_decay = cell.tune.lr, cell.tune.weight_decay
    assert lr is not None and weight_decay is not None, "the sweep searches both"
    return [
        Point(
            lr=lr.clip(cell.train.lr * lr_factor),
            weight_decay=weight_decay.clip(cell.train.weight_decay * decay_factor),
        )
        for lr_factor, decay_factor in POINTS[: cell.tune.trials]
    ]


def has_optuna() -> bool:
    """Whether the search can run; its first points are scipy's."""
    return all(importlib.util.find_spec(name) is not None for name in ("optuna", "scipy"))


def run_one(cell: Cell, run: RunDirectory, device: torch.device) -> ResultRow:
    """A cell from start to its row: with the search, or at fixed points if there is no Optuna."""
    directory = run.cell(cell.cell_id)
    if has_optuna():
        run_cells([cell], {}, run, sweep="column", device=device)
    else:
        # Nothing is learnt from one trial for another, so all of them are one round.
        cell_run = CellRun(cell=cell, directory=directory, device=device)
        run_trial_batch(cell_run, fixed_points(cell), first_trial=0)
        finish_cell(cell, directory, sweep="column")
    row = directory.result()
    assert row is not None, "a cell that has run has a row"
    return row


def work_of(cells: Sequence[Cell]) -> float:
    """Floating-point operations of all trials of these cells."""
    return sum(
        cell.tune.trials
        * length_of(cell).tokens
        * flops_per_token(spec_of(cell), cell.train.window_tokens)
        for cell in cells
    )


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A cell that is done."""

    cell: Cell
    row: ResultRow
    wall_s: float
    """From its start to its row: data, compilation, training, measurement."""
    was_interrupted: bool
    """Whether an earlier try was lost, whose time nobody knows."""


def finished(cells: Sequence[Cell], run: RunDirectory) -> list[Finished]:
    """The cells that are done."""
    found = []
    for cell in cells:
        directory = run.cell(cell.cell_id)
        row = directory.result()
        if row is not None:
            time_taken = json.loads((directory.path / TIME_FILE).read_text(encoding="utf-8"))
            found.append(Finished(cell=cell, row=row, **time_taken))
    return found


def run_in_time(
    cells: Sequence[Cell], run: RunDirectory, device: torch.device, budget_s: float | None
) -> None:
    """Run what is left of the cells, as far as it can be done in the time."""
    began = time.monotonic()
    for cell in cells:
        directory = run.cell(cell.cell_id)
        if directory.result() is not None:
            continue
        done = finished(cells, run)
        spent = time.monotonic() - began
        # Until a cell is done nothing is known of its time, so the first one is always started.
        expected = work_of([cell]) * seconds_per_work(done) if done else 0.0
        if budget_s is not None and spent + expected > budget_s:
            print(
                f"{cell.model.name} would take about {expected:.0f} s, and {spent:.0f} s of "
                f"{budget_s:.0f} s are spent, so it is not started",
                flush=True,
            )
            break
        begun = directory.path / "begun"
        was_interrupted = begun.exists()
        directory.path.mkdir(parents=True, exist_ok=True)
        begun.touch()
        started = time.monotonic()
        row = run_one(cell, run, device)
        seconds = time.monotonic() - started
        note = json.dumps({"wall_s": seconds, "was_interrupted": was_interrupted})
        (directory.path / TIME_FILE).write_text(note + "\n", encoding="utf-8")
        print(
            f"{cell.model.name}: {row.status}, R {row.capacity_ratio}, {seconds:.1f} s",
            flush=True,
        )
    run.collect(cells)


def seconds_per_work(done: Sequence[Finished]) -> float:
    """Of all cells that are done together."""
    return sum(one.wall_s for one in done) / work_of([one.cell for one in done])


def claim_of(cells: Sequence[Cell], done: Sequence[Finished]) -> dict[str, Any]:
    """The column's time: of all cells, or projected from those that are done."""
    seconds = sum(one.wall_s for one in done)
    projected = work_of(cells) * seconds_per_work(done)
    is_whole = len(done) == len(cells) and not any(one.was_interrupted for one in done)
    tokens = sum(cell.tune.trials * length_of(cell).tokens for cell in cells)
    data, train, tune = cells[0].data, cells[0].train, cells[0].tune
    return claim(
        "P11" if is_whole else "P11-part",
        ours=seconds if is_whole else projected,
        peer=tokens / PAPER_TOKENS_PER_S,
        unit="s of one device for the whole column",
        goal=1_800.0,
        goal_is="at most",
        what=f"{data.label}, {data.n_people:,} people, {train.exposures} exposures, {len(done)} of "
        f"{len(cells)} models, {tune.trials} trials each{'' if is_whole else '; projected to all'}",
        peer_is="the same tokens at the rate that the paper's largest run implies of an A100",
        points="Optuna" if has_optuna() else "fixed list",
        measured_s=seconds,
        projected_s=projected,
        n_done=len(done),
        n_cells=len(cells),
        tokens=tokens,
        cells=[
            {name: getattr(one.row, name) for name in SHOWN}
            | {"wall_s": one.wall_s, "was_interrupted": one.was_interrupted}
            for one in done
        ],
    )


def run_column(chosen: argparse.Namespace, out: Path) -> None:
    """Run, say what is done, write."""
    device = torch.device("cpu" if chosen.dry_run else "cuda")
    cells = column(is_tiny=chosen.dry_run)
    run = RunDirectory(out)
    run.prepare()
    run_in_time(cells, run, device, chosen.budget)
    found = [claim_of(cells, finished(cells, run))]
    on_gpu = device.type == "cuda"
    write(__file__, found, chosen.json, on_gpu=on_gpu, is_dry_run=chosen.dry_run)


def main() -> None:
    """Run the column, or what is left of it; print."""
    parser = arguments(__file__, __doc__, has_dry_run=True)
    parser.add_argument("--out", type=Path, default=Path("runs/column"), help="run directory")
    parser.add_argument("--budget", type=float, help="seconds within which the last cell must end")
    chosen = parser.parse_args()
    if not chosen.dry_run and not torch.cuda.is_available():
        print("no GPU here, so nothing is measured; --dry-run shows that it works", flush=True)
        return
    if not chosen.dry_run:
        return run_column(chosen, chosen.out)
    with tempfile.TemporaryDirectory() as directory:
        run_column(chosen, Path(directory))


if __name__ == "__main__":
    main()

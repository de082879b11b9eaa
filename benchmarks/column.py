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
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from cells import SWEEPS
from record import arguments, claim, write

from kcap_ray.budget import length_of, spec_of
from kcap_ray.cell import Cell
from kcap_ray.cost import flops_per_token
from kcap_ray.results import RunDirectory
from kcap_ray.run_cell import finish_cell, run_cells
from kcap_ray.sweep import load_sweep
from kcap_ray.training.point import Point

N_MODELS = 10
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


def run_one(cell: Cell, run: RunDirectory, device: torch.device) -> None:
    """A cell from start to finished row: with the search, or at fixed points where there is no
    Optuna.
    """
    if importlib.util.find_spec("optuna") is not None:
        run_cells([cell], {}, run, sweep="column", device=device)
        return
    from kcap_ray.rounds import run_round

    # Nothing is learnt from one trial for another, so all of them are one round.
    directory = run.cell(cell.cell_id)
    run_round(cell, fixed_points(cell), first_trial=0, directory=directory, device=device)
    finish_cell(cell, directory, sweep="column")


def work_of(cell: Cell) -> float:
    """Floating-point operations of all trials of a cell."""
    per_token = flops_per_token(spec_of(cell), cell.train.window_tokens)
    return cell.tune.trials * length_of(cell).tokens * per_token


def run_in_time(
    cells: Sequence[Cell], run: RunDirectory, device: torch.device, budget_s: float | None
) -> None:
    """Run what is left of the cells; notes each one's wall time beside its result."""
    began = time.monotonic()
    rate: float | None = None
    for cell in cells:
        if run.cell(cell.cell_id).result() is not None:
            continue
        spent = time.monotonic() - began
        # Until a cell is done nothing is known of its time, so the first one is always started.
        expected = 0.0 if rate is None else work_of(cell) / rate
        if budget_s is not None and spent + expected > budget_s:
            print(
                f"{cell.model.name} is not started: {spent:.0f} s of the budget are spent, and "
                f"it would take about {expected:.0f} s",
                flush=True,
            )
            break
        started = time.monotonic()
        run_one(cell, run, device)
        seconds = time.monotonic() - started
        rate = work_of(cell) / seconds
        (run.cell(cell.cell_id).path / "wall_s").write_text(f"{seconds}\n", encoding="utf-8")
        row = run.cell(cell.cell_id).result()
        assert row is not None, "a cell that has run has a row"
        print(
            f"{cell.model.name}: {row['status']}, R {row['capacity_ratio']}, {seconds:.1f} s",
            flush=True,
        )
    run.collect(cells)


def claim_of(cells: Sequence[Cell], run: RunDirectory) -> dict[str, Any] | None:
    """The column's time, of all cells or projected from those that are done; None of none."""
    done = []
    for cell in cells:
        row, file = run.cell(cell.cell_id).result(), run.cell(cell.cell_id).path / "wall_s"
        if row is not None and file.exists():
            done.append((cell, row, float(file.read_text(encoding="utf-8"))))
    if not done:
        return None
    seconds = sum(wall_s for _, _, wall_s in done)
    work = sum(work_of(cell) for cell, _, _ in done)
    projected = seconds * sum(map(work_of, cells)) / work
    is_whole = len(done) == len(cells)
    tokens = sum(cell.tune.trials * length_of(cell).tokens for cell in cells)
    return claim(
        "P11" if is_whole else "P11-part",
        ours=seconds if is_whole else projected,
        peer=tokens / PAPER_TOKENS_PER_S,
        unit="s of one device for the whole column",
        goal=1_800.0,
        goal_is="at most",
        what=f"{cells[0].data.label}, {cells[0].data.n_people:,} people, "
        f"{cells[0].train.exposures} exposures, {len(done)} of {len(cells)} models, "
        f"{cells[0].tune.trials} trials each" + ("" if is_whole else "; projected to all"),
        peer_is="the same tokens at the rate that the paper's largest run implies of an A100",
        points="Optuna" if importlib.util.find_spec("optuna") else "fixed list",
        measured_s=seconds,
        projected_s=projected,
        n_done=len(done),
        n_cells=len(cells),
        tokens=tokens,
        cells=[
            {
                "model": cell.model.name,
                "status": row["status"],
                "n_params": row["n_params"],
                "capacity_ratio": row["capacity_ratio"],
                "max_capacity_ratio": row["max_capacity_ratio"],
                "lr": row["lr"],
                "weight_decay": row["weight_decay"],
                "n_trials_fused": row["n_trials_fused"],
                "train_time_s": row["train_time_s"],
                "wall_s": wall_s,
                "tokens_per_s": row["tokens_per_s"],
            }
            for cell, row, wall_s in done
        ],
    )


def run_column(chosen: argparse.Namespace, out: Path) -> None:
    """Run, say what is done, write."""
    device = torch.device("cpu" if chosen.dry_run else "cuda")
    cells = column(is_tiny=chosen.dry_run)
    run = RunDirectory(out)
    run.prepare()
    run_in_time(cells, run, device, chosen.budget)
    found = claim_of(cells, run)
    if found is None:
        print("no cell is done, so there is nothing to say", flush=True)
        return
    write(
        __file__,
        [found],
        chosen.json,
        on_gpu=device.type == "cuda",
        is_dry_run=chosen.dry_run,
    )


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
        torch.set_float32_matmul_precision("high")
        return run_column(chosen, chosen.out)
    with tempfile.TemporaryDirectory() as directory:
        run_column(chosen, Path(directory))


if __name__ == "__main__":
    main()

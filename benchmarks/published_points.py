"""Points of the published figures, trained by the paper's own recipes on one GPU.

GPT2-2-2, 3-2 and 5-2 on bioS with 50,000 people, 100 exposures (Param 2 of arXiv 2404.05405), and
GPT2-2-2 at 1000 exposures (Param 1) with 50,000 and 20,000 people; bf16, compact vocabulary. The
first trial of each has the paper's learning rate and weight decay, and is what is held against the
published value; the others are trained beside it at multiples of them. Along the way the losses on
names and on values of a sample of people are kept. A cell is started only if it should be done in
time; those that are done are never run again: the same command adds to them.

Peer: the published R, digitised (within 10%)
Needs: a GPU

    python benchmarks/published_points.py --out runs/published
    python benchmarks/published_points.py --dry-run     # tiny, on a CPU
"""

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from cells import SWEEPS
from record import arguments, claim, write

from kcap_ray.config.cell import Cell
from kcap_ray.execution.cell import finish_cell
from kcap_ray.execution.cell_run import CellRun
from kcap_ray.execution.trial_batch import run_trial_batch
from kcap_ray.planning.cost import flops_per_token
from kcap_ray.planning.run_length import length_of, spec_of
from kcap_ray.planning.sweep import load_sweep
from kcap_ray.runs.results import CellDirectory, RunDirectory
from kcap_ray.text.stream.prefetch import prefetched_batches
from kcap_ray.training.loop import Progress
from kcap_ray.training.point import Point

PUBLISHED = Path(__file__).parents[1] / "analysis" / "published"
NOTE_FILE = "note.json"
N_PROBES = 20


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A point of a figure, and the trials beside the paper's own."""

    exposures: int
    n_people: int
    model: str
    lr_factors: tuple[float, ...] = (1.0,)
    """Learning rates of the trials, as multiples of the paper's."""
    length_factor: float = 1.0
    """Exposures trained, as a multiple of those asked for: the steps that Param 1 prints for up to
    200,000 people are 2.28 times those that as many exposures take.
    """

    @property
    def published_ratio(self) -> float | None:
        """R of the figure; None where it was not read."""
        name = "fig1a_1000exp.csv" if self.exposures == 1000 else "fig1b_100exp_approximate.csv"
        lines = (PUBLISHED / name).read_text(encoding="utf-8").splitlines()
        rows = csv.DictReader(line for line in lines if not line.startswith("#"))
        label = self.model.removeprefix("gpt2-")
        for row in rows:
            # The figure at 100 exposures was read by eye: sizes stand for names.
            is_model = row["model"] == label if "model" in row else self._is_size(row["P_params"])
            if int(row["N"]) == self.n_people and is_model:
                return float(row["R"])
        return None

    def _is_size(self, n_params: str) -> bool:
        layers, heads = (int(part) for part in self.model.split("-")[1:3])
        width = 64 * heads
        ours = layers * (12 * width**2 + 13 * width) + 2 * width + 3275 * width
        return abs(float(n_params) / ours - 1) < 0.02


WANTED = (
    Wanted(exposures=100, n_people=50_000, model="gpt2-2-2"),
    Wanted(exposures=1000, n_people=50_000, model="gpt2-2-2"),
    Wanted(exposures=100, n_people=50_000, model="gpt2-3-2", lr_factors=(1.0, 2.0)),
    Wanted(exposures=100, n_people=50_000, model="gpt2-5-2", lr_factors=(1.0, 2.0)),
    Wanted(exposures=1000, n_people=20_000, model="gpt2-2-2"),
    Wanted(exposures=100, n_people=50_000, model="gpt2-2-2", length_factor=2.28),
    Wanted(exposures=1000, n_people=50_000, model="gpt2-3-2"),
    Wanted(exposures=1000, n_people=50_000, model="gpt2-5-2"),
)
"""In the order in which they are run: the most informative first."""

TINY = {
    "data.pools": "mini",
    "data.n_people": "50",
    "train.exposures": "4",
    "train.lr": "1.0e-3",
    "train.weight_decay": "0.01",
    "train.batch_windows": "2",
    "train.window_tokens": "128",
    "model.head_dim": "8",
}


def cell_of(wanted: Wanted, *, is_tiny: bool) -> Cell:
    """The cell of a point, by the paper's recipe."""
    sweep = "exposure1000.yaml" if wanted.exposures == 1000 else "exposure100.yaml"
    settings = {
        "data.n_people": str(wanted.n_people),
        "model": wanted.model,
        "train.precision": "bf16",
        "train.probe_exposures": "1" if is_tiny else str(wanted.exposures // N_PROBES),
        "train.probe_people": "2000",
        "tune.trials": str(len(wanted.lr_factors)),
        "where": "null",
    }
    (cell,) = load_sweep(SWEEPS / sweep, settings | (TINY if is_tiny else {})).cells[:1]
    exposures = round(cell.train.exposures * wanted.length_factor)
    return replace(cell, train=replace(cell.train, exposures=exposures))


def points_of(cell: Cell, wanted: Wanted) -> list[Point]:
    """Learning rates and weight decays of the trials, the paper's first."""
    train = cell.train
    return [
        Point(lr=train.lr * factor, weight_decay=train.weight_decay) for factor in wanted.lr_factors
    ]


def work_of(cell: Cell) -> float:
    """Floating-point operations of all trials."""
    flops = flops_per_token(spec_of(cell), cell.train.window_tokens)
    return cell.tune.trials * length_of(cell).tokens * flops


def run_one(cell: Cell, wanted: Wanted, run: RunDirectory, device: torch.device) -> float:
    """Train, measure, write down; the seconds that it took."""
    directory = run.cell(cell.cell_id)
    began = time.monotonic()
    curve: list[dict[str, Any]] = []

    def keep(progress: Progress) -> None:
        if progress.probed is not None:
            curve.append({"step": progress.step, "trials": progress.probed})

    is_gpu, n_steps = device.type == "cuda", length_of(cell).steps
    cell_run = CellRun(
        cell=cell,
        directory=directory,
        device=device,
        open_batches=prefetched_batches(cell, n_steps=n_steps, n_processes=8) if is_gpu else None,
        on_progress=keep,
    )
    run_trial_batch(cell_run, points_of(cell, wanted), first_trial=0)
    finish_cell(cell, directory, sweep="published")
    seconds = time.monotonic() - began
    note = json.dumps({"wall_s": seconds, "curve": curve})
    (directory.path / NOTE_FILE).write_text(note + "\n", encoding="utf-8")
    return seconds


def run_in_time(
    pairs: Sequence[tuple[Wanted, Cell]], run: RunDirectory, device: torch.device, limit_s: float
) -> None:
    """Those that are not done, as far as there is time for them."""
    began = time.monotonic()
    # Seconds per floating-point operation: unknown until a cell is done, so one is always started.
    pace = 0.0
    for wanted, cell in pairs:
        if run.cell(cell.cell_id).result() is not None:
            continue
        left = limit_s - (time.monotonic() - began)
        expected = work_of(cell) * pace
        if expected > left:
            text = f"about {expected:.0f} s, {left:.0f} s left: not started"
            print(f"{cell.cell_id}: {text}", flush=True)
            continue
        seconds = run_one(cell, wanted, run, device)
        pace = seconds / work_of(cell)
        print(f"{cell.cell_id}: {seconds:.0f} s", flush=True)
        for trial in run.cell(cell.cell_id).trials():
            print({name: getattr(trial, name) for name in TRIAL_SHOWN}, flush=True)


TRIAL_SHOWN = (
    "lr",
    "weight_decay",
    "status",
    "capacity_ratio",
    "loss_name_nats",
    "loss_value_nats",
    "exposures_seen",
    "train_time_s",
    "tokens_per_s",
)


def claim_of(wanted: Wanted, cell: Cell, directory: CellDirectory) -> dict[str, Any]:
    """The paper's own trial against the published value, where there is one that was read."""
    row = directory.result()
    assert row is not None
    trials = directory.trials()
    note = json.loads((directory.path / NOTE_FILE).read_text(encoding="utf-8"))
    ours, published = trials[0].capacity_ratio or float("nan"), wanted.published_ratio
    about = {
        "unit": "bits per parameter",
        "what": f"{cell.model.name}, {cell.data.n_people:,} people, {cell.train.exposures} "
        f"exposures, batch {cell.train.batch_windows} x {cell.train.window_tokens}",
        "cell": cell.cell_id,
        "n_params": row.n_params,
        "max_capacity_ratio": row.max_capacity_ratio,
        "steps": row.steps,
        "tokens": row.tokens,
        "trials": [{name: getattr(trial, name) for name in TRIAL_SHOWN} for trial in trials],
        **note,
    }
    if published is None:
        return {"point": "not among those that were read off the figure", "ours": ours, **about}
    peer_is = "the published figure, digitised"
    return claim("published-point", ours=ours, peer=published, peer_is=peer_is, **about)


def run_points(chosen: argparse.Namespace, out: Path) -> None:
    """Run, print, write."""
    device = torch.device("cpu" if chosen.dry_run else "cuda")
    wanted = WANTED[:2] if chosen.dry_run else WANTED
    pairs = [(one, cell_of(one, is_tiny=chosen.dry_run)) for one in wanted]
    if chosen.only:
        pairs = [pair for pair in pairs if chosen.only in pair[1].cell_id]
    run = RunDirectory(out)
    run.prepare()
    run_in_time(pairs, run, device, chosen.budget)
    cells = [cell for _, cell in pairs]
    run.collect(cells)
    found = [
        claim_of(one, cell, run.cell(cell.cell_id))
        for one, cell in pairs
        if run.cell(cell.cell_id).result() is not None
    ]
    write(__file__, found, chosen.json, on_gpu=device.type == "cuda", is_dry_run=chosen.dry_run)


def main() -> None:
    """Run the points, or what is left of them; print."""
    parser = arguments(__file__, __doc__, has_dry_run=True)
    parser.add_argument("--out", type=Path, default=Path("runs/published"), help="run directory")
    parser.add_argument("--budget", type=float, default=1e9, help="seconds for all of it")
    parser.add_argument("--only", help="cells with this in their id")
    chosen = parser.parse_args()
    if not chosen.dry_run and not torch.cuda.is_available():
        print("no GPU here, so nothing is measured; --dry-run shows that it works", flush=True)
        return
    if not chosen.dry_run:
        return run_points(chosen, chosen.out)
    with tempfile.TemporaryDirectory() as directory:
        run_points(chosen, Path(directory))


if __name__ == "__main__":
    main()

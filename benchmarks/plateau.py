"""How long a small model stays on the plateau where it knows all names and no values.

GPT2-2-2 on bioS with few people, full pools, windows of 512 tokens: one factor at a time, from the
recipe of arXiv 2404.05405 (Param 2: lr 1e-3, weight decay 0.01, 100 exposures) on. Each variant is
a curve of the losses on names and on values of a sample of people; the judge is the loss on values
at the end and the step at which it is first 3 nats below what the pools alone give.

    python benchmarks/plateau.py --out DIR
    python benchmarks/plateau.py --dry-run
"""

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from cells import SWEEPS
from plateau_changes import Variant
from plateau_run import curves_of
from record import arguments, write

from kcap_ray.config.cell import Cell
from kcap_ray.planning.sweep import load_sweep

N_PROBES = 25

VARIANTS = (
    Variant(name="recipe"),
    Variant(name="rotary quarter", rotary_frac=0.25),
    Variant(name="lr x2, x4, x0.5", lr_factors=(2.0, 4.0, 0.5)),
    Variant(name="batch 1", settings={"train.batch_windows": "1"}),
    Variant(name="one order", one_order=True),
    Variant(name="one template", one_template=True),
    Variant(name="228 exposures", settings={"train.exposures": "228"}),
    Variant(name="eps 1e-8", settings={"train.eps": "1.0e-8"}),
    Variant(name="beta2 0.999", settings={"train.beta2": "0.999"}),
    Variant(name="decay x0, x10", lr_factors=(1.0, 1.0), decay_factors=(0.0, 10.0)),
    Variant(name="fp32", settings={"train.precision": "fp32"}),
    Variant(name="windows of 128", settings={"train.window_tokens": "128"}),
    Variant(name="no rotary", rotary_frac=0.0),
    Variant(name="rotary base 500", rotary_base=500.0),
    Variant(name="10,000 people", settings={"data.n_people": "10_000"}),
    Variant(name="2,500 people", settings={"data.n_people": "2_500"}),
    Variant(name="init 0.06", settings={"train.init_std": "0.06"}),
    Variant(name="4 layers", settings={"model": "gpt2-4-2"}),
    Variant(name="4 heads", settings={"model": "gpt2-2-4"}),
    Variant(name="8 heads of 16", settings={"model": "gpt2-2-8", "model.head_dim": "16"}),
    Variant(name="llama", settings={"model": "llama-2-2"}),
    Variant(name="one order, one template", one_order=True, one_template=True),
    Variant(name="muon", settings={"train.optimizer": "muon"}),
    Variant(name="canon", settings={"model": "gpt2-2-2-canon"}),
    Variant(name="batch 12", settings={"train.batch_windows": "12"}),
    Variant(name="beta2 0.95", settings={"train.beta2": "0.95"}),
)

TINY = {
    "data.pools": "mini",
    "data.n_people": "40",
    "train.exposures": "3",
    "train.window_tokens": "128",
    "train.batch_windows": "2",
    "model.head_dim": "8",
}


def cell_of(variant: Variant, people: int, *, is_tiny: bool) -> Cell:
    """The recipe with the variant's change."""
    settings = {
        "data.n_people": str(people),
        "model": "gpt2-2-2",
        "train.lr": "1.0e-3",
        "train.weight_decay": "0.01",
        "train.batch_windows": "4",
        "train.precision": "bf16",
        "tune.trials": str(max(2, len(variant.lr_factors))),
        "where": "null",
    }
    changed = settings | variant.settings | (TINY if is_tiny else {})
    return load_sweep(SWEEPS / "exposure100.yaml", changed).cells[0]


def run(variant: Variant, people: int, device_type: str, *, is_tiny: bool) -> list[dict[str, Any]]:
    """Train the variant; its curve and what it ends at, for each of its trials."""
    cell = cell_of(variant, people, is_tiny=is_tiny)
    return curves_of(variant, cell, torch.device(device_type), n_probes=N_PROBES)


def shown(trial: dict[str, Any]) -> str:
    """A line of the table."""
    final = trial["final"]
    return (
        f"{trial['variant']:24} lr {trial['lr']:.1e} wd {trial['weight_decay']:.3f} "
        f"steps {trial['n_steps']:6} left {trial['left_plateau_at']} "
        f"names {final['loss_name_nats']:.2f} values {final['loss_value_nats']:.2f} "
        f"R {final['capacity_ratio']:.3f} of {trial['max_capacity_ratio']:.3f} "
        f"({trial['seconds']:.0f} s)"
    )


def main() -> int:
    """All variants, as many at a time as there are processes; a line for each when it is done."""
    parser = arguments(__file__, __doc__, has_dry_run=True)
    parser.add_argument("--people", type=int, default=5_000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--budget", type=float, default=1e9, help="no variant starts after this")
    parser.add_argument("--only", nargs="+", help="names of variants")
    parser.add_argument("--lines", type=Path, help="file that gets a line for each as it ends")
    chosen: argparse.Namespace = parser.parse_args()
    variants = [one for one in VARIANTS if chosen.only is None or one.name in chosen.only]
    if chosen.dry_run:
        variants = variants[:3]
    device = "cuda" if torch.cuda.is_available() and not chosen.dry_run else "cpu"
    gives_up = time.monotonic() + chosen.budget
    found: list[dict[str, Any]] = []
    with ProcessPoolExecutor(chosen.processes, mp_context=get_context("spawn")) as pool:
        waiting = iter(variants)
        running = {}

        def start() -> None:
            if time.monotonic() < gives_up and (one := next(waiting, None)) is not None:
                job = pool.submit(run, one, chosen.people, device, is_tiny=chosen.dry_run)
                running[job] = one.name

        for _ in range(chosen.processes):
            start()
        while running:
            job = next(as_completed(running))
            name = running.pop(job)
            try:
                trials = job.result()
            except Exception as error:  # the others have something to say all the same
                print(f"{name}: {type(error).__name__}: {error}"[:500], flush=True)
                trials = []
            for trial in trials:
                print(shown(trial), flush=True)
            found += trials
            if chosen.lines is not None:
                with chosen.lines.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(trial) + "\n" for trial in trials)
            start()
    write(__file__, found, chosen.json, on_gpu=device == "cuda", is_dry_run=chosen.dry_run)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""P3: a training step of a tiny cell on one CPU core, beside the Trainer of Hugging Face.

One trial of gpt2 with 2 layers, 32, 64 and 128 wide, on batches of 4 and 8 windows of 128 tokens of
the laptop sweep's data, compact vocabulary, float32, one thread. Also beside a plain PyTorch loop
over the class of Hugging Face that the Trainer trains, and over a module written out plainly. Same
weights, batches, AdamW and schedule; the losses of all are compared at every step. All take turns,
ours in a process of its own; medians over rounds.

Peer: Hugging Face Trainer, GPTNeoX (P3); plain PyTorch loops with torch's fused AdamW (P3-eager)
Goal: at least 2 x Trainer
Needs: accelerate

    python benchmarks/training_step.py
"""

import itertools
import os
import sys
from typing import Any

import torch
from cells import cpu_cell
from record import arguments, claim, write
from training_race import has_accelerate, race
from turns import Race, exit_status

from kcap_ray.budget import spec_of
from kcap_ray.cell import Cell

GOAL = 2.0
TOLERANCE = 1e-3
"""Largest relative difference of losses at which the sides still did the same work: float32 sums in
another order, carried on over the steps of a race.
"""


def claims_of(cell: Cell, found: Race) -> list[dict[str, Any]]:
    """Ours against each of the others."""
    spec, train = spec_of(cell), cell.train
    what = f"2 layers, d={spec.d_model}, {train.batch_windows} x {train.window_tokens} tokens"
    claims = []
    for side in found.step_s:
        if side == "ours":
            continue
        is_trainer = side == "Trainer"
        claims.append(
            claim(
                "P3" if is_trainer else "P3-eager",
                ours=1 / found.median_s("ours"),
                peer=1 / found.median_s(side),
                unit="steps/s",
                goal=GOAL if is_trainer else None,
                goal_for="ratio",
                what=what,
                peer_is=f"Hugging Face {side}" if is_trainer else side,
                cell=cell.cell_id,
                vocab_size=spec.vocab_size,
                ours_step_s=found.step_s["ours"],
                peer_step_s=found.step_s[side],
                **found.comparison("ours", side, TOLERANCE),
            )
        )
    return claims


def main() -> int:
    """Race at every size, print; exit status 1 if the sides did not do the same work."""
    parser = arguments(__file__, __doc__, has_dry_run=True)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=40, help="steps of a round")
    parser.add_argument("--heads", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--windows", type=int, nargs="+", default=[4, 8])
    chosen = parser.parse_args()
    if chosen.dry_run:
        chosen.rounds, chosen.steps, chosen.heads, chosen.windows = 1, 3, [2], [2]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    if not has_accelerate():
        print("accelerate is missing, so the Trainer cannot run; plain loops only", flush=True)
    found = []
    for n_head, n_windows in itertools.product(chosen.heads, chosen.windows):
        cell = cpu_cell(f"gpt2-2-{n_head}", batch_windows=n_windows)
        result = race(cell, device=torch.device("cpu"), n_rounds=chosen.rounds, steps=chosen.steps)
        found += claims_of(cell, result)
    write(__file__, found, chosen.json, is_dry_run=chosen.dry_run)
    return exit_status(found)


if __name__ == "__main__":
    sys.exit(main())

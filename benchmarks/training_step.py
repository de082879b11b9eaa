"""P3: a training step of a tiny cell on one CPU core, beside the Trainer of Hugging Face.

One trial of gpt2 with 2 layers, 32, 64 and 128 wide, on batches of 4 and 8 windows of 128 tokens of
the laptop sweep's data, compact vocabulary, float32, one thread. Also beside a plain PyTorch loop
over the class of Hugging Face that the Trainer trains, and over a module written out plainly. Ours
is measured as it is written (P3), and compiled (P3-compiled), which kcap chooses on a CPU for runs
of more than ten minutes; compiled it is held against the plain module compiled, too. And, where it
is installed (pip install "jax[cpu]"; kcap does not need it), beside JAX, which runs a whole turn of
steps as one compiled program.

Same weights, batches, AdamW and schedule; the losses of all are compared. All take turns, ours in
processes of their own; medians over rounds of the time that they work, which other programs take
nothing from. The share of the rate of large matrix products on the same core says how much a faster
step could still gain.

Peer: Hugging Face Trainer, GPTNeoX (P3); plain PyTorch loops with torch's fused AdamW (P3-loop);
  JAX, a scan over steps (P3-jax)
Goal: at least 2 x Trainer
Needs: accelerate; a C++ compiler for the compiled sides; JAX for its side

    python benchmarks/training_step.py
"""

import itertools
import os
import shutil
import sys
from typing import Any

import torch
from cells import cpu_cell
from jax_side import INSTALL, has_jax, jax_version
from matrix_rate import matrix_flop_per_s
from record import arguments, claim, write
from training_race import has_accelerate, race
from turns import Race, clock_of, exit_status

from kcap_ray.config.cell import Cell
from kcap_ray.planning.cost import flops_per_token
from kcap_ray.planning.run_length import spec_of

GOAL = 2.0
TOLERANCE = 1e-3
"""Largest relative difference of losses at which the sides still did the same work: float32 sums in
another order, carried on over the steps of a race.
"""


PEERS = {"Trainer": "Hugging Face Trainer", "JAX": "JAX, jit and scan"}
"""What tables call those whose own name says too little."""


def claims_of(cell: Cell, found: Race, ceiling: float) -> list[dict[str, Any]]:
    """Ours against the Trainer and against loops, as written and compiled."""
    pairs = [
        ("P3", "ours", "Trainer"),
        ("P3-compiled", "ours, compiled", "Trainer"),
        ("P3-loop", "ours", "hugging face loop"),
        ("P3-loop", "ours", "plain loop"),
        ("P3-loop-compiled", "ours, compiled", "plain loop, compiled"),
        ("P3-jax", "ours", "JAX"),
        ("P3-jax", "ours, compiled", "JAX"),
    ]
    return [
        _claim_of(name, cell, found, ours, peer, ceiling)
        for name, ours, peer in pairs
        if {ours, peer} <= found.step_s.keys()
    ]


def _claim_of(
    name: str, cell: Cell, found: Race, ours: str, peer: str, ceiling: float
) -> dict[str, Any]:
    spec, train = spec_of(cell), cell.train
    flops = flops_per_token(spec, train.window_tokens) * train.batch_windows * train.window_tokens
    shares = {
        f"{which}_share_of_matrix_rate": flops / found.median_s(side) / ceiling
        for which, side in (("ours", ours), ("peer", peer))
    }
    is_trainer = peer == "Trainer"
    return claim(
        name,
        ours=1 / found.median_s(ours),
        peer=1 / found.median_s(peer),
        unit="steps per CPU second",
        goal=GOAL if is_trainer else None,
        goal_for="ratio",
        what=f"2 layers, d={spec.d_model}, {train.batch_windows} x {train.window_tokens} tokens"
        + (", ours compiled" if ours != "ours" else ""),
        peer_is=PEERS.get(peer, peer),
        cell=cell.cell_id,
        vocab_size=spec.vocab_size,
        **shares,
        matrix_flop_per_s=ceiling,
        ours_step_s=found.step_s[ours],
        peer_step_s=found.step_s[peer],
        **({"jax": jax_version()} if peer == "JAX" else {}),
        **found.comparison(ours, peer, TOLERANCE),
    )


def main() -> int:
    """Race at every size, print; exit status 1 if the sides did not do the same work."""
    parser = arguments(__file__, __doc__, has_dry_run=True)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=40, help="steps of a round")
    parser.add_argument("--heads", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--windows", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--no-compile", action="store_true", help="without the compiled sides")
    chosen = parser.parse_args()
    if chosen.dry_run:
        chosen.rounds, chosen.steps, chosen.heads, chosen.windows = 1, 3, [2], [2]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    compiles = not (chosen.dry_run or chosen.no_compile) and shutil.which("g++") is not None
    for thing, is_there in (("the Trainer", has_accelerate()), ("compiled sides", compiles)):
        if not is_there:
            print(f"without {thing}", flush=True)
    if not has_jax():
        print(INSTALL, flush=True)
    cpu = torch.device("cpu")
    widths = (64,) if chosen.dry_run else (512, 1024)
    clock = clock_of(cpu)
    ceiling = matrix_flop_per_s(cpu, torch.float32, widths=widths, n_products=20, clock=clock)
    found = []
    for n_head, n_windows in itertools.product(chosen.heads, chosen.windows):
        cell = cpu_cell(f"gpt2-2-{n_head}", batch_windows=n_windows)
        raced = race(
            cell,
            device=cpu,
            n_rounds=chosen.rounds,
            steps=chosen.steps,
            backend="inductor" if compiles else None,
            with_ours_compiled=compiles,
            with_jax=has_jax(),
        )
        found += claims_of(cell, raced, ceiling)
    write(__file__, found, chosen.json, is_dry_run=chosen.dry_run)
    return exit_status(found)


if __name__ == "__main__":
    sys.exit(main())

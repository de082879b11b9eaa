"""P3, bf16: a training step of the paper's models on one CPU core in bf16, beside our own float32.

One trial on 12 windows of 512 tokens of bioS, full pools, compact vocabulary, one thread; each
precision as written and compiled. All take turns; medians over rounds. What `train.precision: auto`
chooses is measured by kcap's own code, for a run of the paper's length. Losses over the steps are
compared; they differ by the rounding of bf16.

Peer: kcap in float32, as it is written and compiled
Goal: at least 1.8 x for gpt2-2-2, on a processor with bf16 matrix units
Needs: a C++ compiler

    python benchmarks/cpu_precision.py
"""

import dataclasses
import os
import statistics
import time
from typing import Any

import numpy as np
import torch
from cells import gpu_cell
from record import arguments, claim, write

from kcap_ray.config.cell import Cell
from kcap_ray.planning.run_length import length_of, spec_of
from kcap_ray.text.stream.batches import in_process_batches, stream_of
from kcap_ray.training.cpu_timing import measure_arithmetic
from kcap_ray.training.point import Point
from kcap_ray.training.step import TrainStep

GOAL = 1.8
N_WARM_UP = 2
SIDES = (("fp32", "off"), ("fp32", "on"), ("bf16", "off"), ("bf16", "on"))


def at(cell: Cell, precision: str, compile: str) -> Cell:
    """The cell in this arithmetic."""
    train = dataclasses.replace(cell.train, precision=precision, compile=compile)
    return dataclasses.replace(cell, train=train)


def claims_of(model: str, *, n_rounds: int, is_tiny: bool) -> list[dict[str, Any]]:
    """The fastest in bf16 against float32 as written, and against the fastest float32."""
    cell = gpu_cell(model, batch_windows=12, precision="auto", is_tiny=is_tiny)
    spec, train = spec_of(cell), cell.train
    n_steps = N_WARM_UP + n_rounds
    points = [Point(lr=train.lr, weight_decay=train.weight_decay)]
    cpu = torch.device("cpu")
    steps = {
        side: TrainStep(at(cell, *side), spec, points, n_steps=n_steps, device=cpu)
        for side in SIDES
    }
    open_batches = in_process_batches(stream_of(cell), train, rank=0, n_steps=n_steps)
    batches = [batch for batch, _ in zip(open_batches(0), range(n_steps), strict=False)]
    times: dict[tuple[str, str], list[float]] = {side: [] for side in SIDES}
    losses: dict[tuple[str, str], list[float]] = {side: [] for side in SIDES}
    for number, batch in enumerate(batches):
        for side, step in steps.items():
            began = time.perf_counter()
            step(batch)
            if number >= N_WARM_UP:
                times[side].append(time.perf_counter() - began)
            losses[side].append(float(step.loss_E[0]))
    median_s = {side: statistics.median(found) for side, found in times.items()}
    chosen = measure_arithmetic(cell, spec, n_steps=length_of(cell).steps, n_fused=1, n_threads=1)
    n_tokens = train.batch_windows * train.window_tokens
    ours = min((side for side in SIDES if side[0] == "bf16"), key=median_s.__getitem__)
    found = []
    for peer in (("fp32", "off"), ("fp32", "on")):
        differences = np.abs(np.array(losses[ours]) / np.array(losses[peer]) - 1)
        found.append(
            claim(
                "P3-bf16",
                ours=n_tokens / median_s[ours],
                peer=n_tokens / median_s[peer],
                unit="tokens/s",
                goal=GOAL if model == "gpt2-2-2" and peer[1] == "off" else None,
                goal_for="ratio",
                what=f"{model}, {train.batch_windows} x {train.window_tokens} tokens"
                + (", ours compiled" if ours[1] == "on" else ""),
                peer_is="our fp32" + (", compiled" if peer[1] == "on" else ""),
                losses_differ_by=float(differences.max()),
                auto_chooses=f"{chosen.precision}, compile {chosen.compile}",
                auto_says=str(chosen),
                step_s={" ".join(side): found for side, found in times.items()},
            )
        )
    return found


def main() -> None:
    """Both models of the issue's measurement."""
    parser = arguments(__file__, __doc__, has_dry_run=True)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--models", nargs="+", default=["gpt2-2-2", "gpt2-1-1"])
    chosen = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    models = chosen.models[:1] if chosen.dry_run else chosen.models
    n_rounds = 2 if chosen.dry_run else chosen.rounds
    found = [
        one
        for model in models
        for one in claims_of(model, n_rounds=n_rounds, is_tiny=chosen.dry_run)
    ]
    write(__file__, found, chosen.json, is_dry_run=chosen.dry_run)


if __name__ == "__main__":
    main()

"""P2: how fast windows arrive at a trainer through Ray Data, and whether a trainer ever waits.

Rate: windows of bioS for steps of 96 windows of 512 tokens, taken as fast as they come; ours
through Ray Data as the engine streams them, the peer from the same generator called in this
process. The time until the first batch stands beside it. Waiting: the laptop sweep's smallest model
is trained while Ray Data feeds it; ours is the share of the time after the first batch that it
spent asking for the next one, the peer the same with the generator in its own process. Starts Ray
on this machine, and ends it.

Peer: the same generator in the trainer's process
Goal: at least 8M tokens/s; the trainer waits at most 2% of its time
Needs: Ray

    python benchmarks/streaming.py
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import arguments, claim, write

from kcap_ray.config.cell import Cell
from kcap_ray.engine.session import ray_session
from kcap_ray.planning.run_length import spec_of
from kcap_ray.planning.sweep import load_sweep
from kcap_ray.text.stream.batches import in_process_batches, stream_of
from kcap_ray.training.loop import OpenBatches, train
from kcap_ray.training.point import Point
from kcap_ray.training.step import TrainStep

SWEEPS = Path(__file__).parents[1] / "sweeps"
FAST = {"data.n_people": "50_000", "model": "gpt2-2-2", "train.batch_windows": "96"}
TINY = {
    "data.n_people": "800",
    "model": "gpt2-1-1",
    "train": "{exposures: 100, batch_windows: 4}",
    "where": "null",
}


def arrival(open_batches: OpenBatches) -> dict[str, float]:
    """Tokens per second from the first batch on, and the time that the first one took."""
    start = time.perf_counter()
    batches = open_batches(0)
    next(batches)
    first_s = time.perf_counter() - start
    n_tokens = sum(batch.shape[0] * (batch.shape[1] - 1) for batch in batches)
    seconds = time.perf_counter() - start - first_s
    return {"tokens_per_s": n_tokens / seconds, "first_batch_s": first_s, "seconds": seconds}


def waiting(cell: Cell, open_batches: OpenBatches, n_steps: int) -> dict[str, float]:
    """Share of the time after the first batch that training waits for the next one."""
    waits: list[float] = []
    began: list[float] = []

    def timed(step: int) -> Iterator[np.ndarray]:
        batches = open_batches(step)
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                return
            if began:
                waits.append(time.perf_counter() - start)
            else:
                began.append(time.perf_counter())
            yield batch

    point = Point(lr=cell.train.lr, weight_decay=cell.train.weight_decay)
    device = torch.device("cpu")
    train(TrainStep(cell, spec_of(cell), [point], n_steps=n_steps, device=device), timed)
    seconds = time.perf_counter() - began[0]
    return {
        "waiting_share": sum(waits) / seconds,
        "longest_wait_s": max(waits),
        "step_s": seconds / n_steps,
        "seconds": seconds,
    }


def in_process(cell: Cell, n_steps: int) -> OpenBatches:
    """The peer's batches."""
    return in_process_batches(stream_of(cell), cell.train, rank=0, n_steps=n_steps)


def rate_claim(n_tokens: int) -> dict[str, Any]:
    """The rate, both ways."""
    cell = load_sweep(SWEEPS / "exposure1000.yaml", FAST).cells[0]
    n_steps = n_tokens // (cell.train.batch_windows * cell.train.window_tokens)
    from kcap_ray.engine.stream import ray_data_batches

    ours = arrival(ray_data_batches(cell, n_steps=n_steps))
    peer = arrival(in_process(cell, n_steps))
    return claim(
        "P2",
        ours=ours["tokens_per_s"],
        peer=peer["tokens_per_s"],
        unit="tokens/s arriving",
        goal=8e6,
        peer_is="the same generator in the trainer's process",
        cell=cell.cell_id,
        tokens=n_tokens,
        measured={"ray_data": ours, "in_process": peer},
    )


def waiting_claim(n_steps: int) -> dict[str, Any]:
    """The share of its time that a tiny cell's training waits, both ways."""
    cell = load_sweep(SWEEPS / "laptop.yaml", TINY).cells[0]
    from kcap_ray.engine.stream import ray_batches

    ours = waiting(cell, ray_batches(cell, n_steps=n_steps), n_steps)
    peer = waiting(cell, in_process(cell, n_steps), n_steps)
    return claim(
        "P2-waiting",
        ours=ours["waiting_share"],
        peer=peer["waiting_share"],
        unit="share of training time spent waiting for data",
        goal=0.02,
        goal_is="at most",
        peer_is="the same generator in the trainer's process",
        cell=cell.cell_id,
        steps=n_steps,
        measured={"ray_data": ours, "in_process": peer},
    )


def main() -> None:
    """Measure both claims in one session of Ray, print."""
    parser = arguments(__file__, __doc__)
    parser.add_argument("--tokens", type=int, default=400_000_000)
    parser.add_argument("--steps", type=int, default=4_000)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with ray_session(None):
        found = [rate_claim(chosen.tokens), waiting_claim(chosen.steps)]
    write(__file__, found, chosen.json)


if __name__ == "__main__":
    main()

"""P4: a training step of GPT2-2-2 on one GPU, beside eager PyTorch and the Trainer of Hugging Face.

One trial on batches of 12 windows of 512 tokens of bioS with 50,000 people, compact vocabulary,
bf16 autocast. Ours replays the whole step as one CUDA graph. Peers train the class of Hugging Face
(by its Trainer, and in a plain loop) and a module written out plainly (eager, and under
torch.compile), all with torch's fused AdamW. Same weights, batches and schedule; the losses of all
are compared. All take turns, ours in a process of its own; medians over rounds.

Peer: Hugging Face Trainer, GPTNeoX (P4-trainer); PyTorch loops with torch's fused AdamW, eager
(P4-eager) and compiled (P4-compiled)
Goal: at least 8 x Trainer, at least 5 x eager
Needs: a GPU, accelerate

    python benchmarks/training_step_gpu.py
    python benchmarks/training_step_gpu.py --dry-run    # tiny, on a CPU
"""

import sys
from typing import Any

import torch
from cells import gpu_cell
from record import arguments, claim, write
from training_race import has_accelerate, race
from turns import Race, exit_status

from kcap_ray.config.cell import Cell
from kcap_ray.planning.run_length import spec_of

GOALS = {"Trainer": 8.0, "hugging face loop": 5.0, "plain loop": 5.0}
NAMES = {"Trainer": "P4-trainer", "plain loop, compiled": "P4-compiled"}
TOLERANCE = 0.03
"""Largest relative difference of losses at which the sides still did the same work: bf16 keeps 8
bits, roundings add up over the steps of a race, and kernels differ in where they round.
"""


def claims_of(cell: Cell, found: Race) -> list[dict[str, Any]]:
    """Ours against each of the others."""
    train = cell.train
    tokens = train.batch_windows * train.window_tokens
    claims = []
    for side in found.step_s:
        if side == "ours":
            continue
        claims.append(
            claim(
                NAMES.get(side, "P4-eager"),
                ours=1 / found.median_s("ours"),
                peer=1 / found.median_s(side),
                unit="steps/s",
                goal=GOALS.get(side),
                goal_for="ratio",
                what=f"{cell.model.name}, {train.batch_windows} x {train.window_tokens} tokens, "
                f"{train.precision}",
                peer_is=f"Hugging Face {side}" if side == "Trainer" else side,
                cell=cell.cell_id,
                vocab_size=spec_of(cell).vocab_size,
                ours_tokens_per_s=tokens / found.median_s("ours"),
                peer_tokens_per_s=tokens / found.median_s(side),
                ours_step_s=found.step_s["ours"],
                peer_step_s=found.step_s[side],
                **found.comparison("ours", side, TOLERANCE),
            )
        )
    return claims


def main() -> int:
    """Race, print; exit status 1 if the sides did not do the same work."""
    parser = arguments(__file__, __doc__, has_dry_run=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=100, help="steps of a round")
    chosen = parser.parse_args()
    if chosen.dry_run:
        chosen.rounds, chosen.steps = 1, 3
    elif not torch.cuda.is_available():
        print("no GPU here, so nothing is measured; --dry-run shows that it works", flush=True)
        return 0
    if not has_accelerate():
        print("accelerate is missing, so the Trainer cannot run; plain loops only", flush=True)
    # What the short public training loops set; float32 products run on tensor cores.
    torch.set_float32_matmul_precision("high")
    device = torch.device("cpu" if chosen.dry_run else "cuda")
    cell = gpu_cell("gpt2-2-2", batch_windows=12, is_tiny=chosen.dry_run)
    raced = race(
        cell,
        device=device,
        n_rounds=chosen.rounds,
        steps=chosen.steps,
        backend="eager" if chosen.dry_run else "inductor",
    )
    found = claims_of(cell, raced)
    on_gpu = device.type == "cuda"
    write(__file__, found, chosen.json, on_gpu=on_gpu, is_dry_run=chosen.dry_run)
    return exit_status(found)


if __name__ == "__main__":
    sys.exit(main())

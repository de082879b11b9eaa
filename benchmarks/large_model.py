"""P5: GPT2-12-12 in large batches on one GPU: tokens per second and use of the arithmetic.

Batches of 192 windows of 512 tokens of bioS with 50,000 people, compact vocabulary, bf16 autocast;
data generation is left out. The peer is the short public training loop at its best: the model as a
plain module under torch.compile, flash attention, torch's fused AdamW, bf16 autocast. Same weights,
batches and schedule, turns in one process, medians over rounds. Either side splits its batch where
memory is short.

The ceiling is the rate of large bf16 matrix products on random data, measured in the same run. Of
operations those of `kcap_ray.planning.cost.flops_per_token` are counted: 6 per weight that
multiplies a token, the head's included, and 12 L d T for attention over all T positions, though
half of it is masked; with the causal half alone the share is given as well.

Peer: the model as a plain module under torch.compile, fused AdamW, bf16
Goal: at least 50% of the measured matrix rate, at least 650,000 tokens/s
Needs: a GPU

    python benchmarks/large_model.py
    python benchmarks/large_model.py --dry-run          # tiny, on a CPU
"""

import argparse
import gc
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from cells import gpu_cell
from matrix_rate import matrix_flop_per_s
from our_side import first_batches, our_side, own_point
from plain_gpt import plain_gpt
from record import arguments, claim, write
from training_race import TorchLoop, as_tensors, torch_side
from turns import Race, Side, Turns, exit_status, later, turn_of, wait

from kcap_ray.config.cell import Cell
from kcap_ray.models.decoder import Decoder
from kcap_ray.models.spec import ModelSpec
from kcap_ray.planning.cost import flops_per_token
from kcap_ray.planning.run_length import spec_of
from kcap_ray.training.step import TrainStep

TOLERANCE = 0.03
"""As in training_step_gpu.py."""
N_WARM_UP = 5
"""Steps of a side before the race: it compiles, records its graph, and shows that it fits."""


def ceiling_flop_per_s(device: torch.device, *, is_dry_run: bool) -> float:
    """The rate of bf16 matrix products."""
    widths = (64,) if is_dry_run else (4096, 8192, 12288)
    return matrix_flop_per_s(device, torch.bfloat16, widths=widths, n_products=20)


def choose_placement(
    cell: Cell, build: Callable[[Cell], Side], device: torch.device
) -> tuple[Side, int | None, float | None]:
    """The side that `build` makes, how many windows it takes at a time (None: all), and its peak
    memory in GiB.

    Halves the windows until the first steps fit. Raises `OutOfMemoryError` if one does not.
    """
    micro_windows: int | None = None
    before = 0
    while True:
        # What a try that did not fit has left behind.
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
        part = replace(cell, train=replace(cell.train, micro_windows=micro_windows))
        side = _warmed_up(build, part, device)
        if side is not None:
            break
        micro_windows = (micro_windows or cell.train.batch_windows) // 2
    if device.type != "cuda":
        return side, micro_windows, None
    return side, micro_windows, (torch.cuda.max_memory_allocated(device) - before) / 2**30


def _warmed_up(build: Callable[[Cell], Side], cell: Cell, device: torch.device) -> Side | None:
    """The side after its first steps; None if they do not fit and could be split further."""
    try:
        side = build(cell)
        for step in range(N_WARM_UP):
            side(step)
        wait(device)
    except torch.OutOfMemoryError:
        if cell.train.micro_windows == 1:
            raise
        return None
    return side


def run(chosen: argparse.Namespace, cell: Cell, device: torch.device) -> tuple[Race, dict]:
    """The race, and each side's windows at a time and memory."""
    # Each side has done the same steps before the race, on batches of their own.
    n_steps = N_WARM_UP + (chosen.rounds + 1) * chosen.steps
    batches = first_batches(cell, n_steps)
    before_race = {"n_steps": n_steps, "device": device}
    spec = spec_of(cell).alike
    weights = Decoder(spec, n_tokens=cell.train.window_tokens)
    weights.init_weights(seed=cell.seed, std=cell.train.init_std)
    tensors = as_tensors(batches, device)

    def ours(part: Cell) -> Side:
        return our_side(TrainStep(part, spec, [own_point(part)], **before_race), batches)

    def peer(part: Cell) -> Side:
        plain = plain_gpt(weights).to(device)
        compiled = torch.compile(
            plain, dynamic=False, backend="eager" if chosen.dry_run else "inductor"
        )
        return torch_side(TorchLoop(plain, compiled, part, **before_race), tensors)

    # Ours first: making a TrainStep forgets what torch.compile has made before it.
    sides, fits = {}, {}
    for name, build in (("ours", ours), ("compiled loop", peer)):
        side, micro_windows, memory_gib = choose_placement(cell, build, device)
        sides[name] = turn_of(later(side, N_WARM_UP), device)
        fits[name] = {"micro_windows": micro_windows, "peak_memory_gib": memory_gib}
    turns = Turns(sides, steps=chosen.steps)
    for _ in range(chosen.rounds + 1):
        turns()
    return turns.race, fits


def shares(spec: ModelSpec, tokens_per_s: float, window_tokens: int, ceiling: float) -> dict:
    """Share of the ceiling, with all of attention's operations and with the causal half."""
    all_flops = flops_per_token(spec, window_tokens)
    masked = 6 * spec.n_layer * spec.d_model * window_tokens
    return {
        "mfu": tokens_per_s * all_flops / ceiling,
        "mfu_causal": tokens_per_s * (all_flops - masked) / ceiling,
    }


def claims_of(cell: Cell, found: Race, fits: dict, ceiling: float) -> list[dict[str, Any]]:
    """Tokens per second, and the share of the ceiling."""
    train, spec = cell.train, spec_of(cell).alike
    tokens = train.batch_windows * train.window_tokens
    rates = {side: tokens / found.median_s(side) for side in found.step_s}
    measured = {
        side: {
            "tokens_per_s": rate,
            **shares(spec, rate, train.window_tokens, ceiling),
            **fits[side],
            "step_s": found.step_s[side],
        }
        for side, rate in rates.items()
    }
    common = {
        "what": f"{cell.model.name}, {train.batch_windows} x {train.window_tokens} tokens, "
        f"{train.precision}",
        "peer_is": "plain module under torch.compile, fused AdamW",
        "cell": cell.cell_id,
        "vocab_size": spec.vocab_size,
        "n_params": spec.n_params,
        "measured": measured,
        "ceiling_flop_per_s": ceiling,
        "flop_per_token": flops_per_token(spec, train.window_tokens),
        "flop_formula": "6 * (weights without embedding + V d) + 12 L d T",
        **found.comparison("ours", "compiled loop", TOLERANCE),
    }
    ours, peer = measured["ours"], measured["compiled loop"]
    return [
        claim(
            "P5",
            ours=ours["tokens_per_s"],
            peer=peer["tokens_per_s"],
            unit="tokens/s",
            goal=650e3,
            **common,
        ),
        claim(
            "P5-mfu",
            ours=ours["mfu"],
            peer=peer["mfu"],
            unit="share of the bf16 matrix rate measured in the same run",
            goal=0.5,
            **common,
        ),
    ]


def main() -> int:
    """Ceiling, race, ceiling again; print. Exit status 1 if the sides did not do the same work."""
    parser = arguments(__file__, __doc__, has_dry_run=True)
    parser.add_argument("--model", default="gpt2-12-12")
    parser.add_argument("--windows", type=int, default=192, help="windows of a batch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="steps of a round")
    chosen = parser.parse_args()
    if chosen.dry_run:
        chosen.model, chosen.rounds, chosen.steps = "gpt2-2-2", 1, 2
    elif not torch.cuda.is_available():
        print("no GPU here, so nothing is measured; --dry-run shows that it works", flush=True)
        return 0
    torch.set_float32_matmul_precision("high")
    device = torch.device("cpu" if chosen.dry_run else "cuda")
    cell = gpu_cell(chosen.model, batch_windows=chosen.windows, is_tiny=chosen.dry_run)
    before = ceiling_flop_per_s(device, is_dry_run=chosen.dry_run)
    raced, fits = run(chosen, cell, device)
    ceiling = max(before, ceiling_flop_per_s(device, is_dry_run=chosen.dry_run))
    found = claims_of(cell, raced, fits, ceiling)
    on_gpu = device.type == "cuda"
    write(__file__, found, chosen.json, on_gpu=on_gpu, is_dry_run=chosen.dry_run)
    return exit_status(found)


if __name__ == "__main__":
    sys.exit(main())

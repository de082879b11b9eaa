"""P6: E trials of one cell as one program, beside E programs one after another, beside E processes
that share the device, and beside JAX.

Trials differ in learning rate and weight decay and read the same batches. On a CPU the models are
gpt2 with 2 layers, 16 wide, on batches of 2 and of 8 windows of 128 tokens of the laptop sweep's
data, float32; fused and one after another on one core and one thread. On a GPU it is GPT2-2-2 on
batches of 12 windows of 512 tokens of bioS with 50,000 people, bf16. Fused and separate take turns
in one process, medians over rounds; then the processes run, all from the same moment on, on a CPU
on all cores, in turns with one process of the fused program on a thread for each core. On a CPU JAX
takes turns with fused and separate where it is installed (kcap does not need it: pip install
"jax[cpu]"), the same trials by `vmap`, a turn of steps as one program. Ours and the peer count the
steps of all trials; first losses are compared.

Peer: one program after another (P6); a process per trial, all at once (P6-processes); JAX, vmap and
  scan (P6-jax)
Goal: CPU, 8 trials: at least 1.8 x with 2 windows, 1.1 x with 8; GPU, 8 trials: at least 6 x
Needs: a GPU for the second part; JAX for its side

    python benchmarks/fused_trials.py --device cpu
    python benchmarks/fused_trials.py --device gpu
"""

import argparse
import contextlib
import os
import statistics
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from cells import cpu_cell, gpu_cell
from jax_side import INSTALL, assert_same_model, has_jax, jax_process, jax_version
from our_side import first_batches
from record import arguments, claim, write
from trial_processes import on_all_cores
from trial_programs import N_WARM_UP, points, warm_trials
from turns import Race, Turns, exit_status, later, turn_of

from kcap_ray.config.cell import Cell
from kcap_ray.planning.run_length import spec_of

TOLERANCES = {"cpu": 1e-4, "cuda": 0.03}
"""Largest relative difference of the losses of a fused trial and of the same trial alone: sums in
another order in float32, and roundings of bf16.
"""
N_PROCESS_ROUNDS = 3
"""Times that all processes run."""


def race_of(
    cell: Cell, n_trials: int, batches: np.ndarray, device: torch.device, *, rounds: int, steps: int
) -> tuple[Race, dict[str, float]]:
    """Rounds in which the fused program takes `steps` steps, every separate one as many, and so
    does JAX on a CPU where it is installed; and by `separate` and `JAX` the largest relative
    difference of a trial's first losses there and in the fused program.

    Raises RuntimeError if JAX's model is another one.
    """
    trials = points(cell, n_trials)
    # A GPU takes as long for one trial as for another, so the first and the last stand for all.
    alone = list(range(n_trials)) if device.type == "cpu" else sorted({0, n_trials - 1})
    fused = warm_trials(cell, trials, batches, device)
    separate = [warm_trials(cell, [trials[i]], batches, device) for i in alone]
    theirs = np.concatenate([one.first_losses for one in separate], axis=1)
    differences = {"separate": _difference(fused.first_losses[:, alone], theirs)}

    programs = {"fused": fused} | {
        f"trial {i}": one for i, one in zip(alone, separate, strict=True)
    }
    sides = {name: turn_of(later(one.side, N_WARM_UP), device) for name, one in programs.items()}
    with contextlib.ExitStack() as processes:
        if device.type == "cpu" and has_jax():
            jax = processes.enter_context(jax_process(cell, len(batches), trials))
            losses = np.stack([loss.numpy() for loss in jax(0, N_WARM_UP)[1]])
            assert_same_model(losses[:1], fused.first_losses[:1])
            differences["JAX"] = _difference(fused.first_losses, losses)
            sides["JAX"] = lambda first, n_turn: jax(first + N_WARM_UP, n_turn)
        turns = Turns(sides, steps=steps)
        for _ in range(rounds + 1):
            turns()
    step_s = turns.race.step_s
    by_round = zip(*(step_s[f"trial {i}"] for i in alone), strict=True)
    step_s["separate"] = [sum(times) * n_trials / len(alone) for times in by_round]
    return turns.race, differences


def _difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours / theirs - 1).max())


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Runs what is inside on one core, where the system lets us choose."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def claims_of(
    cell: Cell, n_trials: int, goal: float | None, chosen: argparse.Namespace, device: torch.device
) -> list[dict[str, Any]]:
    """What a cell and a number of trials give, against separate programs and processes."""
    rounds, steps = chosen.rounds, chosen.steps
    batches = first_batches(cell, N_WARM_UP + (rounds + 1) * steps)
    with one_core() if device.type == "cpu" else contextlib.nullcontext():
        found, differences = race_of(cell, n_trials, batches, device, rounds=rounds, steps=steps)
    train, tolerance = cell.train, TOLERANCES[device.type]
    common: dict[str, Any] = {
        "unit": "steps/s of all trials",
        "what": f"{n_trials} trials, {cell.model.name}, d={spec_of(cell).d_model}, "
        f"{train.batch_windows} x {train.window_tokens} tokens, {train.precision}",
        "cell": cell.cell_id,
        "n_trials": n_trials,
        **_agreement(differences["separate"], tolerance),
        "tolerance": tolerance,
        "steps_compared": N_WARM_UP,
        "fused_step_s": found.step_s["fused"],
        "separate_step_s": found.step_s["separate"],
    }
    ours, peer = n_trials / found.median_s("fused"), n_trials / found.median_s("separate")
    claims = [
        claim(
            "P6",
            ours=ours,
            peer=peer,
            goal=goal,
            goal_for="ratio",
            peer_is="one program after another",
            **common,
        )
    ]
    if "JAX" in differences:
        theirs = {
            "peer": n_trials / found.median_s("JAX"),
            "peer_is": "JAX, jit, scan and vmap",
            "peer_step_s": found.step_s["JAX"],
            "jax": jax_version(),
            **_agreement(differences["JAX"], tolerance),
        }
        claims.append(claim("P6-jax", ours=ours, **(common | theirs)))
    if n_trials in chosen.processes:
        claims += _beside_processes(cell, n_trials, ours, common, chosen, device)
    return claims


def _beside_processes(
    cell: Cell,
    n_trials: int,
    ours: float,
    common: dict[str, Any],
    chosen: argparse.Namespace,
    device: torch.device,
) -> list[dict[str, Any]]:
    """Against a process for each trial; none where they do not all start."""
    # A GPU's processes take minutes to get ready, and nothing takes turns with them.
    n_rounds = min(chosen.rounds, N_PROCESS_ROUNDS) if device.type == "cpu" else 1
    n_steps = chosen.steps * chosen.rounds // n_rounds
    step_s = on_all_cores(cell, n_trials, n_steps, device, n_rounds=n_rounds)
    if not step_s:
        print(f"{n_trials} processes did not all start, so they are left out", flush=True)
        return []
    where = "sharing the GPU"
    if "fused" in step_s:
        ours = n_trials / statistics.median(step_s["fused"])
        n_cores = len(os.sched_getaffinity(0))
        where = f"on {n_cores} cores; fused on {n_cores} threads"
    return [
        claim(
            "P6-processes",
            ours=ours,
            peer=n_trials / statistics.median(step_s["processes"]),
            peer_is=f"a process per trial, all at once, {where}",
            on_all_cores_step_s=step_s,
            **common,
        )
    ]


def _agreement(difference: float, tolerance: float) -> dict[str, Any]:
    return {"losses_agree": difference < tolerance, "losses_differ_by": difference}


def main() -> int:
    """Every size that the device is asked for; print. Exit status 1 if losses disagree."""
    parser = arguments(__file__, __doc__, has_dry_run=True)
    parser.add_argument(
        "--device", choices=["cpu", "gpu"], default="gpu" if torch.cuda.is_available() else "cpu"
    )
    parser.add_argument("--trials", type=int, nargs="+", help="trials in a program")
    parser.add_argument(
        "--processes", type=int, nargs="*", default=[8], help="of these, as many processes too"
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=100, help="steps of a round")
    chosen = parser.parse_args()
    if chosen.dry_run:
        chosen.trials, chosen.processes, chosen.rounds, chosen.steps = [2], [2], 1, 3
    elif chosen.device == "gpu" and not torch.cuda.is_available():
        print("no GPU here, so nothing is measured; --dry-run shows that it works", flush=True)
        return 0
    is_gpu = chosen.device == "gpu"
    device = torch.device("cuda" if is_gpu and not chosen.dry_run else "cpu")
    if is_gpu:
        torch.set_float32_matmul_precision("high")
        cell = gpu_cell("gpt2-2-2", batch_windows=12, is_tiny=chosen.dry_run)
        goals = [(cell, n, 6.0 if n == 8 else None) for n in chosen.trials or [1, 2, 4, 8, 16]]
    else:
        torch.set_num_threads(1)
        if not has_jax():
            print(INSTALL, flush=True)
        goals = [
            (cpu_cell("gpt2-2-1", batch_windows=windows), n, goal if n == 8 else None)
            for windows, goal in ((2, 1.8), (8, 1.1))
            for n in chosen.trials or [8]
        ]
    found = [one for each in goals for one in claims_of(*each, chosen, device)]
    write(__file__, found, chosen.json, on_gpu=device.type == "cuda", is_dry_run=chosen.dry_run)
    return exit_status(found)


if __name__ == "__main__":
    sys.exit(main())

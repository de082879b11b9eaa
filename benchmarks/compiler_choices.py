"""What settings of torch's compiler do to a step on a GPU: softmax in one pass or two, kernels
tuned by trying, small kernels launched together. (Products by Triton are left out: trying them
takes minutes.)

Each setting is a process of its own; all compile at the same time, then take turns on the GPU.

Needs: a GPU

    python benchmarks/compiler_choices.py
    python benchmarks/compiler_choices.py --dry-run     # two of them, tiny, on a CPU
"""

import multiprocessing
import statistics
from typing import Any

from record import arguments, write
from step_times import WAIT_S, Shape, prepared, timed

CHOICES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "softmax in two passes": {"online_softmax": False},
    "tuned": {"coordinate_descent_tuning": True},
    "combined": {"combo_kernels": True},
}
"""Settings in `torch._inductor.config`."""

N_TRIALS = (1, 8)


def shape_of(n_trials: int, *, is_tiny: bool) -> Shape:
    """GPT2-2-2 with the vocabulary of bioS; tiny for a CPU."""
    if is_tiny:
        return Shape(
            model="gpt2-1-1",
            batch_windows=1,
            window_tokens=16,
            vocab_size=50,
            n_trials=n_trials,
            compile="on",
        )
    return Shape(
        model="gpt2-2-2",
        batch_windows=12,
        window_tokens=512,
        vocab_size=3566,
        n_trials=n_trials,
        head_dim=64,
        precision="bf16",
    )


def work(
    rank: int, n: int, settings: dict[str, Any], shape: Shape, device: str, barrier: Any, found: Any
) -> None:
    """A process: prepares its step, times it in its turn."""
    import torch
    import torch._inductor.config

    one_step, problem, step_s = None, None, []
    try:
        for name, value in settings.items():
            setattr(torch._inductor.config, name, value)
        one_step = prepared(shape, device)
    except (RuntimeError, AttributeError) as error:
        problem = " ".join(str(error).split())[:200]
    for turn in range(n):
        barrier.wait(WAIT_S)
        if turn == rank and one_step is not None:
            step_s = timed(one_step, 1.0, device)
    barrier.wait(WAIT_S)
    record = {"problem": problem} if problem else {"step_ms": 1e3 * statistics.median(step_s)}
    found.put((rank, record))


def main() -> None:
    """Time every choice, print."""
    parser = arguments(__file__, __doc__, has_dry_run=True)
    chosen = parser.parse_args()
    device = "cpu" if chosen.dry_run else "cuda"
    pairs = [(choice, n_trials) for n_trials in N_TRIALS for choice in CHOICES]
    if chosen.dry_run:
        pairs = pairs[:2]
    context = multiprocessing.get_context("spawn")
    barrier, found = context.Barrier(len(pairs)), context.Queue()
    shapes = [shape_of(n_trials, is_tiny=chosen.dry_run) for _, n_trials in pairs]
    processes = [
        context.Process(
            target=work,
            args=(rank, len(pairs), CHOICES[choice], shapes[rank], device, barrier, found),
            daemon=True,
        )
        for rank, (choice, _) in enumerate(pairs)
    ]
    for process in processes:
        process.start()
    records = dict(found.get(timeout=WAIT_S) for _ in pairs)
    claims = [
        {"choice": choice, "settings": CHOICES[choice], "trials": n_trials, **records[rank]}
        for rank, (choice, n_trials) in enumerate(pairs)
    ]
    is_gpu = not chosen.dry_run
    write(__file__, claims, chosen.json, on_gpu=is_gpu, is_dry_run=chosen.dry_run)


if __name__ == "__main__":
    main()

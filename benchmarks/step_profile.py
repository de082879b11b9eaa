"""Where the time of a step goes, on one CPU core or on a GPU: what P3, P4 and P6 cannot go below.

For one trial and for eight fused ones, the time of a step without the profiler, and with it the
self time of every operator of PyTorch, or on a GPU that of every kernel of the recorded step. What
is left between the two sides of P6 is the time of operators that cost the same for eight trials as
eight times for one.

On a CPU also the roofline of one trial: what each kind of operator takes of the core's own time,
which other programs take nothing from, and of matrix products the share that they reach of the rate
of large ones in the same process. `least_ms` is a step whose products reach all of it and whose
other operators take what they take.

    python benchmarks/step_profile.py
    python benchmarks/step_profile.py --trials 1 --models gpt2-2-2 gpt2-2-4 gpt2-2-8  # P3
    python benchmarks/step_profile.py --dry-run         # the GPU's part in miniature, on a CPU
"""

import os
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from cells import cpu_cell, gpu_cell
from matrix_rate import matrix_flop_per_s
from our_side import first_batches, own_point
from record import arguments, write
from torch.profiler import ProfilerActivity, profile

from kcap_ray.config.cell import Cell
from kcap_ray.planning.run_length import spec_of
from kcap_ray.training.step import TrainStep

N_WARM_UP, N_TIMED = 20, 40

PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")

KINDS = {
    "matrix products": PRODUCTS,
    "attention": (
        "aten::_scaled_dot_product_flash_attention_for_cpu",
        "aten::_scaled_dot_product_flash_attention_for_cpu_backward",
    ),
    "softmax of the loss": ("aten::_log_softmax", "aten::_log_softmax_backward_data"),
    "activation": ("aten::gelu", "aten::gelu_backward"),
    "norms": ("aten::native_layer_norm", "aten::native_layer_norm_backward"),
}


def profiled(cell: Cell, n_trials: int) -> dict[str, Any]:
    """Milliseconds of a step, and shares of its operators' self time."""
    step = TrainStep(
        cell,
        spec_of(cell),
        [own_point(cell)] * n_trials,
        n_steps=N_WARM_UP + 2 * N_TIMED,
        device=torch.device("cpu"),
    )
    batches = iter(first_batches(cell, N_WARM_UP + 2 * N_TIMED))
    for _ in range(N_WARM_UP):
        step(next(batches))
    ceiling = _matrix_rate()
    began = time.process_time()
    step_s = [_seconds(lambda: step(next(batches))) for _ in range(N_TIMED)]
    own_ms = 1e3 * (time.process_time() - began) / N_TIMED
    ceiling = max(ceiling, _matrix_rate())
    with profile(activities=[ProfilerActivity.CPU], acc_events=True, with_flops=True) as seen:
        for _ in range(N_TIMED):
            step(next(batches))
    own_us = Counter({event.key: event.self_cpu_time_total for event in seen.key_averages()})
    total_us = sum(own_us.values())
    shares = {kind: sum(own_us[name] for name in names) for kind, names in KINDS.items()}
    operators_ms = {
        name: us / N_TIMED / 1e3 for name, us in own_us.most_common(12) if us > 0.01 * total_us
    }
    flop = sum(event.flops for event in seen.key_averages() if event.key in PRODUCTS) / N_TIMED
    products_ms, least_products_ms = own_ms * shares["matrix products"] / total_us, flop / ceiling
    least_products_ms *= 1e3
    return {
        "step_ms": 1e3 * statistics.median(step_s),
        "own_ms": own_ms,
        "kinds_ms": {kind: own_ms * us / total_us for kind, us in shares.items()},
        "products_gflop": flop / 1e9,
        "matrix_flop_per_s": ceiling,
        "products_share_of_matrix_rate": least_products_ms / products_ms,
        "least_ms": own_ms - products_ms + least_products_ms,
        "shares": {kind: us / total_us for kind, us in shares.items()},
        "share_of_everything_else": 1 - sum(shares.values()) / total_us,
        "operators_ms": operators_ms,
    }


def _matrix_rate() -> float:
    return matrix_flop_per_s(
        torch.device("cpu"),
        torch.float32,
        widths=(512, 1024),
        n_products=10,
        clock=time.process_time,
    )


def kernels(cell: Cell, n_trials: int, device: torch.device) -> dict[str, Any]:
    """Milliseconds of a step, and microseconds of its kernels, the longest first."""
    step = TrainStep(
        cell,
        spec_of(cell),
        [own_point(cell)] * n_trials,
        n_steps=N_WARM_UP + 2 * N_TIMED,
        device=device,
    )
    batches = iter(first_batches(cell, N_WARM_UP + 2 * N_TIMED))

    def some(n_steps: int) -> None:
        for _ in range(n_steps):
            step(next(batches))
        step.wait()

    some(N_WARM_UP)
    step_s = _seconds(lambda: some(N_TIMED)) / N_TIMED
    is_gpu = device.type == "cuda"
    activity = ProfilerActivity.CUDA if is_gpu else ProfilerActivity.CPU
    with profile(activities=[activity], acc_events=True) as seen:
        some(N_TIMED)
    found = [
        {
            "kernel": event.key[:160],
            "times": event.count / N_TIMED,
            "us": (event.self_device_time_total if is_gpu else event.self_cpu_time_total) / N_TIMED,
        }
        for event in seen.key_averages()
    ]
    found.sort(key=lambda kernel: -kernel["us"])
    return {
        "step_ms": 1e3 * step_s,
        "kernels_ms": sum(kernel["us"] for kernel in found) / 1e3,
        "n_kernels": sum(kernel["times"] for kernel in found),
        "kernels": found,
    }


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def on_gpu(*, is_dry_run: bool) -> list[dict[str, Any]]:
    """Steps of the shapes of P4 and P6, and of a wider model."""
    device = torch.device("cpu" if is_dry_run else "cuda")
    torch.set_float32_matmul_precision("high")
    found = []
    shapes = [("gpt2-2-2", 1), ("gpt2-2-2", 8), ("gpt2-4-4", 1)]
    for model, n_trials in shapes[:1] if is_dry_run else shapes:
        cell = gpu_cell(model, batch_windows=12, is_tiny=is_dry_run)
        if n_trials > 1:
            cell = replace(cell, tune=replace(cell.tune, trials=n_trials))
        trials = "1 trial" if n_trials == 1 else f"{n_trials} trials"
        what = f"{trials}, {model}, 12 x 512 tokens, {cell.train.precision}"
        found.append({"what": what, **kernels(cell, n_trials, device)})
    return found


def main() -> None:
    """Profile every shape, print."""
    parser = arguments(__file__, __doc__, has_dry_run=True)
    parser.add_argument("--trials", type=int, nargs="+", default=[1, 8], help="on a CPU: of these")
    parser.add_argument("--models", nargs="+", help="on a CPU: of these")
    chosen = parser.parse_args()
    if torch.cuda.is_available() or chosen.dry_run:
        found = on_gpu(is_dry_run=chosen.dry_run)
        is_gpu = not chosen.dry_run
        return write(__file__, found, chosen.json, on_gpu=is_gpu, is_dry_run=chosen.dry_run)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    found = []
    shapes = [("gpt2-2-1", 2, 1), ("gpt2-2-1", 2, 8), ("gpt2-2-1", 8, 1), ("gpt2-2-1", 8, 8)]
    shapes += [("gpt2-2-2", 4, 1), ("gpt2-2-4", 4, 1), ("gpt2-2-8", 4, 1)]
    shapes += [("gpt2-2-2", 8, 1), ("gpt2-2-4", 8, 1), ("gpt2-2-8", 8, 1)]
    for model, n_windows, n_trials in shapes:
        if n_trials not in chosen.trials or model not in (chosen.models or [model]):
            continue
        cell = cpu_cell(model, batch_windows=n_windows)
        trials = "1 trial" if n_trials == 1 else f"{n_trials} trials"
        what = f"{trials}, {model}, d={spec_of(cell).d_model}, {n_windows} x 128 tokens"
        found.append({"what": what, **profiled(cell, n_trials)})
    write(__file__, found, chosen.json)


if __name__ == "__main__":
    main()

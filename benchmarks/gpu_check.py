"""Whether a GPU trains what a CPU would: correctness before any of the benchmarks.

The step that is compiled and replayed as a CUDA graph against the model as it is written with
torch's AdamW, over 50 steps, for every kind of architecture and in every precision; fused trials
against separate ones; a run that was interrupted against one that was not; a trial that diverges
beside one that does not.

    python benchmarks/gpu_check.py --processes 6
    python benchmarks/gpu_check.py --dry-run            # a few of them, on a CPU
"""

import contextlib
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trial_programs
from cells import gpu_cell
from our_side import first_batches, our_side, own_point
from record import arguments, write
from torch import Tensor
from training_race import torch_adamw, torch_schedule

from kcap_ray.config.cell import Cell, ModelConfig
from kcap_ray.models.decoder import is_matrix
from kcap_ray.planning.run_length import spec_of
from kcap_ray.training.loop import OpenBatches, Saving, TrainingDiverged, TrainResult, train
from kcap_ray.training.point import Point
from kcap_ray.training.precision import autocast
from kcap_ray.training.step import TrainStep

# Largest relative difference of losses: sums in another order, carried on over 50 steps.
TOLERANCES = {"fp32": 1e-3, "bf16": 0.03, "fp16": 0.01}

GRAPHS = (
    ("gpt2-2-2", "fp32"),
    ("gpt2-2-2", "bf16"),
    ("gpt2-2-2", "fp16"),
    ("llama-2-2", "bf16"),
    ("mistral-2-4", "bf16"),
    ("gpt2-2-2-moe4", "bf16"),
    ("gpt2-2-2-canon-ssd", "bf16"),
)
DRY_GRAPHS = (("gpt2-2-2", "bf16"), ("gpt2-2-2-moe4", "fp32"))
DIVERGING = Point(lr=1e30, weight_decay=0.0)

Found = dict[str, Any]


def small_cell(model: str, precision: str) -> Cell:
    """A cell on little data, whose heads are as wide as the paper's."""
    tiny = gpu_cell(model, batch_windows=2, precision=precision, is_tiny=True)
    return replace(tiny, model=ModelConfig(name=model, head_dim=64))


def within(difference: float, tolerance: float) -> Found:
    """A check that two curves are one."""
    return {"ok": difference < tolerance, "differs_by": difference, "tolerance": tolerance}


def as_written(cell: Cell, model: torch.nn.Module, batches: np.ndarray) -> list[Tensor]:
    """Losses of training the model as it is written: eager, with torch's AdamW and loss scaler."""
    point, n_steps = own_point(cell), len(batches)
    device = next(model.parameters()).device
    optimizer = torch_adamw(model, point, cell.train, lambda name, _: is_matrix(name))
    schedule = torch_schedule(optimizer, n_steps, cell.train)
    scaler = torch.amp.GradScaler(device.type, enabled=cell.train.precision == "fp16")
    losses = []
    for batch in batches:
        windows_BT1 = torch.from_numpy(batch.astype(np.int64)).to(device)
        with autocast(cell.train.number_format, device):
            loss, balance = model.loss_and_balance(windows_BT1)  # pyright: ignore
        scaler.scale(loss + cell.train.load_balance * balance).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        losses.append(loss.detach())
    return losses


def graph_is_eager(model: str, precision: str, device: torch.device, n_steps: int) -> Found:
    """The losses of `TrainStep` are those of the model as it is written."""
    cell = small_cell(model, precision)
    batches = first_batches(cell, n_steps)
    step = TrainStep(cell, spec_of(cell), [own_point(cell)], n_steps=n_steps, device=device)
    written = step.model.trial(0).to(device)
    side = our_side(step, batches)
    ours = torch.stack([side(number) for number in range(n_steps)]).reshape(-1)
    theirs = torch.stack(as_written(cell, written, batches))
    difference = float((ours / theirs - 1).abs().max())
    return within(difference, TOLERANCES[precision])


def fused_is_separate(model: str, precision: str, device: torch.device) -> Found:
    """Trials of one program have the losses of the same trials alone."""
    cell = small_cell(model, precision)
    batches = first_batches(cell, trial_programs.N_WARM_UP)
    points = trial_programs.points(cell, 3)
    fused = trial_programs.warm_trials(cell, points, batches, device).first_losses
    alone = trial_programs.warm_trials(cell, points[2:], batches, device).first_losses
    difference = float(np.abs(fused[:, 2] / alone[:, 0] - 1).max())
    return within(difference, TOLERANCES[precision])


class _Interrupted(Exception):
    """The machine was lost."""


def _batches(cell: Cell, n_steps: int, *, lost_at: int | None = None) -> OpenBatches:
    everything = first_batches(cell, n_steps)

    def batches_from(step: int) -> Iterator[np.ndarray]:
        for number in range(step, n_steps):
            if number == lost_at:
                raise _Interrupted
            yield everything[number]

    return batches_from


def _curve(result: TrainResult, trial: int) -> np.ndarray:
    return np.array([progress.losses[trial] for progress in result.history])


def _run(
    cell: Cell,
    points: list[Point],
    device: torch.device,
    *,
    n_steps: int,
    open_batches: OpenBatches,
    saving: Saving | None = None,
) -> TrainResult:
    step = TrainStep(cell, spec_of(cell), points, n_steps=n_steps, device=device)
    return train(step, open_batches, saving=saving)


def resumed_is_whole(device: torch.device, n_steps: int) -> Found:
    """A run that was lost in the middle and goes on has the losses of one that was not."""
    cell = small_cell("gpt2-2-2", "fp32")
    points = [own_point(cell)] * 2
    whole = _run(cell, points, device, n_steps=n_steps, open_batches=_batches(cell, n_steps))
    lost = _batches(cell, n_steps, lost_at=n_steps // 2)
    with tempfile.TemporaryDirectory() as directory:
        saving = Saving(path=Path(directory) / "resume.pt", every_s=0.0)
        with contextlib.suppress(_Interrupted):
            _run(cell, points, device, n_steps=n_steps, open_batches=lost, saving=saving)
        rest = _batches(cell, n_steps)
        resumed = _run(cell, points, device, n_steps=n_steps, open_batches=rest, saving=saving)
    difference = float(np.abs(_curve(resumed, 1) / _curve(whole, 1) - 1).max())
    return within(difference, TOLERANCES["fp32"])


def diverged_trial_is_alone(device: torch.device, n_steps: int) -> Found:
    """A trial that stops being finite is noticed, and leaves its neighbour as it was; a run in
    which all do so ends.
    """
    cell = small_cell("gpt2-2-2", "bf16")
    own, batches = own_point(cell), _batches(cell, n_steps)
    mixed = _run(cell, [own, DIVERGING], device, n_steps=n_steps, open_batches=batches)
    # The others as they are written, which saves two compilations.
    cell = replace(cell, train=replace(cell.train, compile="off"))
    healthy = _run(cell, [own, own], device, n_steps=n_steps, open_batches=batches)
    difference = float(np.abs(_curve(mixed, 0) / _curve(healthy, 0) - 1).max())
    found = within(difference, TOLERANCES["bf16"])
    found["diverged_at"] = mixed.diverged_at
    found["ok"] &= mixed.diverged_at[0] is None and mixed.diverged_at[1] is not None
    try:
        _run(cell, [DIVERGING, DIVERGING], device, n_steps=n_steps, open_batches=batches)
        found["ok"] = False
    except TrainingDiverged as diverged:
        found["ended"] = str(diverged)
    return found


def checks(*, device: torch.device, is_dry_run: bool) -> dict[str, Callable[[], Found]]:
    """All checks by name, in order."""
    n_steps = 6 if is_dry_run else 50
    graphs = DRY_GRAPHS if is_dry_run else GRAPHS
    found: dict[str, Callable[[], Found]] = {}
    for model, precision in graphs:
        found[f"graph = eager, {model} {precision}"] = lambda m=model, p=precision: graph_is_eager(
            m, p, device, n_steps
        )
    fused = ("gpt2-2-2", "fp32"), ("gpt2-2-2-moe4", "bf16")
    for model, precision in fused[: 1 if is_dry_run else None]:
        found[f"fused = separate, {model} {precision}"] = lambda m=model, p=precision: (
            fused_is_separate(m, p, device)
        )
    found["resumed = whole"] = lambda: resumed_is_whole(device, n_steps)
    found["diverged trial is alone"] = lambda: diverged_trial_is_alone(device, n_steps)
    return found


def checked(name: str, check: Callable[[], Found]) -> Found:
    """What a check finds, and how long it took; one that breaks off has failed."""
    began = time.perf_counter()
    try:
        found = check()
    except Exception as error:  # the other checks have something to say all the same
        found = {"ok": False, "error": f"{type(error).__name__}: {error}"[:2000]}
    if math.isnan(found.get("differs_by", 0.0)):
        found["ok"] = False
    seconds = time.perf_counter() - began
    print(f"{'ok' if found['ok'] else 'FAILED':8} {name} ({seconds:.0f} s)", flush=True)
    return {"check": name, **found, "seconds": seconds}


def checked_by_name(name: str, *, device_type: str, is_dry_run: bool) -> Found:
    """One of the checks, for a process that has nothing but its name."""
    if device_type == "cpu":
        torch.set_num_threads(1)
    return checked(name, checks(device=torch.device(device_type), is_dry_run=is_dry_run)[name])


def main() -> int:
    """All checks; exit status 1 if one fails."""
    parser = arguments(__file__, __doc__, has_dry_run=True)
    parser.add_argument("--only", help="checks with this in their name")
    parser.add_argument(
        "--processes", type=int, default=1, help="checks at once, each in a process of its own"
    )
    chosen = parser.parse_args()
    if not chosen.dry_run and not torch.cuda.is_available():
        print("no GPU here, so nothing is checked; --dry-run shows that it works", flush=True)
        return 0
    device = torch.device("cpu" if chosen.dry_run else "cuda")
    names = [
        name
        for name in checks(device=device, is_dry_run=chosen.dry_run)
        if chosen.only is None or chosen.only in name
    ]
    with ProcessPoolExecutor(chosen.processes, mp_context=get_context("spawn")) as pool:
        one = partial(checked_by_name, device_type=device.type, is_dry_run=chosen.dry_run)
        found = list((pool.map if chosen.processes > 1 else map)(one, names))
    write(
        __file__,
        found,
        chosen.json,
        on_gpu=device.type == "cuda",
        is_dry_run=chosen.dry_run,
    )
    return 0 if all(one["ok"] for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())

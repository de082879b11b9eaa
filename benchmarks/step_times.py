"""Step times of many shapes on a device: on a CPU one process on each core, all at the
same work at the same time, because that is how a sweep runs; on a GPU the processes only compile
concurrently, and then take turns.
"""

import multiprocessing
import os
import queue
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

BATCHES = 4
"""Batches that take turns; which tokens they are makes no difference to the time."""

N_WARM_UP = 6
"""Steps before the timed ones: on a GPU the first four end in a recorded graph."""

CHUNK_S = 0.1
"""Seconds of steps that are timed together, so that on a GPU waiting for it is lost among them."""

WAIT_S = 600.0
"""Longest time that processes wait for the slowest of them."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What one step is made of."""

    model: str
    batch_windows: int
    window_tokens: int
    vocab_size: int
    n_trials: int = 1
    head_dim: int = 16
    optimizer: str = "adamw"
    precision: str = "fp32"
    compile: str = "auto"

    @property
    def spec(self) -> Any:
        """The model."""
        from kcap_ray.models.spec import parse_model

        return parse_model(self.model, head_dim=self.head_dim, vocab_size=self.vocab_size)


def prepared(shape: Shape, device_type: str) -> Any:
    """The step as a call without arguments, warmed up."""
    import numpy as np
    import torch

    from kcap_ray.config.cell import Cell, ModelConfig, TrainConfig
    from kcap_ray.config.data import DataConfig
    from kcap_ray.training.point import Point
    from kcap_ray.training.step import TrainStep

    train = TrainConfig(
        exposures=100,
        lr=1e-3,
        weight_decay=0.01,
        batch_windows=shape.batch_windows,
        window_tokens=shape.window_tokens,
        precision=shape.precision,  # pyright: ignore[reportArgumentType]
        optimizer=shape.optimizer,  # pyright: ignore[reportArgumentType]
        compile=shape.compile,  # pyright: ignore[reportArgumentType]
    )
    model = ModelConfig(name=shape.model, head_dim=shape.head_dim)
    step = TrainStep(
        Cell(data=DataConfig(n_people=1_000), model=model, train=train),
        shape.spec,
        [Point(lr=train.lr, weight_decay=train.weight_decay)] * shape.n_trials,
        n_steps=100_000,
        device=torch.device(device_type),
    )
    size = (BATCHES, shape.batch_windows, shape.window_tokens + 1)
    batches = np.random.default_rng(0).integers(shape.vocab_size, size=size).astype(np.uint16)

    def one_step() -> None:
        step(batches[step.n_done % BATCHES])

    for _ in range(N_WARM_UP):
        one_step()
    return one_step


def timed(one_step: Any, seconds: float, device_type: str) -> list[float]:
    """Seconds per step of one stretch of steps after another."""
    import torch

    def wait() -> None:
        if device_type == "cuda":
            torch.cuda.synchronize()

    def stretch(n_steps: int) -> float:
        wait()
        began = time.perf_counter()
        for _ in range(n_steps):
            one_step()
        wait()
        return (time.perf_counter() - began) / n_steps

    n_steps = max(1, round(CHUNK_S / stretch(2)))
    found, ends = [], time.perf_counter() + seconds
    while not found or time.perf_counter() < ends:
        found.append(stretch(n_steps))
    return found


def _work(
    rank: int,
    waves: Sequence[Sequence[Shape | None]],
    device_type: str,
    seconds: float,
    takes_turns: bool,
    barrier: Any,
    results: Any,
) -> None:
    """A process: prepares its shape of each wave, and times it at the same time as the others or in
    its turn.
    """
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    import torch

    torch.set_num_threads(1)
    for number, wave in enumerate(waves):
        shape, one_step, found, problem = wave[rank], None, [], None
        began = time.perf_counter()
        if shape is not None:
            try:
                one_step = prepared(shape, device_type)
            except RuntimeError as error:  # mostly for want of memory
                problem = " ".join(str(error).split())[:200]
        prepared_s = time.perf_counter() - began
        barrier.wait(WAIT_S)
        for turn in range(len(wave) if takes_turns else 1):
            if one_step is not None and (turn == rank or not takes_turns):
                found = timed(one_step, seconds, device_type)
            barrier.wait(WAIT_S)
        del one_step
        if device_type == "cuda":
            torch.cuda.empty_cache()
        results.put((number, rank, found, prepared_s, problem))


def run_waves(
    waves: Sequence[Sequence[Shape | None]],
    device_type: str,
    seconds: float,
    *,
    takes_turns: bool,
) -> list[dict[str, Any]]:
    """Each shape's measurement: median seconds of a step, over all processes that timed it, and
    the seconds that preparing it took; or `problem`. A wave has a place for each process.

    Raises RuntimeError if a process dies.
    """
    context = multiprocessing.get_context("spawn")
    n_processes = len(waves[0])
    barrier, results = context.Barrier(n_processes), context.Queue()
    processes = [
        context.Process(
            target=_work,
            args=(rank, waves, device_type, seconds, takes_turns, barrier, results),
            daemon=True,
        )
        for rank in range(n_processes)
    ]
    for process in processes:
        process.start()
    by_shape: dict[Shape, list[tuple[list[float], float, str | None]]] = {}
    for _ in range(len(waves) * n_processes):
        number, rank, found, prepared_s, problem = _next(results, processes)
        shape = waves[number][rank]
        if shape is not None:
            by_shape.setdefault(shape, []).append((found, prepared_s, problem))
    for process in processes:
        process.join()
    return [_record(shape, parts) for shape, parts in by_shape.items()]


def _next(results: Any, processes: Sequence[Any]) -> Any:
    """What the next process to be ready has found."""
    while True:
        try:
            return results.get(timeout=1.0)
        except queue.Empty:
            if any(process.exitcode for process in processes):
                raise RuntimeError("a process that measures has died; it says why above") from None


def _record(shape: Shape, parts: list[tuple[list[float], float, str | None]]) -> dict[str, Any]:
    record: dict[str, Any] = asdict(shape)
    problems = [problem for _, _, problem in parts if problem]
    if problems:
        return {**record, "problem": problems[0]}
    # Processes that run concurrently each have a pace of their own; a run meets their mean.
    medians = [statistics.median(found) for found, _, _ in parts]
    return {
        **record,
        "step_s": statistics.mean(medians),
        "step_s_range": [min(min(found) for found, _, _ in parts), max(medians)],
        "prepare_s": statistics.median(prepared_s for _, prepared_s, _ in parts),
    }

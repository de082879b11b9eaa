"""JAX as a side of a race, in a process of its own; where it is not installed, no side.

JAX is no dependency of kcap. For the benchmarks it is put beside it by

    pip install "jax[cpu]"
"""

import contextlib
import importlib.metadata
import importlib.util
import os
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection

import numpy as np
from our_side import first_batches
from turns import Clock, Turn, turns_of_process

from kcap_ray.config.cell import Cell
from kcap_ray.models.decoder import Decoder
from kcap_ray.models.spec import ModelSpec
from kcap_ray.planning.run_length import spec_of
from kcap_ray.training.point import Point

FIRST_TOLERANCE = 1e-5
"""Largest relative difference of losses of the same weights: float32 sums over some thousand terms
in another order.
"""

INSTALL = 'without JAX (pip install "jax[cpu]")'


def has_jax() -> bool:
    """Whether there is such a side."""
    return importlib.util.find_spec("jax") is not None


def jax_version() -> str:
    """For the record."""
    return importlib.metadata.version("jax")


def assert_same_model(theirs: np.ndarray, ours: np.ndarray) -> None:
    """Raises RuntimeError if the first losses, of weights that nobody has stepped, differ: then the
    sides have not the same model, and their times say nothing.
    """
    difference = float(np.abs(theirs / ours - 1).max())
    if not difference < FIRST_TOLERANCE:
        raise RuntimeError(
            f"JAX's first loss differs from ours by {difference:.2g} of it, on the same weights; "
            f"{FIRST_TOLERANCE:.0e} may be rounding"
        )


@contextlib.contextmanager
def jax_process(
    cell: Cell, n_steps: int, points: Sequence[Point], clock: Clock = time.perf_counter
) -> Iterator[Turn]:
    """JAX's turns at the cell's trials, fused where they are several, from its initial weights.

    Raises `EOFError` if the process ends before its time.
    """
    with turns_of_process(_take_turns, cell, n_steps, points, clock) as take:
        yield take


def _take_turns(
    pipe: Connection, cell: Cell, n_steps: int, points: Sequence[Point], clock: Clock
) -> None:
    """The process: turns as they are asked for, each one program, until nobody asks any more."""
    # Read when JAX is imported; the other sides have one thread, too.
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    os.environ["JAX_PLATFORMS"] = "cpu"
    from jax_gpt import first_state, steps_of

    spec = spec_of(cell)
    assert isinstance(spec, ModelSpec), "only kcap's own decoders are written in JAX"
    model = Decoder(spec.alike, n_tokens=cell.train.window_tokens)
    model.init_weights(seed=cell.seed, std=cell.train.init_std)
    weights = {name: weight.detach().numpy() for name, weight in model.named_parameters()}
    state = first_state(weights, len(points))
    program = steps_of(spec, points, n_steps, cell.train)
    batches = first_batches(cell, n_steps)
    with contextlib.suppress(EOFError):
        while True:
            first, n_turn = pipe.recv()
            began = clock()
            state, losses_NE = program(state, batches[first : first + n_turn].astype(np.int32))
            losses = np.asarray(losses_NE)
            pipe.send((clock() - began, losses))

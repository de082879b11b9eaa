"""Batches made ahead of the training by processes of their own, where there is no Ray to do it.

One core makes ten to twenty million tokens a second, which is less than a GPU trains small models
on. Any process can make any part of a stream, so a few of them take its chunks in turn.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np

from kcap_ray.config.cell import Cell
from kcap_ray.text.stream.batches import chunk_steps, stream_of, worker_windows

CHUNKS_AHEAD = 4
"""Chunks that each process may be ahead of the training; one is about a megabyte."""


def prefetched_batches(
    cell: Cell, *, n_steps: int, n_processes: int
) -> Callable[[int], Iterator[np.ndarray]]:
    """From a step to its batches and all later ones up to `n_steps`, each uint16 [B, T+1]: the same
    as those of `in_process_batches`, made by `n_processes` processes.
    """
    size = chunk_steps(cell.train)

    def batches_from(step: int) -> Iterator[np.ndarray]:
        # Not forked: the parent may hold a GPU and threads.
        pool = ProcessPoolExecutor(n_processes, mp_context=get_context("spawn"))
        firsts = range(step, n_steps, size)
        n_ahead = n_processes * CHUNKS_AHEAD
        chunks = deque(
            pool.submit(_chunk, cell, first, min(first + size, n_steps))
            for first in firsts[:n_ahead]
        )
        later = iter(firsts[n_ahead:])
        try:
            while chunks:
                windows = chunks.popleft().result()
                if (first := next(later, None)) is not None:
                    chunks.append(pool.submit(_chunk, cell, first, min(first + size, n_steps)))
                yield from windows
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    return batches_from


def _chunk(cell: Cell, first_step: int, last_step: int) -> np.ndarray:
    """The global batches of some steps, [steps, B, T+1]."""
    windows = worker_windows(
        stream_of(cell), cell.train, rank=0, workers=1, first_step=first_step, last_step=last_step
    )
    return windows.reshape(last_step - first_step, cell.train.batch_windows, -1)

"""Which windows of the stream make up which batch, for one worker or many.

Step s trains on windows s*B .. (s+1)*B of the stream; of these, worker r of W gets r*B//W ..
(r+1)*B//W: 10 windows make 3, 3 and 4 for three workers. So the global batch of a step does not
depend on the number of workers.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np

from kcap_ray.config.cell import Cell, TrainConfig
from kcap_ray.text.stream.corpus import build_corpus
from kcap_ray.text.stream.mixing import training_stream
from kcap_ray.text.stream.stream import TrainingStream

MIN_CHUNK_WINDOWS = 1_024
"""Windows made at a time: enough that the fixed cost of making some is lost among them."""


@lru_cache(maxsize=2)
def stream_of(cell: Cell) -> TrainingStream:
    """The cell's stream; the last two are kept, with what they know of where exposures start.

    A process that makes one part of a stream after another counts each exposure once.
    """
    return training_stream(
        build_corpus(cell.data), seed=cell.seed, window_tokens=cell.train.window_tokens
    )


def chunk_steps(train: TrainConfig) -> int:
    """Steps whose windows are made together."""
    return max(1, MIN_CHUNK_WINDOWS // train.batch_windows)


def n_own_windows(train: TrainConfig, *, rank: int, workers: int) -> int:
    """Windows that this worker gets of each step."""
    first, last = _share(train, rank, workers)
    return last - first


def worker_windows(
    stream: TrainingStream,
    train: TrainConfig,
    *,
    rank: int,
    workers: int,
    first_step: int,
    last_step: int,
) -> np.ndarray:
    """This worker's windows of steps `first_step` to before `last_step`: uint16 [steps * own
    windows, window_tokens + 1].

    `workers` is the number of those that train now, whatever the cell asks for.
    """
    n_all = train.batch_windows
    windows = stream.windows(first_step * n_all, last_step * n_all)
    by_step = windows.reshape(last_step - first_step, n_all, windows.shape[1])
    first, last = _share(train, rank, workers)
    return by_step[:, first:last].reshape(-1, windows.shape[1])


def in_process_batches(
    stream: TrainingStream, train: TrainConfig, *, n_steps: int, rank: int = 0, workers: int = 1
) -> Callable[[int], Iterator[np.ndarray]]:
    """From a step to its batches and all later ones up to `n_steps`, made in this process."""
    n_own = n_own_windows(train, rank=rank, workers=workers)

    def batches_from(step: int) -> Iterator[np.ndarray]:
        while step < n_steps:
            stop = min(step + chunk_steps(train), n_steps)
            windows = worker_windows(
                stream, train, rank=rank, workers=workers, first_step=step, last_step=stop
            )
            yield from windows.reshape(stop - step, n_own, -1)
            step = stop

    return batches_from


def _share(train: TrainConfig, rank: int, workers: int) -> tuple[int, int]:
    assert 0 <= rank < workers <= train.batch_windows, "every worker has at least one window"
    return rank * train.batch_windows // workers, (rank + 1) * train.batch_windows // workers

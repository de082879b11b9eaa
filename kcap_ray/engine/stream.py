"""Ray Data makes the windows of a cell and feeds them to whoever trains it."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import ray.data
from ray.data import DataContext
from ray.data.block import Block, BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from kcap_ray.cell import Cell
from kcap_ray.text.batches import chunk_steps, worker_windows
from kcap_ray.text.corpus import build_corpus
from kcap_ray.text.stream import BiographyStream

MAX_READ_TASKS = 2_000
"""Most tasks that a run is cut into; a long run's tasks make several blocks each."""

READ_TASKS_AT_ONCE = 2
"""Tasks that make windows at the same time, for one trainer: data are made many times faster than they are used."""

COLUMN = "windows"


class WindowsSource(Datasource):
    """The windows of one worker for steps `first_step` to before `n_steps`, in order."""

    def __init__(self, cell: Cell, *, rank: int, first_step: int, n_steps: int) -> None:
        super().__init__()
        self._cell, self._rank = cell, rank
        self._first_step, self._n_steps = first_step, n_steps

    def estimate_inmemory_data_size(self) -> int:
        """Bytes of all windows together."""
        return self._bytes_per_step() * (self._n_steps - self._first_step)

    def get_read_tasks(
        self,
        parallelism: int,
        per_task_row_limit: int | None = None,
        data_context: DataContext | None = None,
    ) -> list[ReadTask]:
        """Tasks of whole steps; their number depends on the run alone."""
        n_steps = self._n_steps - self._first_step
        per_block = chunk_steps(self._cell.train)
        n_tasks = min(MAX_READ_TASKS, -(-n_steps // per_block))
        bounds = np.linspace(self._first_step, self._n_steps, n_tasks + 1).astype(int).tolist()
        return [self._task(start, stop) for start, stop in zip(bounds, bounds[1:], strict=False)]

    def _bytes_per_step(self) -> int:
        train = self._cell.train
        return 2 * (train.batch_windows // train.workers) * (train.window_tokens + 1)

    def _task(self, start: int, stop: int) -> ReadTask:
        cell, rank = self._cell, self._rank
        train = cell.train
        metadata = BlockMetadata(
            num_rows=(stop - start) * (train.batch_windows // train.workers),
            size_bytes=(stop - start) * self._bytes_per_step(),
            input_files=None,
            exec_stats=None,
        )
        return ReadTask(lambda: _blocks(cell, rank, start, stop), metadata)


def _blocks(cell: Cell, rank: int, start: int, stop: int) -> Iterable[Block]:
    from ray.data.block import BlockAccessor

    # The corpus stays in the worker process from one task to the next (build_corpus is cached).
    stream = BiographyStream(
        build_corpus(cell.data), seed=cell.seed, window_tokens=cell.train.window_tokens
    )
    per_block = chunk_steps(cell.train)
    for first in range(start, stop, per_block):
        last = min(first + per_block, stop)
        windows = worker_windows(stream, cell.train, rank=rank, first_step=first, last_step=last)
        yield BlockAccessor.batch_to_block({COLUMN: windows})


def ray_batches(cell: Cell, *, rank: int, n_steps: int) -> Callable[[int], Iterator[np.ndarray]]:
    """From a step to its batches and all later ones up to `n_steps`, made by Ray Data."""

    def batches_from(step: int) -> Iterator[np.ndarray]:
        context = DataContext.get_current()
        context.enable_progress_bars = False
        # Steps must arrive in order, and the stream must not depend on which task is the fastest.
        context.execution_options.preserve_order = True
        dataset = ray.data.read_datasource(
            WindowsSource(cell, rank=rank, first_step=step, n_steps=n_steps),
            # Trainers hold all CPUs of a small cluster. Making windows takes a few percent of one.
            num_cpus=0,
            concurrency=READ_TASKS_AT_ONCE,
        )
        n_own = cell.train.batch_windows // cell.train.workers
        for block in dataset.iter_batches(batch_size=None, batch_format="numpy"):
            windows = block[COLUMN]
            yield from windows.reshape(-1, n_own, windows.shape[-1])

    return batches_from

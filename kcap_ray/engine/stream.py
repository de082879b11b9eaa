"""Ray Data makes the windows of a cell and feeds them to whoever trains it."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from itertools import chain, islice, pairwise
from typing import Any

import numpy as np
import ray.data
from ray.data import DataContext, ExecutionResources
from ray.data.block import Block, BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from kcap_ray.config.cell import Cell
from kcap_ray.text.stream.batches import (
    chunk_steps,
    in_process_batches,
    n_own_windows,
    stream_of,
    worker_windows,
)

MAX_READ_TASKS = 2_000
"""Most tasks that a run is cut into; a long run's tasks make several blocks each."""

READ_TASKS_AT_ONCE = 2
"""Tasks that make windows at the same time, for one trainer: data are made many times faster than
they are used.
"""

BLOCK_BYTES = 8 * 2**20
"""Size of a block. Ray's own, sixteen times as large, would keep the first step waiting and fill a
small object store.
"""

BYTES_IN_FLIGHT = 64 * 2**20
"""Object store that one trainer's windows may take. Ray's own limit counts on a single data set in
the whole cluster.
"""

NODE_ID = "ray.io/node-id"
"""Label that every node has of Ray."""

COLUMN = "windows"


class WindowsSource(Datasource):
    """The windows of one worker for steps `first_step` to before `n_steps`, in order."""

    def __init__(
        self, cell: Cell, *, rank: int, workers: int, first_step: int, n_steps: int
    ) -> None:
        super().__init__()
        self._cell, self._rank, self._workers = cell, rank, workers
        self._n_own = n_own_windows(cell.train, rank=rank, workers=workers)
        self._first_step, self._n_steps = first_step, n_steps

    def estimate_inmemory_data_size(self) -> int:
        """Bytes of all windows together."""
        return self._bytes_per_step() * (self._n_steps - self._first_step)

    @property
    def n_tasks(self) -> int:
        """Tasks that the windows are made by; depends on the run alone, never on the cluster."""
        n_steps = self._n_steps - self._first_step
        return min(MAX_READ_TASKS, -(-n_steps // chunk_steps(self._cell.train)))

    def get_read_tasks(
        self,
        parallelism: int,
        per_task_row_limit: int | None = None,
        data_context: DataContext | None = None,
    ) -> list[ReadTask]:
        """Tasks of whole steps, `n_tasks` of them whatever is asked for."""
        bounds = np.linspace(self._first_step, self._n_steps, self.n_tasks + 1).astype(int).tolist()
        return [self._task(start, stop) for start, stop in pairwise(bounds)]

    def _bytes_per_step(self) -> int:
        return 2 * self._n_own * (self._cell.train.window_tokens + 1)

    def _task(self, start: int, stop: int) -> ReadTask:
        # The task must not carry this object along.
        cell, rank, workers = self._cell, self._rank, self._workers
        metadata = BlockMetadata(
            num_rows=(stop - start) * self._n_own,
            size_bytes=(stop - start) * self._bytes_per_step(),
            input_files=None,
            exec_stats=None,
        )
        return ReadTask(lambda: _blocks(cell, rank, workers, start, stop), metadata)


def _blocks(cell: Cell, rank: int, workers: int, start: int, stop: int) -> Iterable[Block]:
    from ray.data.block import BlockAccessor

    stream = stream_of(cell)
    per_block = chunk_steps(cell.train)
    for first in range(start, stop, per_block):
        last = min(first + per_block, stop)
        windows = worker_windows(
            stream, cell.train, rank=rank, workers=workers, first_step=first, last_step=last
        )
        yield BlockAccessor.batch_to_block({COLUMN: windows})


def ray_batches(
    cell: Cell, *, n_steps: int, rank: int = 0, workers: int = 1
) -> Callable[[int], Iterator[np.ndarray]]:
    """From a step to its batches and all later ones up to `n_steps`, made by Ray Data.

    It takes seconds until Ray Data has made the first ones. Until it has come as far as the run,
    and for `chunk_steps` in any case, they are made in this process. `workers` is the number of
    those that train now, whatever the cell asks for.
    """
    shares = {"n_steps": n_steps, "rank": rank, "workers": workers}
    own_batches = in_process_batches(stream_of(cell), cell.train, **shares)

    def batches_from(step: int) -> Iterator[np.ndarray]:
        first = step + chunk_steps(cell.train)
        if first >= n_steps:
            yield from own_batches(step)
            return
        others = _CatchingUp(ray_data_batches(cell, **shares)(first), first)
        try:
            for batch in own_batches(step):
                yield batch
                step += 1
                others.wanted_step = max(step, first)
                if step >= first and others.have_caught_up:
                    break
            if step < n_steps:
                yield from others.from_step(step)
        finally:
            others.wanted_step = None

    return batches_from


class _CatchingUp:
    """Batches of the steps from `step` on, which a thread takes and drops until they have come as
    far as the run.
    """

    def __init__(self, batches: Iterator[np.ndarray], step: int) -> None:
        self._batches, self._step = batches, step
        self._next: Future[np.ndarray] = Future()
        self.wanted_step: int | None = step
        """Step that the run needs next; None where it needs none any more."""
        threading.Thread(target=self._catch_up, daemon=True).start()

    @property
    def have_caught_up(self) -> bool:
        """Whether they have come as far as the run, or broken on the way."""
        return self._next.done()

    def from_step(self, step: int) -> Iterator[np.ndarray]:
        """Those of `step` and all later ones; raises what they have broken with."""
        following = chain([self._next.result()], self._batches)
        return islice(following, step - self._step, None)

    def _catch_up(self) -> None:
        try:
            for batch in self._batches:
                wanted_step = self.wanted_step
                if wanted_step is None:
                    return
                if self._step >= wanted_step:
                    self._next.set_result(batch)
                    return
                self._step += 1
        except BaseException as error:
            self._next.set_exception(error)


def ray_data_batches(
    cell: Cell, *, n_steps: int, rank: int = 0, workers: int = 1
) -> Callable[[int], Iterator[np.ndarray]]:
    """As `ray_batches`, every one of them made by Ray Data."""

    def batches_from(step: int) -> Iterator[np.ndarray]:
        # Its notes on every data set would fill the workers' logs.
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.target_max_block_size = BLOCK_BYTES
        options = context.execution_options
        # Steps must arrive in order, and the stream must not depend on which task is the fastest.
        options.preserve_order = True
        options.resource_limits = ExecutionResources.for_limits(object_store_memory=BYTES_IN_FLIGHT)
        source = WindowsSource(cell, rank=rank, workers=workers, first_step=step, n_steps=n_steps)
        dataset = ray.data.read_datasource(
            source,
            # Trainers hold all CPUs of a small cluster. Making windows takes a few percent of one.
            num_cpus=0,
            # Spread over all nodes otherwise, a head without CPUs among them.
            label_selector={NODE_ID: ray.get_runtime_context().get_node_id()},
            concurrency=min(READ_TASKS_AT_ONCE, source.n_tasks),
            override_num_blocks=source.n_tasks,
        )
        blocks: Any = dataset.iter_batches(batch_size=None, batch_format="numpy")
        n_own = n_own_windows(cell.train, rank=rank, workers=workers)
        yield from rebatched((np.asarray(block[COLUMN]) for block in blocks), n_own)

    return batches_from


def rebatched(blocks: Iterable[np.ndarray], n_rows: int) -> Iterator[np.ndarray]:
    """The same rows in batches of `n_rows`: Ray Data cuts and joins blocks as it likes.

    Blocks of 3 and 5 rows make, for `n_rows` 4, two batches: three rows and one, then four. Rows
    left over are dropped.
    """
    rest: np.ndarray | None = None
    for block in blocks:
        rows = block if rest is None or not len(rest) else np.concatenate([rest, block])
        n_whole = len(rows) // n_rows * n_rows
        yield from rows[:n_whole].reshape(-1, n_rows, rows.shape[-1])
        rest = rows[n_whole:]

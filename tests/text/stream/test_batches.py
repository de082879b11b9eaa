"""How the windows of a step are shared among data-parallel workers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcap_ray.text.stream.batches import (
    chunk_steps,
    in_process_batches,
    n_own_windows,
    stream_of,
    worker_windows,
)
from tests.tiny import tiny_cell

SHARES = st.integers(1, 5).flatmap(lambda w: st.tuples(st.just(w), st.integers(w, 12)))
"""A number of workers, and a batch that is large enough for them."""


@given(shares=SHARES, first=st.integers(0, 300), n_steps=st.integers(1, 3))
def test_global_batch_does_not_depend_on_the_number_of_workers(shares, first, n_steps):
    """The shares of all workers, in the order of ranks, are the windows of the stream; any number
    of workers divides any batch that has a window for each.
    """
    workers, n_all = shares
    cell = tiny_cell(batch_windows=n_all)
    stream = stream_of(cell)
    whole = stream.windows(first * n_all, (first + n_steps) * n_all)
    own = [
        worker_windows(
            stream,
            cell.train,
            rank=rank,
            workers=workers,
            first_step=first,
            last_step=first + n_steps,
        ).reshape(n_steps, -1, whole.shape[1])
        for rank in range(workers)
    ]
    np.testing.assert_array_equal(np.concatenate(own, axis=1).reshape(whole.shape), whole)


@given(shares=SHARES)
def test_workers_have_as_much_to_do_as_each_other(shares):
    """Shares differ by at most one window, and make up the batch."""
    workers, n_all = shares
    train = tiny_cell(batch_windows=n_all).train
    own = [n_own_windows(train, rank=rank, workers=workers) for rank in range(workers)]
    assert sum(own) == n_all
    assert min(own) >= 1
    assert max(own) - min(own) <= 1


# A chunk of windows takes its time.
@pytest.mark.slow
@settings(deadline=None, max_examples=10)
@given(shares=SHARES, n_before=st.integers(1, 90))
def test_batches_of_a_worker_are_its_windows_step_by_step(shares, n_before):
    """From a step to the end of the run, where a new chunk of windows begins on the way."""
    workers, n_all = shares
    cell, rank = tiny_cell(batch_windows=n_all), workers - 1
    step, n_steps = 100, 100 + chunk_steps(cell.train) + n_before
    stream = stream_of(cell)
    batches = in_process_batches(stream, cell.train, rank=rank, workers=workers, n_steps=n_steps)
    found = list(batches(step))
    assert len(found) == n_steps - step
    windows = worker_windows(
        stream, cell.train, rank=rank, workers=workers, first_step=step, last_step=n_steps
    )
    np.testing.assert_array_equal(np.concatenate(found), windows)

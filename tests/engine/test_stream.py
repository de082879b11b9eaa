"""Ray Data delivers the same batches as the generator in this process."""

import subprocess
import sys
import threading
import time
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcap_ray.engine import stream
from kcap_ray.engine.stream import WindowsSource, ray_batches, ray_data_batches, rebatched
from kcap_ray.text.stream.batches import chunk_steps, in_process_batches, stream_of
from tests.tiny import tiny_cell

N_STEPS = 700
"""More than one block of windows."""


def in_process(cell, step):
    """The global batches that the generator makes here."""
    return in_process_batches(stream_of(cell), cell.train, n_steps=N_STEPS)(step)


@pytest.mark.slow
@pytest.mark.parametrize("step", [0, 333])
def test_ray_data_delivers_what_the_generator_makes(session, step):
    """From the first step and from the middle: every batch of the rest of the run, in order."""
    cell = tiny_cell(batch_windows=4)
    expected = list(in_process(cell, step))
    assert len(expected) == N_STEPS - step
    delivered = list(ray_data_batches(cell, n_steps=N_STEPS)(step))
    np.testing.assert_array_equal(np.stack(delivered), np.stack(expected))


def test_a_short_run_makes_its_windows_itself():
    """As many steps as are made at a time: nothing asks for Ray, which is not there."""
    cell = tiny_cell(batch_windows=4)
    n_steps = chunk_steps(cell.train)
    delivered = list(ray_batches(cell, n_steps=n_steps)(3))
    expected = list(in_process_batches(stream_of(cell), cell.train, n_steps=n_steps)(3))
    np.testing.assert_array_equal(np.stack(delivered), np.stack(expected))


@pytest.fixture
def ray_data(monkeypatch):
    """Stands for Ray Data: when its first block comes, or what it breaks with."""
    first_comes, breaks_with, taken = threading.Event(), [], []

    def batches(cell, **shares):
        def batches_from(step):
            first_comes.wait()
            if breaks_with:
                raise breaks_with[0]
            for batch in in_process(cell, step):
                taken.append(step)
                yield batch
                step += 1

        return batches_from

    monkeypatch.setattr(stream, "ray_data_batches", batches)
    return first_comes, breaks_with, taken


@pytest.mark.slow
def test_ray_data_goes_on_with_what_the_trainer_began(session):
    """The real one, from wherever it comes in."""
    cell = tiny_cell(batch_windows=4)
    delivered = list(ray_batches(cell, n_steps=N_STEPS)(100))
    np.testing.assert_array_equal(np.stack(delivered), np.stack(list(in_process(cell, 100))))


@pytest.mark.parametrize("when", [0, 100, 300, 650, None])
def test_nothing_waits_for_ray_data(ray_data, when):
    """Whenever its first block comes, if at all, the run has each batch once and in order."""
    first_comes, _, _ = ray_data
    cell, delivered = tiny_cell(batch_windows=4), []
    for number, batch in enumerate(ray_batches(cell, n_steps=N_STEPS)(0)):
        if number == when:
            first_comes.set()
        delivered.append(batch)
    np.testing.assert_array_equal(np.stack(delivered), np.stack(list(in_process(cell, 0))))


def test_what_the_trainer_has_made_is_dropped_beside_it(ray_data):
    """Ray Data's batches of those steps: the run goes on in this process until they are behind."""
    first_comes, _, taken = ray_data
    cell = tiny_cell(batch_windows=4)
    batches = ray_batches(cell, n_steps=N_STEPS)(0)
    for _ in range(600):
        next(batches)
    first_comes.set()
    while not taken or taken[-1] < 599:
        time.sleep(0.01)
    assert taken == list(range(chunk_steps(cell.train), taken[-1] + 1))
    assert taken[-1] == 599, "it waits for the trainer, which is at work on that one"
    assert sum(1 for _ in batches) == N_STEPS - 600


def test_a_run_that_ends_early_leaves_no_thread(ray_data):
    """What Ray Data delivers after that is dropped, and the thread ends."""
    first_comes, _, taken = ray_data
    before = threading.active_count()
    batches = ray_batches(tiny_cell(batch_windows=4), n_steps=N_STEPS)(0)
    next(batches)
    del batches
    first_comes.set()
    while threading.active_count() > before:
        time.sleep(0.01)
    assert len(taken) <= 1


def test_what_breaks_in_ray_data_breaks_the_run(ray_data):
    """Not before its windows are needed."""
    first_comes, breaks_with, _ = ray_data
    breaks_with.append(RuntimeError("no worker"))
    first_comes.set()
    cell = tiny_cell(batch_windows=4)
    batches = ray_batches(cell, n_steps=N_STEPS)(0)
    for _ in range(chunk_steps(cell.train)):
        next(batches)
    with pytest.raises(RuntimeError, match="no worker"):
        list(batches)


WHERE = """
import sys
import ray
from pathlib import Path
import kcap_ray.engine.stream as stream
from tests.engine.raylets import add_node, raylets
from tests.tiny import tiny_cell

places = Path(sys.argv[1])
with raylets() as cluster:
    for _ in range(2):
        add_node(cluster)
    ray.init(cluster.address, log_to_driver=False)

    @ray.remote(num_cpus=1)
    def train():
        made = stream.worker_windows

        def windows(*arguments, **more):
            (places / ray.get_runtime_context().get_node_id()).touch()
            return made(*arguments, **more)

        stream.worker_windows = windows
        # By value: the tasks are to bring it along.
        ray.cloudpickle.register_pickle_by_value(stream)
        n = sum(1 for _ in stream.ray_data_batches(tiny_cell(batch_windows=4), n_steps=2_000)(0))
        return n, ray.get_runtime_context().get_node_id()

    n, trainer = ray.get(train.remote())
    assert n == 2_000, n
    assert [place.name for place in places.iterdir()] == [trainer]
    ray.shutdown()
"""


@pytest.mark.slow
def test_windows_are_made_on_the_node_of_the_trainer(tmp_path):
    """Of a head without CPUs and two nodes on that of the trainer alone."""
    code = [sys.executable, "-c", WHERE, str(tmp_path)]
    done = subprocess.run(code, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 3])
def test_shares_of_the_workers_make_up_the_global_batch(session, workers):
    """What all workers get for a step is what a single worker would get for it, whatever number of
    workers the cell asks for.
    """
    cell, step = tiny_cell(batch_windows=4, workers=4), N_STEPS - 40
    shares = [
        np.stack(list(ray_data_batches(cell, rank=rank, workers=workers, n_steps=N_STEPS)(step)))
        for rank in range(workers)
    ]
    np.testing.assert_array_equal(
        np.concatenate(shares, axis=1), np.stack(list(in_process(cell, step)))
    )


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 3, 4, 5])
def test_read_tasks_make_up_the_global_batch(workers):
    """The rows of the tasks, run in order for each worker, are those of the generator."""
    cell, step = tiny_cell(batch_windows=7), N_STEPS - 200
    shares = []
    for rank in range(workers):
        source = WindowsSource(cell, rank=rank, workers=workers, first_step=step, n_steps=N_STEPS)
        tasks = source.get_read_tasks(1)
        blocks = [block["windows"] for task in tasks for block in task()]
        rows = np.concatenate([np.asarray(block.to_pylist()) for block in blocks])
        assert len(rows) == sum(task.metadata.num_rows or 0 for task in tasks)
        shares.append(rows.reshape(200, -1, rows.shape[1]))
    np.testing.assert_array_equal(
        np.concatenate(shares, axis=1), np.stack(list(in_process(cell, step)))
    )


@given(
    sizes=st.lists(st.integers(min_value=0, max_value=7), max_size=8),
    n_rows=st.integers(min_value=1, max_value=5),
)
def test_batches_do_not_depend_on_how_the_rows_were_cut(sizes, n_rows):
    """Rows come in order, `n_rows` at a time, whatever blocks they arrive in."""
    rows = np.arange(2 * sum(sizes)).reshape(-1, 2)
    blocks = np.split(rows, np.cumsum(sizes)[:-1]) if sizes else []
    batches = list(rebatched(blocks, n_rows))
    assert all(batch.shape == (n_rows, 2) for batch in batches)
    kept = list(chain.from_iterable(batches))
    assert len(kept) == len(rows) // n_rows * n_rows
    np.testing.assert_array_equal(np.array(kept).reshape(-1, 2), rows[: len(kept)])


def test_tasks_do_not_depend_on_the_cluster():
    """Any parallelism that Ray asks for gives the same tasks, which cover every step once."""
    source = WindowsSource(
        tiny_cell(batch_windows=4), rank=0, workers=1, first_step=10, n_steps=N_STEPS
    )
    rows = [
        [task.metadata.num_rows or 0 for task in source.get_read_tasks(n)] for n in (1, 16, 500)
    ]
    assert rows[0] == rows[1] == rows[2]
    assert sum(rows[0]) == 4 * (N_STEPS - 10)

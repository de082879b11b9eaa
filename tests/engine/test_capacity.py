"""What fits on a cluster, and what is said where nothing does."""

import os
from collections.abc import Callable

import pytest

from kcap_ray.config.errors import UserError
from kcap_ray.engine.capacity import (
    ClusterCapacity,
    joined_capacity,
    n_concurrent,
    n_sharing,
    on_every_node,
    resources_of,
    share_of_device,
)
from kcap_ray.engine.program import Program
from kcap_ray.execution.placement import GPU_SHARES, programs_per_gpu
from kcap_ray.planning.run_length import spec_of
from tests.tiny import tiny_cell

LAPTOP = ClusterCapacity(cpus=2, gpus=0)
STATION = ClusterCapacity(cpus=16, gpus=4)


@pytest.mark.parametrize(
    ("found", "workers", "use_gpu", "n_cells"),
    [(LAPTOP, 1, False, 2), (LAPTOP, 2, False, 1), (STATION, 2, True, 2), (STATION, 3, False, 5)],
)
def test_cells_share_the_devices(found, workers, use_gpu, n_cells):
    """As many cells run concurrently as there are devices for."""
    assert n_concurrent(workers, found, use_gpu=use_gpu) == n_cells


@pytest.mark.parametrize(("found", "workers", "use_gpu"), [(LAPTOP, 3, False), (STATION, 8, True)])
def test_a_cell_of_more_workers_than_devices_goes_on_with_fewer(found, workers, use_gpu, caplog):
    """Alone, and it is said: a run that has lost machines can be started again."""
    assert n_concurrent(workers, found, use_gpu=use_gpu) == 1
    assert f"{workers} workers for" in caplog.text


@pytest.mark.parametrize("workers", [1, 2])
def test_cell_that_can_never_start_is_refused(workers):
    """Instead of waiting for ever for a device, the message says what to write."""
    with pytest.raises(UserError, match="--device cpu"):
        n_concurrent(workers, LAPTOP, use_gpu=True)


@pytest.mark.parametrize("batch_windows", [1, 1_000_000])
def test_programs_that_share_a_gpu_share_its_memory(batch_windows):
    """What one takes of a GPU is what it may fill of its memory; without a GPU a program has a CPU
    and its part of the machine's memory.
    """
    cell = tiny_cell(batch_windows=batch_windows)
    n_programs = n_sharing(cell, use_gpu=True)
    assert n_programs == programs_per_gpu(cell, spec_of(cell))
    assert n_programs == (max(GPU_SHARES) if batch_windows == 1 else 1)
    assert share_of_device(cell, use_gpu=True) == 1 / n_programs
    program = Program(cell=cell, first_trial=0, points=[])
    assert resources_of(program, use_gpu=True) == {"CPU": 1.0, "GPU": 1 / n_programs}
    assert resources_of(program, use_gpu=False) == {"CPU": 1.0}
    assert n_sharing(cell, use_gpu=False) == os.cpu_count()


def test_a_data_parallel_worker_has_its_gpu_for_itself():
    """Small as the cell may be."""
    assert n_sharing(tiny_cell(batch_windows=2), use_gpu=True, workers=2) == 1


@pytest.mark.slow
def test_every_node_is_asked(session, tmp_path):
    """A function runs on each node that is up, and sees the files that are shared."""
    here, nowhere = tmp_path, tmp_path / "missing"
    assert list(on_every_node(os.path.exists, here).values()) == [True]
    assert list(on_every_node(os.path.exists, nowhere).values()) == [False]


def test_nodes_that_are_about_to_join_are_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """`ray up` ends before its workers have joined; a cluster that stays empty is not waited for
    without end, and neither are GPUs that nobody asked for.
    """
    caplog.set_level("INFO")

    def asks(*found: ClusterCapacity) -> Callable[[], ClusterCapacity]:
        return iter(found).__next__

    empty, cpus = ClusterCapacity(cpus=0, gpus=0), ClusterCapacity(cpus=2, gpus=0)
    gpus = ClusterCapacity(cpus=2, gpus=8)
    wait = {"longest_s": 60.0, "every_s": 0.0}
    assert joined_capacity(needs_gpu=False, ask=asks(empty, empty, cpus), **wait) == cpus
    assert caplog.messages == ["no CPU in the cluster yet; its nodes have 60 s to join"]
    assert joined_capacity(needs_gpu=True, ask=asks(empty, cpus, gpus), **wait) == gpus
    assert joined_capacity(needs_gpu=False, ask=asks(cpus), **wait) == cpus
    assert joined_capacity(needs_gpu=True, ask=lambda: cpus, longest_s=0.01, every_s=0.0) == cpus

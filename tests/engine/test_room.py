"""What fits on a cluster, and what is said where nothing does."""

import os

import pytest

from kcap_ray.engine.room import Room, n_side_by_side, on_every_node
from kcap_ray.user_error import UserError

LAPTOP = Room(cpus=2, gpus=0)
STATION = Room(cpus=16, gpus=4)


@pytest.mark.parametrize(
    ("found", "workers", "use_gpu", "n_cells"),
    [(LAPTOP, 1, False, 2), (LAPTOP, 2, False, 1), (STATION, 2, True, 2), (STATION, 3, False, 5)],
)
def test_cells_share_the_devices(found, workers, use_gpu, n_cells):
    """As many cells run side by side as there are devices for."""
    assert n_side_by_side(workers, found, use_gpu=use_gpu) == n_cells


@pytest.mark.parametrize(
    ("found", "workers", "use_gpu", "remedy"),
    [
        (LAPTOP, 3, False, "train.workers: 2"),
        (STATION, 8, True, "train.workers: 4"),
        (LAPTOP, 2, True, "--device cpu"),
        (LAPTOP, 1, True, "--device cpu"),
    ],
)
def test_cell_that_can_never_start_is_refused(found, workers, use_gpu, remedy):
    """Instead of waiting for ever for room, the message says what would fit."""
    with pytest.raises(UserError) as caught:
        n_side_by_side(workers, found, use_gpu=use_gpu)
    assert remedy in str(caught.value)


@pytest.mark.slow
def test_every_node_is_asked(session, tmp_path):
    """A function runs on each node that is up, and sees the files that are shared."""
    here, nowhere = tmp_path, tmp_path / "missing"
    assert list(on_every_node(os.path.exists, here).values()) == [True]
    assert list(on_every_node(os.path.exists, nowhere).values()) == [False]

"""`TrainStep` as a side, and what it trains on; apart from the peers, slow to import."""

import numpy as np
from torch import Tensor
from turns import Side

from kcap_ray.config.cell import Cell
from kcap_ray.text.stream.batches import stream_of
from kcap_ray.training.point import Point
from kcap_ray.training.step import TrainStep


def first_batches(cell: Cell, n_steps: int) -> np.ndarray:
    """The first batches of a cell's stream, uint16 [n_steps, B, T+1]."""
    n_windows = cell.train.batch_windows
    windows = stream_of(cell).windows(0, n_steps * n_windows)
    return windows.reshape(n_steps, n_windows, -1)


def own_point(cell: Cell) -> Point:
    """The cell's own learning rate and weight decay."""
    return Point(lr=cell.train.lr, weight_decay=cell.train.weight_decay)


def our_side(step: TrainStep, batches: np.ndarray) -> Side:
    """`TrainStep` with the batches as the stream delivers them."""

    def take(number: int) -> Tensor:
        step(batches[number])
        # On a GPU every step leaves its loss in the same place.
        return step.loss_E.clone()

    return take

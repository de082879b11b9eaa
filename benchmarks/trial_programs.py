"""Trials of a cell as one program that has taken its first steps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from our_side import our_side, own_point
from turns import Side

from kcap_ray.config.cell import Cell
from kcap_ray.planning.run_length import spec_of
from kcap_ray.training.point import Point
from kcap_ray.training.step import TrainStep

N_WARM_UP = 20
"""Steps before anything is timed: compilation, and on a GPU the recording of the graph. Their
losses are compared.
"""


def points(cell: Cell, n_trials: int) -> list[Point]:
    """Learning rates from a half to twice the cell's own, and weight decays the other way round."""
    own = own_point(cell)
    factors = 2.0 ** np.linspace(-1, 1, n_trials) if n_trials > 1 else np.ones(1)
    return [
        Point(lr=own.lr * float(factor), weight_decay=own.weight_decay / float(factor))
        for factor in factors
    ]


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program that has taken its first steps."""

    side: Side
    first_losses: np.ndarray
    """Losses [N_WARM_UP, E] of them."""


def program(
    cell: Cell, trials: Sequence[Point], batches: np.ndarray, device: torch.device
) -> Program:
    """A program of these trials, compiled, and on a GPU recorded."""
    step = TrainStep(cell, spec_of(cell), trials, n_steps=len(batches), device=device)
    side = our_side(step, batches)
    losses = torch.stack([side(number) for number in range(N_WARM_UP)])
    return Program(side=side, first_losses=losses.float().cpu().numpy())

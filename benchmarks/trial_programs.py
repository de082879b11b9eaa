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
class WarmTrials:
    """Trials that one program trains, and that have taken their first steps."""

    side: Side
    first_losses: np.ndarray
    """Losses of these steps [N_WARM_UP, E]."""


def warm_trials(
    cell: Cell, trials: Sequence[Point], batches: np.ndarray, device: torch.device
) -> WarmTrials:
    """The trials, warmed up: their program is compiled, and on a GPU recorded."""
    step = TrainStep(cell, spec_of(cell), trials, n_steps=len(batches), device=device)
    side = our_side(step, batches)
    losses = torch.stack([side(number) for number in range(N_WARM_UP)])
    return WarmTrials(side=side, first_losses=losses.float().cpu().numpy())

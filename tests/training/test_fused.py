"""E fused trials are E separate runs, for every architecture, every part and both optimizers."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from kcap_ray.config.cell import Cell, Range, TuneConfig
from kcap_ray.models.spec import parse_model
from kcap_ray.training.loop import TrainResult, train
from kcap_ray.training.point import Point
from kcap_ray.training.step import TrainStep
from tests.tiny import ARCHITECTURES, MODELS, PARTS, one_layer, tiny_cell

VOCABULARY, WINDOW, STEPS = 23, 16, 60
POINTS = (Point(lr=1e-2, weight_decay=0.1), Point(lr=2e-3, weight_decay=2.0))
FAST = [("mistral-1-4", "adamw")]
"""This one runs always; the others are many."""
SLOW = [
    ("gpt2-1-2", "muon"),
    ("gpt2-1-2-moe4", "adamw"),
    ("mistral-1-2-ssd-moe2-canon", "muon"),
    *((name, "adamw") for name in MODELS),
    *((name, "muon") for name in (*ARCHITECTURES, *PARTS)),
]


def batches(step: int) -> Iterator[np.ndarray]:
    """Batches that follow a rule with some noise."""
    while True:
        random = np.random.default_rng([11, step])
        first = random.integers(0, VOCABULARY, (2, 1))
        noise = random.integers(0, 2, (2, WINDOW + 1))
        yield ((first + 3 * np.arange(WINDOW + 1) + noise) % VOCABULARY).astype(np.uint16)
        step += 1


def run(cell: Cell, points: tuple[Point, ...], n_steps: int = STEPS) -> TrainResult:
    """A run on the CPU, of 60 steps if nothing else is said."""
    spec = parse_model(cell.model.name, head_dim=8, vocab_size=VOCABULARY)
    return train(
        TrainStep(cell, spec, points, n_steps=n_steps, device=torch.device("cpu")), batches
    )


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize(
    ("name", "optimizer"),
    [*FAST, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)],
)
def test_fused_trials_of_any_model_are_the_separate_runs(name: str, optimizer: str) -> None:
    """Two trials of different rate and decay end in one program as in two, after 60 steps.

    Every loss of the curves and every weight (as a share of its parameter's largest) agrees to
    1e-6. In float32 this cannot be asked for: 200 steps make of one rounding error, 6e-8, up to
    0.2 where the rate is high. Of float64's, 1.1e-16, they make 4e-10 by the same growth, and 60
    less; a rate or decay of another trial would show in the second digit.
    """
    cell = tiny_cell(model=one_layer(name), window_tokens=WINDOW, optimizer=optimizer)
    fused = run(cell, POINTS)
    assert fused.history[-1].losses[0] < 0.8 * fused.history[0].losses[0], "it learns"
    for trial, point in enumerate(POINTS):
        alone = run(cell, (point,))
        ours = [progress.losses[trial] for progress in fused.history]
        theirs = [progress.losses[0] for progress in alone.history]
        assert ours == pytest.approx(theirs, rel=1e-6)
        pairs = zip(fused.model.trial(trial).parameters(), alone.model.parameters(), strict=True)
        for our_weights, their_weights in pairs:
            largest = their_weights.abs().max().item()
            torch.testing.assert_close(our_weights, their_weights, rtol=0, atol=1e-6 * largest)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "optimizer"),
    [("gpt2-2-2", "adamw"), ("mistral-1-4-moe2-canon", "muon"), ("llama-1-2-ssd", "adamw")],
)
def test_how_many_train_together_changes_no_bit(name: str, optimizer: str) -> None:
    """On a CPU, in float32, a trial of several ends with the same weights in a program of three, of
    two and of one, and on one thread and two: so whoever chooses among these by a measurement does
    not choose the result.
    """
    ranges = TuneConfig(trials=3, lr=Range(low=1e-3, high=1e-2))
    cell = tiny_cell(
        model=name, window_tokens=WINDOW, optimizer=optimizer, grad_clip=1.0, tune=ranges
    )
    points = (*POINTS, Point(lr=5e-3, weight_decay=0.5))
    n_steps = 8  # one rounding that differs is in every weight two steps later
    together = run(cell, points, n_steps)
    parts = {(0, 1): run(cell, points[:2], n_steps), (2,): run(cell, points[2:], n_steps)}
    torch.set_num_threads(2)
    try:
        parts[0, 1, 2] = run(cell, points, n_steps)
    finally:
        torch.set_num_threads(1)
    for trials, part in parts.items():
        for index, trial in enumerate(trials):
            ours = together.model.trial(trial).state_dict()
            theirs = part.model.trial(index).state_dict()
            assert all(torch.equal(ours[key], theirs[key]) for key in ours)

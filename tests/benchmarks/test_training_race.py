"""Peers do the same work: what they are measured for is nothing but their speed."""

import numpy as np
import pytest
import torch

from tests.rounding import assert_same_but_for_rounding
from tests.tiny import random_decoder, random_tokens


@pytest.mark.usefixtures("in_float64")
def test_plain_module_is_the_decoder(load):
    """Same weights, same loss."""
    model = random_decoder("gpt2-2-2")
    windows_BT1 = random_tokens(3, 25)
    plain = load("plain_gpt").plain_gpt(model)
    theirs = plain(windows_BT1[:, :-1], windows_BT1[:, 1:])
    assert_same_but_for_rounding(theirs, model.loss(windows_BT1))


@pytest.mark.slow
def test_sides_of_a_race_take_the_same_steps(load):
    """Losses of all sides agree at every step, those of the Trainer too, and the round in which
    they warm up is not timed.
    """
    pytest.importorskip("accelerate")
    cell = load("cells").cpu_cell("gpt2-1-1", batch_windows=2)
    found = load("training_race").race(cell, device=torch.device("cpu"), n_rounds=2, steps=3)
    assert set(found.step_s) == {"ours", "hugging face loop", "plain loop", "Trainer"}
    for side, seconds in found.step_s.items():
        assert len(seconds) == 2
        assert found.loss_curve(side).shape == (9,)
        assert found.comparison("ours", side, 1e-5)["losses_agree"]
    # The steps changed something, so that equal losses say something.
    assert np.ptp(found.loss_curve("ours")) > 1e-3


def test_another_loss_is_found_out(load):
    """A side that does other work is said to; the numbers are written all the same."""
    race = load("turns").Race()
    race.losses = {"ours": [torch.tensor(2.0)] * 3, "other": [torch.tensor(2.1)] * 3}
    found = race.comparison("ours", "other", 0.01)
    assert found["losses_differ_by"] == pytest.approx(1 - 2.0 / 2.1, rel=1e-5)
    assert not found["losses_agree"]
    assert load("turns").exit_status([{"peer_is": "other", **found}]) == 1


def test_fused_trials_have_the_losses_of_separate_ones(load):
    """Which the benchmark looks at as well; trials differ from each other."""
    fused_trials, cells = load("fused_trials"), load("cells")
    cell, cpu = cells.cpu_cell("gpt2-1-1", batch_windows=2), torch.device("cpu")
    batches = load("our_side").first_batches(cell, fused_trials.N_WARM_UP + 4)
    found, differences = fused_trials.race_of(cell, 3, batches, cpu, rounds=1, steps=2)
    assert max(differences.values()) < 1e-5
    assert {len(seconds) for seconds in found.step_s.values()} == {1}
    points = fused_trials.points(cell, 3)
    losses = fused_trials.program(cell, points, batches, cpu).first_losses
    assert np.ptp(losses[-1]) > 1e-4


def test_column_is_the_ten_smallest_models(load):
    """Of the published figure at 50,000 people, with six trials at points of their own."""
    column = load("column")
    cells = column.column(is_tiny=False)
    assert [cell.model.name for cell in cells] == [
        f"gpt2-{size}"
        for size in ("2-2", "3-2", "4-2", "5-2", "2-3", "6-2", "7-2", "8-2", "4-3", "2-4")
    ]
    for cell in cells:
        points = column.fixed_points(cell)
        assert len(set(points)) == cell.tune.trials == 6
        assert points[0].lr == cell.train.lr

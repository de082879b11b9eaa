"""Peers do the same work: what they are measured for is nothing but their speed."""

import json
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.slow
def test_jax_takes_the_same_steps(load):
    """Where it is installed: one trial here, fused ones in the race of fused trials."""
    pytest.importorskip("jax")
    cell = load("cells").cpu_cell("gpt2-1-1", batch_windows=2)
    race = load("training_race").race
    found = race(cell, device=torch.device("cpu"), n_rounds=1, steps=3, with_jax=True)
    assert len(found.step_s["JAX"]) == 1
    assert found.comparison("ours", "JAX", 1e-5)["losses_agree"]
    assert np.ptp(found.loss_curve("JAX")) > 1e-3


def test_another_model_in_jax_ends_the_race(load):
    """Its first loss, on the same weights, says so; one that is not a number, too."""
    jax_side, losses = load("jax_side"), np.full((1, 2), 4.0)
    jax_side.assert_same_model(losses * (1 + 1e-6), losses)
    for theirs in (losses * (1 + 1e-4), losses * np.nan):
        with pytest.raises(RuntimeError, match="first loss"):
            jax_side.assert_same_model(theirs, losses)


@pytest.mark.slow
@pytest.mark.parametrize("script", ["training_step.py", "fused_trials.py --device cpu"])
def test_benchmark_runs_dry_and_says_what_it_leaves_out(load, tmp_path, script):
    """Both sides' losses agree; without JAX there is a line about it in place of its claim."""
    has_jax = load("jax_side").has_jax()
    command = [sys.executable, *script.split(), "--dry-run", "--json", str(tmp_path / "there.json")]
    benchmarks = Path(__file__).parents[2] / "benchmarks"
    done = subprocess.run(command, cwd=benchmarks, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    records = json.loads((tmp_path / "there.json").read_text())
    assert all(one["dry_run"] and one["losses_agree"] for one in records)
    assert any(one["claim"].endswith("-jax") for one in records) == has_jax
    assert ("without JAX" in done.stdout) != has_jax


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
    programs = load("trial_programs")
    cell, cpu = load("cells").cpu_cell("gpt2-1-1", batch_windows=2), torch.device("cpu")
    batches = load("our_side").first_batches(cell, programs.N_WARM_UP + 4)
    race_of = load("fused_trials").race_of
    found, differences = race_of(cell, 3, batches, cpu, rounds=1, steps=2)
    assert max(differences.values()) < 1e-5
    assert {len(seconds) for seconds in found.step_s.values()} == {1}
    losses = programs.warm_trials(cell, programs.points(cell, 3), batches, cpu).first_losses
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

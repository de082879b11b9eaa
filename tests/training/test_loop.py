import os
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kcap_ray.training.loop
from kcap_ray.config.cell import Cell
from kcap_ray.models.spec import parse_model
from kcap_ray.training.loop import (
    LOOK_EVERY_S,
    OpenBatches,
    Progress,
    Saving,
    TrainingDiverged,
    TrainResult,
)
from kcap_ray.training.loop import train as run_training
from kcap_ray.training.point import Point
from kcap_ray.training.step import TrainStep
from tests.tiny import tiny_cell

VOCABULARY = 29
CPU = torch.device("cpu")
CELL = tiny_cell(window_tokens=8)
POINTS = [
    Point(lr=3e-3, weight_decay=0.1),
    Point(lr=1e-3, weight_decay=2.0),
    Point(lr=1e-2, weight_decay=0.0),
]
HUGE = Point(lr=1e30, weight_decay=0.0)


class Killed(Exception):
    """Stands for the machine that is taken away."""


def open_batches(kill_at: int | None = None, *, n_windows: int = 2) -> OpenBatches:
    """Batches that follow a rule with some noise; a run that asks for batch `kill_at` is killed."""

    def batches_from(step: int) -> Iterator[np.ndarray]:
        while True:
            if step == kill_at:
                raise Killed
            random = np.random.default_rng([7, step])
            first = random.integers(0, VOCABULARY, (n_windows, 1))
            noise = random.integers(0, 2, (n_windows, 9))
            yield ((first + 3 * np.arange(9) + noise) % VOCABULARY).astype(np.uint16)
            step += 1

    return batches_from


def train(
    points: Sequence[Point] = POINTS,
    *,
    cell: Cell = CELL,
    n_steps: int,
    batches: OpenBatches | None = None,
    saving: Saving | None = None,
    model: str = "gpt2-1-1",
    on_progress: Callable[[Progress], None] | None = None,
) -> TrainResult:
    """A short run on the CPU."""
    return run_training(
        TrainStep(
            cell,
            parse_model(model, head_dim=16, vocab_size=VOCABULARY),
            points,
            n_steps=n_steps,
            device=CPU,
        ),
        batches or open_batches(),
        saving=saving,
        on_progress=on_progress,
    )


def curve(result: TrainResult) -> list[Progress]:
    """The history without the times."""
    return [replace(progress, seconds=0.0) for progress in result.history]


def assert_equal(one: TrainResult, other: TrainResult) -> None:
    """Same weights, losses and fate, bit for bit."""
    assert repr(curve(one)) == repr(curve(other))
    assert one.diverged_at == other.diverged_at
    for ours, theirs in zip(one.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize(
    ("model", "grad_clip"),
    [pytest.param("gpt2-1-1", None, marks=pytest.mark.slow), ("mistral-1-2", 0.5)],
)
def test_fused_trials_are_the_separate_runs(model: str, grad_clip: float | None) -> None:
    """Three trials of different rate and decay in one program end as in three, after 200 steps.

    Every loss of the curves agrees to 1e-6, every weight to 1e-6 of the largest: 200 steps do not
    blow up float64's rounding that far (tests/training/test_fused.py).
    """
    cell = tiny_cell(window_tokens=8, grad_clip=grad_clip)
    fused = train(cell=cell, n_steps=200, model=model)
    losses_E = fused.history[-1].losses
    assert min(losses_E) < 0.5 * min(fused.history[0].losses), "the models learn"
    assert max(losses_E) > 1.5 * min(losses_E), "each in its own way"
    for trial, point in enumerate(POINTS):
        alone = train([point], cell=cell, n_steps=200, model=model)
        assert [p.losses[trial] for p in fused.history] == pytest.approx(
            [p.losses[0] for p in alone.history], rel=1e-6
        )
        for ours, theirs in zip(
            fused.model.trial(trial).parameters(), alone.model.parameters(), strict=True
        ):
            largest = theirs.abs().max().item()
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6 * largest)


@pytest.mark.slow
@settings(
    deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kills=st.lists(st.integers(1, 23), min_size=1, max_size=3),
    precision=st.sampled_from(["fp32", "bf16", "fp16"]),
    n_trials=st.sampled_from([1, 3]),
    n_points=st.sampled_from([200, 6]),
    model=st.sampled_from(["gpt2-1-1", "gpt2-1-1-moe3-canon"]),
    optimizer=st.sampled_from(["adamw", "muon"]),
)
def test_a_resumed_run_is_the_uninterrupted_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kills: list[int],
    precision: str,
    n_trials: int,
    n_points: int,
    model: str,
    optimizer: str,
) -> None:
    """Killed at any steps and started again, a run ends bit for bit as if it had not been.

    In every precision, fused with a diverging trial or alone, and also where not every step is on
    the curve, so that a checkpoint is some steps old.
    """
    monkeypatch.setattr(kcap_ray.training.loop, "N_HISTORY_POINTS", n_points)
    path = tmp_path / "trial0.pt"
    # The checkpoint of the last example, and the one before it.
    for file in tmp_path.iterdir():
        file.unlink()
    # Large weights, so that in fp16 gradients overflow and scales change.
    cell = tiny_cell(window_tokens=8, precision=precision, init_std=2.0, optimizer=optimizer)
    points = [POINTS[0], HUGE, POINTS[2]][:n_trials]
    run = partial(train, points, cell=cell, n_steps=24, model=model)
    saving = Saving(path=path, every_s=0.0)
    for step in sorted(kills):
        with pytest.raises(Killed):
            run(batches=open_batches(step), saving=saving)
    assert_equal(run(saving=saving), run())


def test_a_finished_run_that_is_started_again_trains_no_more(tmp_path: Path) -> None:
    """From the checkpoint of its last step a run gives its result and asks for no batch."""
    saving = Saving(path=tmp_path / "trial0.pt", every_s=0.0)
    first = train(n_steps=5, saving=saving)

    def no_batches(step: int) -> Iterator[np.ndarray]:
        raise AssertionError("a finished run needs no data")

    assert_equal(train(n_steps=5, saving=saving, batches=no_batches), first)


def test_a_checkpoint_is_saved_when_it_is_asked_for(tmp_path: Path) -> None:
    """Long before its time; a request of before the run began asks for nothing."""
    saving = Saving(path=tmp_path / "trial0.pt", request=tmp_path / "save")
    (tmp_path / "save").write_text("")
    os.utime(tmp_path / "save", (1, 1))
    saved = []

    def ask(progress: Progress) -> None:
        saved.append(saving.path.exists())
        if progress.step == 3:
            (tmp_path / "save").write_text("")
        time.sleep(LOOK_EVERY_S)

    train(n_steps=6, saving=saving, on_progress=ask)
    assert saved == [False] * 3 + [True] * 3


def test_a_checkpoint_of_other_points_is_not_taken(tmp_path: Path) -> None:
    """A run of other points starts from its first step."""
    saving = Saving(path=tmp_path / "trial0.pt", every_s=0.0)
    train(POINTS[:1], n_steps=3, saving=saving)
    assert_equal(train(POINTS[1:2], n_steps=3, saving=saving), train(POINTS[1:2], n_steps=3))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize(
    ("model", "optimizer"), [("gpt2-1-1", "adamw"), ("gpt2-1-1-moe3-canon", "muon")]
)
def test_a_diverging_trial_is_recorded_and_leaves_the_others_alone(
    precision: str, model: str, optimizer: str
) -> None:
    """The step at which its loss was first not finite is kept; the others do not change a bit."""
    cell = tiny_cell(window_tokens=8, precision=precision, optimizer=optimizer)
    calm = train(cell=cell, n_steps=12, model=model)
    mixed = train([POINTS[0], HUGE, POINTS[2]], cell=cell, n_steps=12, model=model)
    at = mixed.diverged_at[1]
    assert mixed.diverged_at == [None, at, None]
    assert at is not None
    assert all(np.isfinite(p.losses[1]) == (p.step < at) for p in mixed.history)
    for trial in (0, 2):
        assert [p.losses[trial] for p in mixed.history] == [p.losses[trial] for p in calm.history]
        for ours, theirs in zip(mixed.model.parameters(), calm.model.parameters(), strict=True):
            assert torch.equal(ours[trial], theirs[trial])


@pytest.mark.parametrize("n_trials", [1, 2])
def test_a_run_of_which_nothing_is_left_stops_at_once(n_trials: int) -> None:
    """When every trial has diverged, `TrainingDiverged` tells the step; it survives a pickle."""
    with pytest.raises(TrainingDiverged) as caught:
        train([HUGE] * n_trials, n_steps=1_000)
    error = caught.value
    assert error.step < 20
    assert not np.isfinite(error.loss)
    assert f"at step {error.step}" in str(error)
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.step, str(copy)) == (error.step, str(error))


def test_progress_counts_steps_tokens_and_rate() -> None:
    """Each point of the curve says what was done; the last step is always on it."""
    seen: list[Progress] = []
    spec = parse_model("gpt2-1-1", head_dim=16, vocab_size=VOCABULARY)
    result = run_training(
        TrainStep(CELL, spec, POINTS[:1], n_steps=7, device=CPU),
        open_batches(),
        on_progress=seen.append,
    )
    assert seen == result.history
    assert [p.step for p in seen] == [1, 2, 3, 4, 5, 6, 7]
    assert [p.tokens for p in seen] == [16 * step for step in range(1, 8)]
    assert seen[0].lr_ratio == 1.0
    assert seen[-1].lr_ratio == pytest.approx(CELL.train.final_lr_ratio)


def test_the_curve_of_a_long_run_has_a_bounded_number_of_points(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """About as many points as asked for, the last step among them."""
    monkeypatch.setattr(kcap_ray.training.loop, "N_HISTORY_POINTS", 5)
    steps = [p.step for p in train(POINTS[:1], n_steps=33).history]
    assert steps == [6, 12, 18, 24, 30, 33]


@pytest.mark.parametrize("n_trials", [1, 3])
def test_the_load_of_the_experts_is_recorded(n_trials: int) -> None:
    """Each point has the shares of the busiest and of the least busy expert of every trial.

    Of four experts the one has at least a quarter and the other at most. A dense model has none.
    """
    history = train(POINTS[:n_trials], n_steps=3, model="gpt2-1-1-moe4").history
    for progress in history:
        assert progress.expert_load_max is not None
        assert progress.expert_load_min is not None
        shares = zip(progress.expert_load_min, progress.expert_load_max, strict=True)
        assert [0 <= least <= 1 / 4 <= most <= 1 for least, most in shares] == [True] * n_trials
    for progress in train(POINTS[:n_trials], n_steps=3).history:
        assert progress.expert_load_max is progress.expert_load_min is None


@pytest.mark.slow
def test_balance_is_trained_for_and_is_no_part_of_the_loss() -> None:
    """The recorded loss is the mean of -ln p alone; a heavy weight of the balance evens the load.

    From weights that prefer some experts, the busiest one's share falls towards a quarter. Of 256
    tokens, over 20 steps, chance moves it by 0.01.
    """
    busiest, first_losses = [], []
    for weight in (0.0, 10.0):
        cell = tiny_cell(window_tokens=8, load_balance=weight, init_std=1.0, batch_windows=32)
        batches = open_batches(n_windows=32)
        found = train(POINTS[:1], cell=cell, n_steps=100, batches=batches, model="gpt2-1-1-moe4")
        history = found.history
        loads = [p.expert_load_max[0] for p in history[-20:] if p.expert_load_max]
        busiest.append(float(np.mean(loads)))
        first_losses.append(history[0].losses)
    assert first_losses[0] == first_losses[1]
    assert busiest[1] < 0.34 < busiest[0]

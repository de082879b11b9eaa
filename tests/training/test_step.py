"""One step: what it may not depend on, what it may not wait for, and what it does on a GPU."""

import shutil
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from kcap_ray.config.cell import Precision
from kcap_ray.models.decoder import Decoder
from kcap_ray.models.spec import parse_model
from kcap_ray.training.compiled import compiled_or_written
from kcap_ray.training.point import Point
from kcap_ray.training.step import TrainStep
from tests.rounding import assert_same_but_for_rounding, float32_may_differ_by
from tests.tiny import MODELS, one_layer, tiny_cell

VOCABULARY, WINDOW, N_WINDOWS = 29, 8, 5
CPU = torch.device("cpu")
POINTS = [Point(lr=3e-3, weight_decay=0.1), Point(lr=1e-3, weight_decay=2.0)]


def batch(step: int) -> np.ndarray:
    """Windows that follow a rule with some noise."""
    random = np.random.default_rng([3, step])
    first = random.integers(0, VOCABULARY, (N_WINDOWS, 1))
    noise = random.integers(0, 2, (N_WINDOWS, WINDOW + 1))
    return ((first + 3 * np.arange(WINDOW + 1) + noise) % VOCABULARY).astype(np.uint16)


def new_step(
    name: str = "gpt2-1-1", *, device: torch.device = CPU, n_steps: int = 12, **train: Any
) -> TrainStep:
    """The first step of a run of two trials."""
    cell = tiny_cell(model=name, window_tokens=WINDOW, batch_windows=N_WINDOWS, **train)
    spec = parse_model(name, head_dim=8, vocab_size=VOCABULARY)
    return TrainStep(cell, spec, POINTS, n_steps=n_steps, device=device)


def own_messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What kcap has logged: whichever tests ran before, other packages may log what they like."""
    return [one.getMessage() for one in caplog.records if one.name.startswith("kcap_ray.")]


def losses(step: TrainStep, n_steps: int) -> np.ndarray:
    """Losses [n_steps, E] of the run's next steps."""
    curves = []
    for _ in range(n_steps):
        step(batch(step.n_done))
        curves.append(step.loss_E.tolist())
    return np.array(curves)


VARIED = (
    "gpt2-2-2",
    "llama-2-2-mlp1/4",
    "mistral-2-3-untied",
    "gpt2-2-2-mlp0-canon",
    "llama-2-3-moe3-tied",
    "mistral-2-4-ssd-canonB",
    "gpt2-2-2-silu-rmsnorm",
)
"""Models that have, together, nearly every part; the others are many."""


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        *((name, "bf16") for name in VARIED),
        *(
            pytest.param(name, precision, marks=pytest.mark.slow)
            for name in MODELS
            for precision in ("bf16", "fp32", "fp16")
            if precision != "bf16" or name not in VARIED
        ),
    ],
)
def test_a_step_waits_for_no_value_on_the_device(
    name: str, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With tensors that have shapes but no values a step runs through, whatever its parts: so a
    GPU can record it, and the host never waits.
    """
    # Tensors without values cannot be moved, and are where they should be.
    monkeypatch.setattr(Decoder, "to", lambda self, device: self)
    optimizer = "muon" if precision == "bf16" else "adamw"
    with FakeTensorMode():
        step = new_step(one_layer(name), precision=precision, optimizer=optimizer, grad_clip=1.0)
        step._step(torch.zeros(N_WINDOWS, WINDOW + 1, dtype=torch.int64))
    assert step.loss_E.shape == (len(POINTS),)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("micro_windows", [1, 2, 3, 7])
def test_parts_of_a_batch_add_up_to_the_batch(micro_windows: int) -> None:
    """However few windows pass through the model at a time, losses are those of the whole batch,
    though the last part is smaller than the others.
    """
    whole = losses(new_step(), 12)
    parts = losses(new_step(micro_windows=micro_windows), 12)
    assert_same_but_for_rounding(torch.tensor(parts), torch.tensor(whole))


@pytest.mark.usefixtures("in_float64")
def test_a_step_of_several_workers_weights_each_part_by_its_windows() -> None:
    """Parts of 3 and 2 windows, averaged over two workers, give the loss on the batch."""
    step, windows = new_step(), batch(0)
    step._n_workers = 2
    step._forward_backward(torch.from_numpy(windows[:3].astype(np.int64)))
    of_three, gradient_of_three = step.loss_E, step.optimizer.gradient()
    step._forward_backward(torch.from_numpy(windows[3:].astype(np.int64)))
    mean, gradient = (of_three + step.loss_E) / 2, step.optimizer.gradient()
    alone = new_step()
    alone._forward_backward(torch.from_numpy(windows.astype(np.int64)))
    assert_same_but_for_rounding(mean, alone.loss_E)
    assert_same_but_for_rounding((gradient_of_three + gradient) / 2, alone.optimizer.gradient())


def test_a_compiled_model_that_computes_something_else_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """NaNs that a compiler makes are seen before the first step, said, and do no harm."""

    def miscompiled(model: Any, **_: Any) -> Any:
        def forward(windows_BT1: torch.Tensor) -> tuple[Any, ...]:
            loss_E, balance_E, load = model(windows_BT1)
            return loss_E * torch.nan, balance_E, load

        return forward

    right = losses(new_step(), 5)
    monkeypatch.setattr(torch, "compile", miscompiled)
    np.testing.assert_array_equal(losses(new_step(compile="on"), 5), right)
    (line,) = own_messages(caplog)
    assert "compiled, the first loss is nan" in line
    assert "goes on uncompiled" in line


@pytest.mark.slow
def test_a_model_that_a_compiler_fails_on_trains_as_it_is_written(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Seen of torch 2.11 on a GPU: code for one sum among hundreds could not be made."""
    right = losses(new_step(), 5)
    compile_as_it_is = torch.compile

    def fails(*_: Any) -> Any:
        raise TypeError("list indices must be integers or slices, not NoneType")

    monkeypatch.setattr(
        torch, "compile", lambda model, **more: compile_as_it_is(model, backend=fails, **more)
    )
    np.testing.assert_array_equal(losses(new_step(compile="on"), 5), right)
    (line,) = own_messages(caplog)
    assert "cannot be compiled here" in line and "list indices" in line
    assert line.endswith("this run goes on uncompiled")


def test_an_update_that_a_compiler_fails_on_runs_as_it_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It says so once; errors of the work itself are raised."""
    compile_as_it_is, told = torch.compile, []

    def fails(*_: Any) -> Any:
        raise TypeError("no code for this sum")

    monkeypatch.setattr(
        torch, "compile", lambda work, **more: compile_as_it_is(work, backend=fails, **more)
    )
    call = compiled_or_written(lambda x: x + 1, told.append)
    assert [call(torch.ones(1)).item() for _ in range(2)] == [2.0, 2.0]
    assert len(told) == 1 and "no code for this sum" in told[0]
    shapes = compiled_or_written(lambda x: x + torch.ones(3), told.append)
    with pytest.raises(RuntimeError, match="size"):
        shapes(torch.ones(2))


def test_a_trial_that_has_diverged_says_nothing_about_compiled_code(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that goes on with one trial of two stays compiled."""
    monkeypatch.setattr(torch, "compile", lambda model, **_: model)
    step = new_step(compile="on")
    step.optimizer.weights_EP[1] = torch.nan
    step(batch(0))
    assert not own_messages(caplog)
    assert torch.isfinite(step.loss_E).tolist() == [True, False]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, as it is imported
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for a CPU needs a C++ compiler")
def test_a_compiled_run_is_the_run(caplog: pytest.LogCaptureFixture) -> None:
    """Losses of 12 steps agree to rounding, and the check before the first step passes."""
    compiled = losses(new_step(compile="on", micro_windows=3), 12)
    difference = np.abs(compiled - losses(new_step(), 12))
    assert not own_messages(caplog)
    # The longest sums are over the 40 tokens of a batch.
    assert (difference <= float32_may_differ_by(lambda: losses(new_step(), 12), n_terms=40)).all()


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, as it is imported
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("name", ["gpt2-2-2", "llama-2-2", "mistral-2-4", "gpt2-2-2-moe4"])
def test_a_recorded_run_is_the_run(
    name: str, precision: Precision, caplog: pytest.LogCaptureFixture
) -> None:
    """On a GPU, 30 steps that are replayed from a graph give the losses of 30 that are not, and
    once it is recorded a step waits for nothing.
    """
    cuda = torch.device("cuda")
    written = losses(
        new_step(name, device=cuda, n_steps=30, precision=precision, compile="off"), 30
    )
    step = new_step(name, device=cuda, n_steps=30, precision=precision)
    recorded = losses(step, 20)
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(batch(20))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    recorded = np.concatenate([recorded, [step.loss_E.tolist()], losses(step, 9)])
    np.testing.assert_allclose(recorded, written, rtol=1e-4 if precision == "fp32" else 3e-2)
    assert not own_messages(caplog)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, as it is imported
def test_a_recorded_run_goes_on_from_its_state() -> None:
    """State taken after 10 of 20 steps and put into a new step gives the same last 10 losses."""
    cuda = torch.device("cuda")
    step = new_step(device=cuda, n_steps=20, precision="bf16")
    losses(step, 10)
    state = step.state()
    state["optimizer"] = {name: value.clone() for name, value in state["optimizer"].items()}
    other = new_step(device=cuda, n_steps=20, precision="bf16")
    other.load_state(state)
    np.testing.assert_allclose(losses(other, 10), losses(step, 10), rtol=1e-3)

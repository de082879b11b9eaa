import pytest
import torch

from kcap_ray.config.cell import Precision
from kcap_ray.training.precision import LossScaler, autocast

CPU = torch.device("cpu")


def test_overflow_halves_the_scale_of_its_trial_alone_and_lets_it_skip() -> None:
    """A trial that overflows may not step, and its scale halves; the others' scales stay."""
    scaler = LossScaler("fp16", 3, CPU)
    start = scaler.scale_E[0].item()
    grad_EP = torch.full((3, 4), start)
    grad_EP[1, 2] = torch.inf
    grad_EP, active_E1 = scaler.unscale(grad_EP)
    assert active_E1 is not None
    assert active_E1.flatten().tolist() == [True, False, True]
    assert scaler.scale_E.tolist() == [start, start / 2, start]
    assert (grad_EP[[0, 2]] == 1).all()
    _, active_E1 = scaler.unscale(torch.tensor([[1.0], [1.0], [torch.nan]]))
    assert active_E1 is not None
    assert active_E1.flatten().tolist() == [True, True, False]
    assert scaler.scale_E.tolist() == [start, start / 2, start / 2]


def test_scale_doubles_after_enough_good_steps_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """An overflow starts the count anew; trials count on their own."""
    monkeypatch.setattr(LossScaler, "growth_interval", 3)
    scaler = LossScaler("fp16", 2, CPU)
    start = scaler.scale_E[0].item()
    good, bad = torch.ones(2, 1), torch.tensor([[1.0], [torch.inf]])
    scales = []
    for grad_EP in (good, good, bad, good, good, good, good):
        scaler.unscale(grad_EP)
        scales.append((scaler.scale_E / start).tolist())
    assert [first for first, _ in scales] == [1, 1, 2, 2, 2, 4, 4]
    assert [second for _, second in scales] == [1, 1, 0.5, 0.5, 0.5, 1, 1]


def test_gradients_of_scaled_losses_come_back_unscaled() -> None:
    """Backward of the scaled losses, then unscaling, is the gradient of each trial's loss."""
    weights_EP = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    scaler = LossScaler("fp16", 2, CPU)
    scaler.scale_E[1] = 8.0
    scaler.scaled(weights_EP.square().sum(dim=1)).backward()
    assert weights_EP.grad is not None
    grad_EP, _ = scaler.unscale(weights_EP.grad)
    torch.testing.assert_close(grad_EP, 2 * weights_EP.detach())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_only_fp16_scales_its_losses(precision: Precision) -> None:
    """In the other precisions the loss is summed as it is and no gradient is looked at."""
    scaler = LossScaler(precision, 2, CPU)
    grad_EP = torch.tensor([[1.0], [torch.inf]])
    assert scaler.scaled(torch.tensor([1.0, 2.0])).item() == 3.0
    same_EP, active_E1 = scaler.unscale(grad_EP)
    assert same_EP is grad_EP
    assert active_E1 is None


def test_state_of_the_scaler_comes_back() -> None:
    """`load` is the inverse of `state`, counters included."""
    scaler, other = LossScaler("fp16", 2, CPU), LossScaler("fp16", 2, CPU)
    scaler.unscale(torch.tensor([[1.0], [torch.inf]]))
    other.load({key: value.clone() for key, value in scaler.state().items()})
    assert torch.equal(other.scale_E, scaler.scale_E)
    assert torch.equal(other.good_steps_E, scaler.good_steps_E)


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_matrix_products_run_in_the_precision_asked_for(
    precision: Precision, dtype: torch.dtype
) -> None:
    """The context makes the products; the operands stay as they are."""
    x = torch.ones(2, 2)
    with autocast(precision, CPU):
        assert (x @ x).dtype is dtype
    assert x.dtype is torch.float32

import math

import pytest
import torch
from torch import Tensor

from kcap_ray.models.ssd import initial_step_biases, ssd


def by_recurrence(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
    """The state-space model itself, one token after the other; the state is k's width by v's."""
    state = q.new_zeros(*q.shape[:2], k.shape[-1], v.shape[-1])
    outputs = []
    for t in range(q.shape[2]):
        written = k[:, :, t].unsqueeze(-1) * v[:, :, t].unsqueeze(-2)
        state = log_decay[:, :, t, None, None].exp() * state + written
        outputs.append((q[:, :, t].unsqueeze(-2) @ state).squeeze(-2))
    return torch.stack(outputs, dim=2)


def random_inputs(n_tokens: int, *, longest_memory: float, dtype: torch.dtype) -> list[Tensor]:
    """Queries, keys, values and log decays of 2 sequences and 3 heads; memories are spread."""
    generator = torch.Generator().manual_seed(4)
    qkv = [torch.randn(2, 3, n_tokens, 8, generator=generator, dtype=dtype) for _ in range(3)]
    exponents = torch.rand(2, 3, n_tokens, generator=generator, dtype=dtype)
    return [*qkv, -1 / longest_memory**exponents]


def test_parallel_form_is_the_recurrence_over_time() -> None:
    """The duality: one masked product gives what the states give, gradients too, in float64."""
    inputs = random_inputs(40, longest_memory=100.0, dtype=torch.float64)
    for tensor in inputs:
        tensor.requires_grad_()
    parallel, recurrent = ssd(*inputs), by_recurrence(*inputs)
    torch.testing.assert_close(parallel, recurrent, rtol=1e-10, atol=1e-10)
    ours = torch.autograd.grad(parallel.square().sum(), inputs)
    theirs = torch.autograd.grad(recurrent.square().sum(), inputs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("log_decay", [-200.0, -1e-6, 0.0])
def test_whole_windows_stay_finite_and_exact_at_any_decay(log_decay: float) -> None:
    """512 tokens of float32 agree with the float64 recurrence where all or nothing is forgotten.

    A sum of n products errs in float32 by less than n 2^-23 of the sum of their magnitudes, in
    whatever order it is made; here n is the width of a key plus the tokens, and one more for the
    decay, whose logarithm is a sum that differs from 0 by less than 0.001, or leaves nothing.
    """
    inputs = random_inputs(512, longest_memory=10.0, dtype=torch.float32)
    inputs[-1] = torch.full_like(inputs[-1], log_decay).requires_grad_()
    parallel = ssd(*inputs)
    expected = by_recurrence(*(tensor.double() for tensor in inputs))
    q, k, v, _ = (tensor.double().abs() for tensor in inputs)
    magnitudes = by_recurrence(q, k, v, inputs[-1].double())
    allowed = (8 + 512 + 1) * 2.0**-23 * magnitudes
    assert bool(((parallel - expected).abs() <= allowed).all())
    (grad,) = torch.autograd.grad(parallel.square().mean(), inputs[-1])
    assert torch.isfinite(grad).all()


def test_bfloat16_is_near_float32() -> None:
    """Under autocast the decays stay in float32: the error is that of the products. Queries, keys,
    scores, values and outputs are each rounded once, by at most 2^-9, which makes 1% at most.
    """
    inputs = random_inputs(256, longest_memory=1_000.0, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        coarse = ssd(*inputs)
    fine = ssd(*inputs)
    assert (coarse - fine).square().mean().sqrt() < 5 * 2**-9 * fine.square().mean().sqrt()


@pytest.mark.parametrize(("n_head", "memories"), [(1, [1000**0.5]), (2, [10, 100])])
def test_heads_start_with_memories_spread_over_three_orders(
    n_head: int, memories: list[float]
) -> None:
    """1 / softplus(bias) is the memory of the docstring, in tokens."""
    steps = torch.nn.functional.softplus(initial_step_biases(n_head))
    assert (1 / steps).tolist() == pytest.approx(memories, rel=1e-3)
    assert math.isclose(max(memories), 1000 ** (n_head / (n_head + 1)))

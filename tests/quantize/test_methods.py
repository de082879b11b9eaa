"""Each method on one matrix: against plain references, and laws that hold for all weights."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kcap_ray.config.errors import UserError
from kcap_ray.quantize.config import Method, QuantizeConfig
from kcap_ray.quantize.gptq import gptq, hessian_of
from kcap_ray.quantize.grid import QuantizedMatrix, find_grid
from kcap_ray.quantize.hqq import NORM, hqq
from kcap_ray.quantize.rtn import rtn
from tests.quantize.brain_surgeon import brain_surgeon, in_order, inputs_all_alike

METHODS = {"gptq": gptq, "rtn": rtn, "hqq": hqq}


def random_weight(d_out: int, d_in: int, *, seed: int = 0) -> Tensor:
    """Weights as large as a trained model's, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(d_out, d_in, generator=generator, dtype=torch.float64)


def correlated_inputs(n_rows: int, d_in: int, *, seed: int = 1) -> list[Tensor]:
    """Inputs that a few directions explain, in two blocks of different sizes."""
    generator = torch.Generator().manual_seed(seed)
    few = torch.randn(n_rows, d_in // 4, generator=generator, dtype=torch.float64)
    mixing = torch.randn(d_in // 4, d_in, generator=generator, dtype=torch.float64)
    noise = 0.1 * torch.randn(n_rows, d_in, generator=generator, dtype=torch.float64)
    return list((few @ mixing + noise).split([n_rows // 3, n_rows - n_rows // 3]))


def quantized(method: Method, weight_OI: Tensor, **others: Any) -> QuantizedMatrix:
    """One matrix by one method, calibrated on correlated inputs."""
    config = QuantizeConfig(method=method, **others)
    return METHODS[method](weight_OI, correlated_inputs(300, weight_OI.shape[1]), config)


def error_of(matrix: QuantizedMatrix, weight_OI: Tensor) -> float:
    """Mean squared error of the outputs on the inputs of the calibration."""
    x_nI = torch.cat(correlated_inputs(300, weight_OI.shape[1]))
    return float((x_nI @ (matrix.dequantized().double() - weight_OI).T).square().mean())


def assert_same_as_brain_surgeon(d_out: int, d_in: int, config: QuantizeConfig) -> None:
    """Our solver's codes are those of the plain one."""
    weight_OI, inputs = random_weight(d_out, d_in), correlated_inputs(300, d_in)
    x_nI = torch.cat(inputs)
    hessian_II = 2 * x_nI.T @ x_nI
    # The largest weight of a group lies half way between two points of a symmetric grid. The first
    # column of a group is rounded as it is, so it must not be that weight.
    first = in_order(hessian_II, config)[:: config.group_size or d_in]
    weight_OI[:, first] *= 0.1
    expected = brain_surgeon(weight_OI, hessian_II, config)
    assert bool(expected.is_certain_O(config.bits, torch.float64).all())
    assert torch.equal(gptq(weight_OI, inputs, config).codes_OI.double(), expected.codes_OI)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("group_size", [None, 16, 24])
@pytest.mark.parametrize("others", [{}, {"act_order": True}, {"symmetric": False}])
def test_gptq_is_the_optimal_brain_surgeon(
    bits: int, group_size: int | None, others: dict[str, Any]
) -> None:
    """Cholesky factors and lazy blocks are only a faster way to the same codes."""
    config = QuantizeConfig(bits=bits, group_size=group_size, **others)
    assert_same_as_brain_surgeon(20, 40, config)


def test_gptq_passes_errors_on_to_all_later_blocks() -> None:
    """A row wider than a block gives the same codes as without blocks."""
    assert_same_as_brain_surgeon(3, 150, QuantizeConfig(bits=3, group_size=None))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("act_order", [False, True])
def test_gptq_is_closer_to_the_outputs_than_rounding(bits: int, act_order: bool) -> None:
    """On correlated inputs, which is what it looks at."""
    weight_OI = random_weight(32, 64)
    ours = quantized("gptq", weight_OI, bits=bits, group_size=16, act_order=act_order)
    nearest = quantized("rtn", weight_OI, bits=bits, group_size=16)
    assert error_of(ours, weight_OI) < 0.8 * error_of(nearest, weight_OI)


def test_gptq_without_inputs_rounds_to_nearest() -> None:
    """So does an expert that no token of the calibration is sent to."""
    weight_OI = random_weight(6, 32).float()
    for inputs in ([], [torch.empty(0, 32)]):
        matrix = gptq(weight_OI, inputs, QuantizeConfig(bits=4, group_size=32))
        error_OI = (matrix.dequantized() - weight_OI).abs()
        assert bool((error_OI <= 0.505 * matrix.scale_OG.float()).all())


def test_gptq_leaves_an_input_that_is_always_zero_to_rounding() -> None:
    """Its column is the nearest one on the grid, and no other column makes up for it."""
    weight_OI = random_weight(6, 32)
    inputs = correlated_inputs(300, 32)
    for x_nI in inputs:
        x_nI[:, 5] = 0
    matrix = gptq(weight_OI, inputs, QuantizeConfig(bits=4, group_size=None))
    scale_O1, zero_O1 = find_grid(weight_OI, 4, symmetric=True)
    expected = (weight_OI[:, 5] / scale_O1[:, 0]).round() + zero_O1[:, 0]
    assert torch.equal(matrix.codes_OI[:, 5].double(), expected.clamp(0, 15))


def test_the_hessian_is_that_of_all_inputs_however_they_are_cut() -> None:
    """2 X^T X / n."""
    x_nI = torch.cat(correlated_inputs(300, 8))
    for sizes in ([300], [1, 299], [100, 0, 200]):
        hessian_II = hessian_of(x_nI.split(sizes), random_weight(1, 8))
        torch.testing.assert_close(hessian_II, 2 * x_nI.T @ x_nI / 300)


def test_damping_that_is_too_small_is_the_users_mistake() -> None:
    """Equal inputs leave a Hessian that has no inverse; the message names a larger damping."""
    config = QuantizeConfig(damping=1e-12)
    with pytest.raises(UserError, match=r"--damping 1e-12 is too small.*write 1e-11"):
        gptq(random_weight(2, 64).float(), inputs_all_alike(64), config)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("group_size", [None, 10, 64])
def test_codes_and_shapes_are_those_of_the_setting(
    method: Method, bits: int, group_size: int | None
) -> None:
    """Codes fit their bits and use both halves of them; a short last group is one."""
    weight_OI = random_weight(8, 32)
    matrix = quantized(method, weight_OI, bits=bits, group_size=group_size)
    n_groups = {None: 1, 10: 4, 64: 1}[group_size]
    assert matrix.codes_OI.shape == (8, 32)
    assert matrix.scale_OG.shape == (8, n_groups)
    assert int(matrix.codes_OI.max()) < 2**bits
    assert int(matrix.codes_OI.min()) < 2 ** (bits - 1) <= int(matrix.codes_OI.max())
    assert matrix.group_I.tolist() == [i // (group_size or 32) for i in range(32)]
    assert torch.equal(weight_OI, random_weight(8, 32)), "the weights are left as they were"


weights = st.lists(st.floats(-4, 4, width=16), min_size=24, max_size=24)


@settings(max_examples=60, deadline=None)
@given(values=weights, bits=st.integers(2, 8), symmetric=st.booleans())
def test_rounding_errs_by_half_a_step(values: list[float], bits: int, symmetric: bool) -> None:
    """Whatever the weights; and by what a scale loses in 16 bits, 2^-11 of it for each step."""
    weight_OI = torch.tensor(values).view(2, 12)
    config = QuantizeConfig(method="rtn", bits=bits, group_size=6, symmetric=symmetric)
    matrix = rtn(weight_OI, [], config)
    step_OI = matrix.scale_OG.float().gather(1, matrix.group_I.long().expand(2, 12))
    allowed_OI = step_OI * (0.5 + 2**bits * 2.0**-11) + 2.0**-24 * 2**bits
    assert bool(((matrix.dequantized() - weight_OI).abs() <= allowed_OI).all())


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("symmetric", [True, False])
def test_rounding_is_exact_on_weights_of_a_grid(bits: int, symmetric: bool) -> None:
    """What was quantized once stays as it is."""
    config = QuantizeConfig(method="rtn", bits=bits, group_size=None, symmetric=symmetric)
    middle = 2 ** (bits - 1) if symmetric else 2**bits // 3
    codes = torch.arange(2**bits) - middle
    # The symmetric grid reaches half a step beyond its last point on the side of positive weights.
    ends = torch.tensor([0.5 - middle]) if symmetric else codes[:1]
    weight_OI = torch.tensor([[0.25], [3.0]]) * torch.cat([ends, codes[1:]])
    assert torch.equal(rtn(weight_OI, [], config).dequantized()[:, 1:], weight_OI[:, 1:])


@pytest.mark.parametrize("method", METHODS)
def test_eight_bits_are_nearly_the_weights(method: Method) -> None:
    """Below a hundredth of the largest weight of the group, for gptq in the outputs."""
    weight_OI = random_weight(16, 64)
    matrix = quantized(method, weight_OI, bits=8, group_size=32)
    x_nI = torch.cat(correlated_inputs(300, 64))
    outputs = (x_nI @ weight_OI.T).square().mean()
    assert math.sqrt(error_of(matrix, weight_OI) / float(outputs)) < 0.01


@pytest.mark.parametrize("method", METHODS)
def test_rows_of_zeros_and_of_tiny_weights_stay_what_they_are(method: Method) -> None:
    """No division by zero, and nothing grows: vocabulary that is never said decays to this."""
    weight_OI = torch.zeros(3, 16)
    weight_OI[1] = 1e-12
    weight_OI[2, ::2] = -1e-7
    matrix = METHODS[method](weight_OI, [], QuantizeConfig(method=method, bits=4, group_size=8))
    assert float((matrix.dequantized() - weight_OI).abs().max()) < 1e-6


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_hqq_improves_on_the_zero_points_of_rounding(bits: int) -> None:
    """Its norm of the errors is below that of asymmetric rounding, in every group or as good."""
    weight_OI = random_weight(16, 64).float()
    found = quantized("hqq", weight_OI, bits=bits, group_size=16)
    nearest = quantized("rtn", weight_OI, bits=bits, group_size=16, symmetric=False)

    def norms(matrix: QuantizedMatrix) -> Tensor:
        error_OI = (matrix.dequantized() - weight_OI).abs()
        return error_OI.pow(NORM).view(16, 4, 16).sum(dim=2)

    assert bool((norms(found) <= norms(nearest) * 1.0001).all())
    assert float(norms(found).mean()) < 0.97 * float(norms(nearest).mean())


def test_hqq_does_not_depend_on_the_unit_of_the_weights() -> None:
    """A power of two changes the scales alone."""
    weight_OI = random_weight(8, 32).float()
    first = quantized("hqq", weight_OI, bits=3, group_size=16)
    second = quantized("hqq", weight_OI / 16, bits=3, group_size=16)
    assert torch.equal(first.codes_OI, second.codes_OI)

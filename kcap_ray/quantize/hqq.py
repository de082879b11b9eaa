"""HQQ, half-quadratic quantization: zero points that a sparse error likes best, without calibration
(Badri and Shaji 2023, https://mobiusml.github.io/hqq_blog/).

With the scale of a group fixed, its zero point minimizes the sum over weights of |error|^p, p < 1,
which forgives a few large errors. That is split in two: e takes the part of the error that the norm
forgives (a proximal step), and the zero point is the mean of what is left (least squares).
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from kcap_ray.quantize.config import QuantizeConfig
from kcap_ray.quantize.grid import QuantizedMatrix, find_grid, quantize_groups

# The values of the authors' code (hqq, `optimize_weights_proximal_legacy`).
NORM = 0.7
BETA = 10.0
BETA_GROWTH = 1.01
N_ITERATIONS = 20


def hqq(weight_OI: Tensor, inputs: Iterable[Tensor], config: QuantizeConfig) -> QuantizedMatrix:
    """A `LayerQuantizer`; `inputs` are not read.

    Unlike the authors' code, errors are measured in steps of the grid, so that scaling all weights
    changes nothing; each group keeps the best of its zero points, rather than the whole matrix the
    last one before its error rises; and zero points are never rounded to codes.
    """
    return quantize_groups(
        weight_OI,
        lambda block_OW: _fit(block_OW, config.bits),
        bits=config.bits,
        group_size=config.group_size,
        zeros="between",
    )


def _fit(block_OW: Tensor, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Codes, scale and zero point of one group of every row."""
    scale_O1, zero_O1 = find_grid(block_OW, bits, symmetric=False)
    scale_O1 = scale_O1.half().to(block_OW.dtype)
    steps_OW = block_OW / scale_O1
    best_O1, least_O1 = zero_O1, torch.full_like(zero_O1, torch.inf)
    beta = BETA
    for _ in range(N_ITERATIONS):
        zero_O1 = _as_stored(zero_O1)
        codes_OW = _nearest(steps_OW, zero_O1, bits)
        error_OW = steps_OW - (codes_OW - zero_O1)
        cost_O1 = error_OW.abs().pow(NORM).sum(dim=1, keepdim=True)
        best_O1 = torch.where(cost_O1 < least_O1, zero_O1, best_O1)
        least_O1 = torch.minimum(cost_O1, least_O1)
        forgiven_OW = _shrink(error_OW, beta)
        zero_O1 = (codes_OW - (steps_OW - forgiven_OW)).mean(dim=1, keepdim=True)
        beta *= BETA_GROWTH
    return _nearest(steps_OW, best_O1, bits), scale_O1, best_O1


def _nearest(steps_OW: Tensor, zero_O1: Tensor, bits: int) -> Tensor:
    return (steps_OW + zero_O1).round().clamp(0, 2**bits - 1)


def _as_stored(zero_O1: Tensor) -> Tensor:
    return zero_O1.half().to(zero_O1.dtype)


def _shrink(error_OW: Tensor, beta: float) -> Tensor:
    """The generalized soft threshold for |x|^p: sign(x) max(|x| - |x|^(p-1) / beta, 0)."""
    size_OW = error_OW.abs()
    # At 0, where the power is infinite, nothing is forgiven.
    return error_OW.sign() * (size_OW - size_OW.pow(NORM - 1) / beta).clamp(min=0)

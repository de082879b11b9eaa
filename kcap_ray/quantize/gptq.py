"""GPTQ (Frantar and others 2022, arXiv 2210.17323, algorithm 1): columns are rounded one after
another, and those still to come make up for the error on the calibration inputs.

Shapes: O outputs, I inputs, n rows of inputs, W inputs of a block.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from kcap_ray.config.errors import UserError
from kcap_ray.quantize.config import QuantizeConfig
from kcap_ray.quantize.grid import (
    QuantizedMatrix,
    find_grid,
    n_in_group,
    ordered_groups,
    stored_zeros,
    to_codes,
)

BLOCK = 128
"""Columns after which errors are passed on to all later ones, where a group is a whole row; else it
is the group (the paper's "lazy batch-updates", section 3.3, with its block size).
"""


def gptq(weight_OI: Tensor, inputs: Iterable[Tensor], config: QuantizeConfig) -> QuantizedMatrix:
    """A `LayerQuantizer`: our own solver. Raises `UserError` if the damping is too small."""
    return solve(weight_OI, hessian_of(inputs, weight_OI), config)


def hessian_of(inputs: Iterable[Tensor], weight_OI: Tensor) -> Tensor:
    """2 X X^T / n [I, I] over all n rows of inputs; zeros without any."""
    d_in = weight_OI.shape[1]
    hessian_II = torch.zeros(d_in, d_in, dtype=weight_OI.dtype, device=weight_OI.device)
    n_rows = 0
    for x_nI in inputs:
        n_before, n_rows = n_rows, n_rows + len(x_nI)
        if len(x_nI):
            hessian_II *= n_before / n_rows
            x_nI = x_nI.to(weight_OI.dtype) * (2 / n_rows) ** 0.5
            hessian_II += x_nI.T @ x_nI
    return hessian_II


def solve(weight_OI: Tensor, hessian_II: Tensor, config: QuantizeConfig) -> QuantizedMatrix:
    """Quantize column by column; each group's grid is made when its first column is reached, from
    the weights as they are then.

    An input that was never other than 0 leaves its column alone, which then goes to the nearest
    grid point (the authors' code sets it to 0). Raises `UserError` if the damping is too small.
    """
    d_in = weight_OI.shape[1]
    order_I = torch.arange(d_in, device=weight_OI.device)
    if config.act_order:
        order_I = hessian_II.diagonal().argsort(descending=True, stable=True)
    factor_II = _inverse_factor(hessian_II[order_I][:, order_I], config.damping)
    left_OI = weight_OI[:, order_I]
    codes_OI = torch.empty_like(left_OI)
    grids: list[tuple[Tensor, Tensor]] = []
    if config.group_size is None:
        grids.append(find_grid(left_OI, config.bits, symmetric=config.symmetric))
    width = n_in_group(d_in, config.group_size or BLOCK)
    for start in range(0, d_in, width):
        stop = min(start + width, d_in)
        if config.group_size is not None:
            block_OW = left_OI[:, start:stop]
            grids.append(find_grid(block_OW, config.bits, symmetric=config.symmetric))
        error_OW = _round_block(
            left_OI, codes_OI, factor_II, grids[-1], range(start, stop), config.bits
        )
        left_OI[:, stop:] -= error_OW @ factor_II[start:stop, stop:]
    return _as_matrix(codes_OI, grids, order_I, config)


def _inverse_factor(hessian_II: Tensor, damping: float) -> Tensor:
    """Upper Cholesky factor of the inverse of the damped Hessian: its row i, divided by its
    diagonal, is how later columns make up for an error in column i (section 3.3, step 3).
    """
    hessian_II = hessian_II.clone()
    diagonal_I = hessian_II.diagonal()
    diagonal_I[diagonal_I == 0] = 1
    diagonal_I += damping * hessian_II.diag().mean()
    factor_II, failed_at = torch.linalg.cholesky_ex(hessian_II)
    if failed_at == 0:
        inverse_II = torch.cholesky_inverse(factor_II)
        factor_II, failed_at = torch.linalg.cholesky_ex(inverse_II, upper=True)
    if failed_at != 0:
        raise UserError(
            f"--damping {damping:g} is too small: the inputs of a layer are too much alike; "
            f"write {10 * damping:g}"
        )
    return factor_II


def _round_block(
    left_OI: Tensor,
    codes_OI: Tensor,
    factor_II: Tensor,
    grid: tuple[Tensor, Tensor],
    columns: range,
    bits: int,
) -> Tensor:
    """Round these columns, in place, and return their errors [O, W], each divided by its diagonal
    element of the factor.
    """
    scale_O1, zero_O1 = grid
    start, stop = columns.start, columns.stop
    error_OW = torch.empty_like(left_OI[:, start:stop])
    for i in columns:
        weight_O1 = left_OI[:, i : i + 1]
        code_O1 = to_codes(weight_O1, scale_O1, zero_O1, bits)
        error_O1 = (weight_O1 - scale_O1 * (code_O1 - zero_O1)) / factor_II[i, i]
        codes_OI[:, i : i + 1] = code_O1
        error_OW[:, i - start : i - start + 1] = error_O1
        left_OI[:, i:stop] -= error_O1 @ factor_II[i : i + 1, i:stop]
    return error_OW


def _as_matrix(
    codes_OI: Tensor, grids: list[tuple[Tensor, Tensor]], order_I: Tensor, config: QuantizeConfig
) -> QuantizedMatrix:
    """Put columns back to where they were."""
    d_in = codes_OI.shape[1]
    place_I = order_I.argsort()
    groups_I = ordered_groups(d_in, config.group_size).to(codes_OI.device)
    scales, zeros = zip(*grids, strict=True)
    return QuantizedMatrix(
        bits=config.bits,
        codes_OI=codes_OI[:, place_I].to(torch.uint8),
        scale_OG=torch.cat(scales, dim=1).to(torch.float16),
        zero_OG=stored_zeros(torch.cat(zeros, dim=1), "middle" if config.symmetric else "code"),
        group_I=groups_I[place_I],
        is_ordered=not config.act_order or len(grids) == 1,
    )

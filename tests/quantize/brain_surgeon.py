"""GPTQ as its derivation has it, plain and slow, in float64; and inputs that no solver can invert.

Shapes: O outputs, I inputs, n rows of inputs.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from kcap_ray.quantize.config import QuantizeConfig
from kcap_ray.quantize.grid import find_grid


class Plain(NamedTuple):
    """What a solver should find, and how certainly."""

    codes_OI: Tensor
    """As floats."""
    clearance_OI: Tensor
    """Steps from each weight, when it is rounded, to the middle of two points of the grid that are
    different codes; infinite where the grid ends.
    """
    condition: float
    """Condition number of the damped Hessian."""

    def is_certain_O(self, bits: int, dtype: torch.dtype) -> Tensor:
        """Rows whose codes all solvers must find in this arithmetic, in whatever order they add up.

        What rounding changes, relative to the weights, is about the condition number times the
        unit roundoff (Higham, Accuracy and Stability of Numerical Algorithms, section 10.1), and
        weights are at most 2^(bits - 1) steps large.
        """
        roundoff = torch.finfo(dtype).eps / 2
        return self.clearance_OI.amin(dim=1) > self.condition * roundoff * 2 ** (bits - 1)


def in_order(hessian_II: Tensor, config: QuantizeConfig) -> list[int]:
    """Columns in the order in which they are quantized."""
    diagonal_I = hessian_II.diagonal()
    return (
        diagonal_I.argsort(descending=True).tolist()
        if config.act_order
        else list(range(len(diagonal_I)))
    )


def brain_surgeon(weight_OI: Tensor, hessian_II: Tensor, config: QuantizeConfig) -> Plain:
    """Columns in order; after each one the optimal change of all columns still to come, from the
    inverse of the Hessian of what is left, made anew every time (arXiv 2210.17323, equation 2).
    """
    d_in = weight_OI.shape[1]
    order = in_order(hessian_II, config)
    damping = config.damping * hessian_II.diagonal().mean()
    hessian_II = hessian_II[order][:, order] + damping * torch.eye(d_in).double()
    left_OI = weight_OI[:, order]
    codes_OI, clearance_OI = torch.empty_like(weight_OI), torch.empty_like(weight_OI)
    width = min(config.group_size or d_in, d_in)
    scale_O1, zero_O1 = find_grid(left_OI[:, :width], config.bits, symmetric=config.symmetric)
    for place, i in enumerate(order):
        if place % width == 0:  # after changes of the groups before
            group = left_OI[:, place : place + width]
            scale_O1, zero_O1 = find_grid(group, config.bits, symmetric=config.symmetric)
        steps_O = left_OI[:, place] / scale_O1[:, 0]
        below_O, code_O, above_O = (
            (rounded + zero_O1[:, 0]).clamp(0, 2**config.bits - 1)
            for rounded in (steps_O.floor(), steps_O.round(), steps_O.ceil())
        )
        to_middle_O = (steps_O - steps_O.floor() - 0.5).abs()
        clearance_OI[:, i] = to_middle_O.masked_fill(below_O == above_O, torch.inf)
        codes_OI[:, i] = code_O
        error_O = left_OI[:, place] - scale_O1[:, 0] * (code_O - zero_O1[:, 0])
        # The first row of the inverse.
        first_I = torch.zeros(d_in - place).double()
        first_I[0] = 1
        inverse_I = torch.linalg.solve(hessian_II[place:, place:], first_I)
        left_OI[:, place:] -= torch.outer(error_O / inverse_I[0], inverse_I)
    return Plain(codes_OI, clearance_OI, float(torch.linalg.cond(hessian_II)))


def inputs_all_alike(d_in: int) -> list[Tensor]:
    """Float32 inputs whose Hessian is singular and stays so on any processor.

    Every number on the way is 0 or a power of 2, so nothing is rounded but the damping, to nothing,
    and the second pivot of the Cholesky factor is exactly 0. Rows are 4^3, behind as many of zeros,
    which makes the solvers' factors sqrt(2 / parts) and sqrt(2 / rows) powers of 2 too.
    """
    return [torch.zeros(64, d_in), torch.full((64, d_in), 32.0)]

"""A matrix of small whole numbers, with a scale and a zero point for each group of a row.

weight = scale * (code - zero). Shapes: O outputs, I inputs, G groups of a row. `*S` are the leading
axes of a stack of experts, and nothing for a single matrix.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from kcap_ray.quantize.config import FP16_BITS

SMALLEST_SCALE = 2.0**-24
"""The smallest positive 16-bit float: a group of tiny weights still has a scale."""

ZeroKind = Literal["middle", "code", "between"]
"""What a zero point is: always 2^(bits - 1), a code, or any number."""

INDEX_BITS = 16
"""Bits of the group of an input, stored where groups are not runs of neighbours."""


@dataclass(frozen=True, kw_only=True)
class QuantizedMatrix:
    """A quantized weight [*S, O, I], exactly as it is stored."""

    bits: int
    """Bits of a code."""
    codes_OI: Tensor
    """[*S, O, I], uint8, from 0 to 2^bits - 1."""
    scale_OG: Tensor
    """[*S, O, G], float16."""
    zero_OG: Tensor | None
    """[*S, O, G]: uint8 where zero points are codes (stored in `bits` bits), float16 where they lie
    between; None: 2^(bits - 1) everywhere, which takes no room.
    """
    group_I: Tensor
    """[*S, I], int16: the group of each input."""
    is_ordered: bool = True
    """Whether `group_I` is 0, 0, ..., 1, 1, ... with groups of equal size (the last one may be
    smaller), which takes no room.
    """

    def __post_init__(self) -> None:
        stack = self.codes_OI.shape[:-2]
        assert self.codes_OI.dtype == torch.uint8, "codes are bytes"
        assert self.scale_OG.dtype == torch.float16, "scales are stored as 16-bit floats"
        assert self.scale_OG.shape[:-1] == self.codes_OI.shape[:-1], "each row has its scales"
        assert self.group_I.shape == (*stack, self.codes_OI.shape[-1]), "each input has its group"
        if self.zero_OG is not None:
            assert self.zero_OG.shape == self.scale_OG.shape, "each group has its zero point"
            assert self.zero_OG.dtype in (torch.uint8, torch.float16), "codes, or 16-bit floats"

    def dequantized(self) -> Tensor:
        """The weights that the codes stand for, float32 [*S, O, I]."""
        index = self.group_I.long().unsqueeze(-2).expand(self.codes_OI.shape)
        scale_OI = self.scale_OG.float().gather(-1, index)
        if self.zero_OG is None:
            return scale_OI * (self.codes_OI.float() - 2 ** (self.bits - 1))
        return scale_OI * (self.codes_OI.float() - self.zero_OG.float().gather(-1, index))

    @property
    def n_weights(self) -> int:
        """Weights that are stored."""
        return self.codes_OI.numel()

    @property
    def n_bits(self) -> int:
        """Bits that storing the matrix takes: codes, scales, zero points, and the group of each
        input where these are not in order.
        """
        n_bits = self.codes_OI.numel() * self.bits + self.scale_OG.numel() * FP16_BITS
        if self.zero_OG is not None:
            is_code = self.zero_OG.dtype == torch.uint8
            n_bits += self.zero_OG.numel() * (self.bits if is_code else FP16_BITS)
        return n_bits if self.is_ordered else n_bits + self.group_I.numel() * INDEX_BITS

    @staticmethod
    def stack(matrices: "Sequence[QuantizedMatrix]") -> "QuantizedMatrix":
        """Matrices of equal shape and form as one with a leading axis."""
        first = matrices[0]
        zeros = [matrix.zero_OG for matrix in matrices if matrix.zero_OG is not None]
        assert len(zeros) in (0, len(matrices)), "either all have zero points or none"
        return QuantizedMatrix(
            bits=first.bits,
            codes_OI=torch.stack([matrix.codes_OI for matrix in matrices]),
            scale_OG=torch.stack([matrix.scale_OG for matrix in matrices]),
            zero_OG=torch.stack(zeros) if zeros else None,
            group_I=torch.stack([matrix.group_I for matrix in matrices]),
            is_ordered=first.is_ordered,
        )


def n_in_group(d_in: int, group_size: int | None) -> int:
    """Inputs of a group: `group_size`, but never more than there are."""
    return d_in if group_size is None else min(group_size, d_in)


def ordered_groups(d_in: int, group_size: int | None) -> Tensor:
    """The group of each input [I], int16: runs of neighbours."""
    width = n_in_group(d_in, group_size)
    assert math.ceil(d_in / width) < 2**15, "groups are numbered in 16 bits"
    return (torch.arange(d_in) // width).to(torch.int16)


def find_grid(weight_OI: Tensor, bits: int, *, symmetric: bool) -> tuple[Tensor, Tensor]:
    """Scale and zero point of each row [O, 1], for all inputs as one group.

    The grid reaches from the row's smallest to its largest weight, and 0 is always on it.
    Symmetric: it reaches from -m to m, where m is the largest magnitude, and the zero point is
    2^(bits - 1); else the zero point is the code nearest to 0. A row of zeros has the grid of -1
    to 1. These are auto-gptq 0.7.1's grids, for rows with weights of both signs.
    """
    n_steps = 2**bits - 1
    low_O1 = weight_OI.amin(dim=1, keepdim=True).clamp(max=0)
    high_O1 = weight_OI.amax(dim=1, keepdim=True).clamp(min=0)
    if symmetric:
        high_O1 = torch.maximum(-low_O1, high_O1)
        low_O1 = -high_O1
    is_empty_O1 = (low_O1 == 0) & (high_O1 == 0)
    low_O1, high_O1 = low_O1.masked_fill(is_empty_O1, -1), high_O1.masked_fill(is_empty_O1, 1)
    scale_O1 = ((high_O1 - low_O1) / n_steps).clamp(min=SMALLEST_SCALE)
    if symmetric:
        return scale_O1, torch.full_like(scale_O1, 2 ** (bits - 1))
    return scale_O1, (-low_O1 / scale_O1).round().clamp(0, n_steps)


def to_codes(weight_OI: Tensor, scale_O1: Tensor, zero_O1: Tensor, bits: int) -> Tensor:
    """The nearest points of the grid, as floats; zero points are codes."""
    return ((weight_OI / scale_O1).round() + zero_O1).clamp(0, 2**bits - 1)


GroupFit = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
"""From the weights of one group of every row [O, W] to codes [O, W], scale and zero point [O, 1].
"""


def quantize_groups(
    weight_OI: Tensor, fit: GroupFit, *, bits: int, group_size: int | None, zeros: ZeroKind
) -> QuantizedMatrix:
    """Quantize each group by itself, group after group; `zeros`: what its zero points are."""
    group_I = ordered_groups(weight_OI.shape[1], group_size).to(weight_OI.device)
    blocks = weight_OI.split(n_in_group(weight_OI.shape[1], group_size), dim=1)
    codes, scales, zero_points = zip(*(fit(block_OW) for block_OW in blocks), strict=True)
    return QuantizedMatrix(
        bits=bits,
        codes_OI=torch.cat(codes, dim=1).to(torch.uint8),
        scale_OG=torch.cat(scales, dim=1).to(torch.float16),
        zero_OG=stored_zeros(torch.cat(zero_points, dim=1), zeros),
        group_I=group_I,
    )


def stored_zeros(zero_OG: Tensor, zeros: ZeroKind) -> Tensor | None:
    """Zero points as they are stored."""
    if zeros == "middle":
        return None
    return zero_OG.to(torch.uint8 if zeros == "code" else torch.float16)

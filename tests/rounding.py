"""What two ways to compute one thing may differ by, from the arithmetic.

In float32 that is no constant: a gradient that is made of terms that cancel has as many good digits
as the terms leave it, and vector width, fused products and the order of sums, which differ between
processors, choose the bad ones. So what is held against something else is computed in float64
(fixture `in_float64`), where the worst of these leaves far more digits than an error could hide in.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

SHARE = 1e-10
"""Of the largest entry. Float64 rounds by 1.1e-16, so this allows for sums of a thousand terms of
which all but a thousandth cancels, whatever their order. It is a 600th of float32's rounding: what
is computed in float32 by mistake is found out.
"""


def assert_same_but_for_rounding(
    ours: Tensor | Sequence[Tensor], theirs: Tensor | Sequence[Tensor]
) -> None:
    """Float64 tensors, or lists of them, agree to `SHARE` of the largest entry of a list: of
    gradients that are 0 but for rounding nothing else can be said.
    """
    if isinstance(ours, Tensor):
        ours = [ours]
    if isinstance(theirs, Tensor):
        theirs = [theirs]
    assert {tensor.dtype for tensor in (*ours, *theirs)} == {torch.float64}
    largest = max(tensor.abs().max().item() for tensor in theirs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=SHARE * largest)

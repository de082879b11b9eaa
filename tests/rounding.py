"""What two ways to compute one thing may differ by, from the arithmetic.

In float32 that is no constant: a gradient that is made of terms that cancel has as many good digits
as the terms leave it, and vector width, fused products and the order of sums, which differ between
processors, choose the bad ones. So what is held against something else is computed in float64
(fixture `in_float64`), where the worst of these leaves far more digits than an error could hide in.
Where that cannot be, because a compiler or another process computes, it is found in float64 how
much rounding in float32 may do.
"""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor

# Modules that a command imports when it is called must be there before.
import kcap_ray.measure.causal_model
import kcap_ray.measure.directory
import kcap_ray.training.optimizer  # noqa: F401
from kcap_ray.models.decoder import Decoder

NAMES_FLOAT32 = ("kcap_ray.", "transformers.models.", "transformers.modeling_rope_utils")
"""How modules begin that ask for float32 by name."""

SHARE = 1e-10
"""Of the largest entry. Float64 rounds by 1.1e-16, so this allows for sums of a thousand terms of
which all but a thousandth cancels, whatever their order. It is a 600th of float32's rounding: what
is computed in float32 by mistake is found out.
"""


class _WithoutFloat32:
    """`torch`, but float32 is float64."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, "float64" if name in ("float32", "float") else name)


@contextlib.contextmanager
def float64() -> Iterator[None]:
    """Whatever is made without a type is float64, and so is what asks for float32 by name, in our
    code and in the models of transformers: both do where low precisions need it.
    """
    before = torch.get_default_dtype()
    with contextlib.ExitStack() as stack:
        # Not in torch itself, which keeps tables of its types.
        for name, module in list(sys.modules.items()):
            if name.startswith(NAMES_FLOAT32) and vars(module).get("torch") is torch:
                stack.enter_context(patch.object(module, "torch", _WithoutFloat32()))
        stack.enter_context(patch.object(Tensor, "float", Tensor.double))
        stack.callback(torch.set_default_dtype, before)
        torch.set_default_dtype(torch.float64)
        yield


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


def float32_may_differ_by(numbers: Callable[[], np.ndarray], *, n_terms: int) -> np.ndarray:
    """How far apart two runs in float32 may end that are equal but for rounding.

    `numbers` builds models, trains them and tells what came out. A sum of n terms in float32 is the
    exact sum of terms that are each off by n roundings of 2^-24, in whatever order it is made
    (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). What initial weights that
    are off by one rounding make of the numbers is found in float64; `n_terms` is the longest sum,
    and there are two runs.
    """
    init_weights = Decoder.init_weights

    def off_by_one_rounding(model: Decoder, **settings: float) -> None:
        init_weights(model, **settings)  # pyright: ignore[reportArgumentType]
        generator = torch.Generator().manual_seed(0)
        for parameter in model.parameters():
            # Trials start from the same weights, and so they do here.
            one = parameter if model.n_trials is None else parameter[:1]
            signs = 2 * torch.randint(0, 2, one.shape, generator=generator) - 1
            parameter.data.mul_(1 + 2.0**-24 * signs)

    with float64():
        exact = numbers()
        with patch.object(Decoder, "init_weights", off_by_one_rounding):
            off = numbers()
    return 2 * n_terms * (np.abs(off - exact) + 2.0**-24 * np.abs(exact))


def about(value: Any, *, rel: float) -> Any:
    """What equals `value` up to rounding: `pytest.approx` for every number in it, also inside of
    lists, mappings and texts that hold JSON.
    """
    if isinstance(value, str) and value[:1] in ("[", "{"):
        return _AboutJson(about(json.loads(value), rel=rel))
    if isinstance(value, Mapping):
        return {key: about(one, rel=rel) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [about(one, rel=rel) for one in value]
    return pytest.approx(value, rel=rel) if isinstance(value, float) else value


class _AboutJson:
    """Equals a text whose JSON equals this."""

    def __init__(self, expected: Any) -> None:
        self.expected = expected

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and json.loads(other) == self.expected

    def __repr__(self) -> str:
        return f"JSON of {self.expected!r}"

    __hash__ = None  # pyright: ignore[reportAssignmentType]

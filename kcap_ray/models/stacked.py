"""Layers whose weights may carry leading axes: several models, or several experts, at once.

Shapes: S the product of the leading axes of a stack (for the trials of a cell it is E), M rows, I
and O widths in and out, D model width. Without leading axes a layer is the plain one on [M, I].
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kcap_ray.models.spec import ModelSpec

BIAS_APART = ("cuda",)
"""Kinds of device on which biases are added after the products. There cuBLAS would first fill the
result with them, a pass over memory for each layer; compiled, the addition is part of what follows.
"""


class StackedLinear(nn.Module):
    """y = x W^T + b on [S, M, I], with a W [O, I] for each place of the stack."""

    def __init__(self, stack: tuple[int, ...], d_in: int, d_out: int, *, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(*stack, d_out, d_in))
        self.bias = nn.Parameter(torch.zeros(*stack, d_out)) if bias else None

    def forward(self, x_SMI: Tensor) -> Tensor:
        weight_SIO = self.weight.flatten(0, -3).mT
        if self.bias is None:
            return torch.bmm(x_SMI, weight_SIO)
        if x_SMI.device.type in BIAS_APART:
            y_SMO = torch.bmm(x_SMI, weight_SIO)
            return y_SMO + self.bias.flatten(0, -2).unsqueeze(1).to(y_SMO.dtype)
        return torch.baddbmm(self.bias.flatten(0, -2).unsqueeze(1), x_SMI, weight_SIO)


def linear(
    stack: tuple[int, ...], d_in: int, d_out: int, *, bias: bool
) -> nn.Linear | StackedLinear:
    """A linear layer, stacked where there is a stack; its weights are still to be drawn.

    Without a stack it is torch's own, which is what quantizers look for, made without drawing from
    the global generator.
    """
    if stack:
        return StackedLinear(stack, d_in, d_out, bias=bias)
    layer = nn.utils.skip_init(nn.Linear, d_in, d_out, bias=bias)
    assert isinstance(layer, nn.Linear)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def without_autocast(layer: nn.Linear | StackedLinear, x: Tensor) -> Tensor:
    """What the layer makes of x, computed at the precision of its weights."""
    with torch.autocast(x.device.type, enabled=False):
        return layer(x.to(layer.weight.dtype))


class Norm(nn.Module):
    """LayerNorm (arXiv 1607.06450) or RMSNorm (arXiv 1910.07467) over the width of [*S, M, D]."""

    def __init__(self, trials: tuple[int, ...], spec: ModelSpec) -> None:
        super().__init__()
        self.eps = spec.norm_eps
        self.is_rms = spec.norm == "rmsnorm"
        self.weight = nn.Parameter(torch.ones(*trials, spec.d_model))
        has_bias = spec.bias and not self.is_rms
        self.bias = nn.Parameter(torch.zeros(*trials, spec.d_model)) if has_bias else None

    def forward(self, x_SMD: Tensor) -> Tensor:
        width = x_SMD.shape[-1:]
        if self.weight.dim() == 1:
            if self.is_rms:
                return F.rms_norm(x_SMD, width, self.weight, self.eps)
            return F.layer_norm(x_SMD, width, self.weight, self.bias, self.eps)
        if self.is_rms:
            return F.rms_norm(x_SMD, width, eps=self.eps) * self.weight.unsqueeze(1)
        normed_SMD = F.layer_norm(x_SMD, width, eps=self.eps)
        if self.bias is None:
            return normed_SMD * self.weight.unsqueeze(1)
        return torch.addcmul(self.bias.unsqueeze(1), normed_SMD, self.weight.unsqueeze(1))

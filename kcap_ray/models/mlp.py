"""The position-wise network, of one model or of a stack of experts.

Shapes as in decoder.py; F hidden width.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from kcap_ray.models.canon import canon_at
from kcap_ray.models.spec import Activation, ModelSpec
from kcap_ray.models.stacked import linear


def activate(name: Activation, x: Tensor) -> Tensor:
    """GPT-2's tanh form of GELU (arXiv 1606.08415), SiLU, or the square of ReLU (Primer, arXiv
    2109.08668).
    """
    if name == "gelu":
        return F.gelu(x, approximate="tanh")
    return F.silu(x) if name == "silu" else F.relu(x).square()


class Mlp(nn.Module):
    """act(x W1) W2, or with a gate (act(x W1) * x W3) W2."""

    def __init__(self, stack: tuple[int, ...], spec: ModelSpec) -> None:
        super().__init__()
        self.is_gated = spec.mlp == "gated"
        self.activation: Activation = spec.activation
        d_hidden = (2 if self.is_gated else 1) * spec.d_ff
        self.up = linear(stack, spec.d_model, d_hidden, bias=spec.bias)
        self.canon_d = canon_at("D", stack, spec, d_hidden)
        self.down = linear(stack, spec.d_ff, spec.d_model, bias=spec.bias)

    def forward(self, x_EMD: Tensor, n_tokens: int) -> Tensor:
        hidden = self.up(x_EMD)
        if self.canon_d is not None:
            hidden = self.canon_d(hidden, n_tokens)
        if not self.is_gated:
            return self.down(activate(self.activation, hidden))
        gate, value = hidden.chunk(2, dim=-1)
        return self.down(activate(self.activation, gate) * value)

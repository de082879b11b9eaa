"""Canon layers: each channel adds up its last four tokens (arXiv 2512.17351, "Physics of Language
Models: Part 4.1").

Shapes: E trials, B sequences, T tokens, M = B*T positions, W channels, K taps. `*E` is the trials
axis where there is one.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kcap_ray.models.counts import CANON_KERNEL
from kcap_ray.models.spec import ModelSpec


class Canon(nn.Module):
    """y_t = x_t + sum over k = 0..3 of taps_k * x_{t-k}: a causal depthwise convolution with a
    residual, without bias or activation.
    """

    def __init__(self, trials: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.taps = nn.Parameter(torch.zeros(*trials, width, CANON_KERNEL))

    def forward(self, x_EMW: Tensor, n_tokens: int) -> Tensor:
        """`n_tokens`: rows of x that make one sequence; no tap reaches into another one."""
        x_EBTW = x_EMW.unflatten(-2, (-1, n_tokens))
        padded_EBTW = F.pad(x_EBTW, (0, 0, CANON_KERNEL - 1, 0))
        taps_KE11W = self.taps.movedim(-1, 0).unsqueeze(-2).unsqueeze(-2).to(x_EMW.dtype)
        for k, taps_E11W in enumerate(taps_KE11W):
            start = CANON_KERNEL - 1 - k
            x_EBTW = torch.addcmul(x_EBTW, padded_EBTW[..., start : start + n_tokens, :], taps_E11W)
        return x_EBTW.flatten(-3, -2)


def canon_at(site: str, trials: tuple[int, ...], spec: ModelSpec, width: int) -> Canon | None:
    """The layer at `site`, one of A, B, C, D, if the model has it there."""
    return Canon(trials, width) if site in spec.canon else None

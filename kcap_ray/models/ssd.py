"""A state-space mixer: Mamba-2's structured state-space duality (arXiv 2405.21060), in the form of
one masked product of matrices, which any device trains.

Shapes as in decoder.py; here B counts the sequences of all trials together.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kcap_ray.models.canon import canon_at
from kcap_ray.models.spec import ModelSpec
from kcap_ray.models.stacked import linear, without_autocast

LONGEST_MEMORY = 1_000.0
"""Tokens until the slowest head has forgotten all but 1/e, at the start. Mamba-2's code draws step
sizes from 0.001 to 0.1 and rates from 1 to 16: memories, 1 / (step size * rate), of 0.6 to 1,000.
"""


def ssd(q_BHTC: Tensor, k_BHTC: Tensor, v_BHTC: Tensor, log_decay_BHT: Tensor) -> Tensor:
    """y_t = sum over s <= t of exp(log_decay_{s+1} + ... + log_decay_t) (q_t . k_s) v_s, [B, H, T,
    C] (arXiv 2405.21060, equation 16).

    It is what the recurrence S_t = exp(log_decay_t) S_{t-1} + k_t v_t^T, y_t = q_t S_t gives. Time
    and memory are quadratic in T, as those of attention.
    """
    n_tokens = log_decay_BHT.shape[-1]
    total_BHT = running_sum(log_decay_BHT)
    is_ahead_TS = torch.ones(n_tokens, n_tokens, dtype=torch.bool, device=v_BHTC.device).triu(1)
    # Masked before the exponential, which would overflow for what lies ahead.
    log_weight_BHTS = (total_BHT.unsqueeze(-1) - total_BHT.unsqueeze(-2)).masked_fill(
        is_ahead_TS, -math.inf
    )
    scores_BHTS = (q_BHTC @ k_BHTC.mT) * log_weight_BHTS.exp()
    return scores_BHTS.to(v_BHTC.dtype) @ v_BHTC


SUMS_BY_PRODUCT = ("cuda",)
"""Kinds of device on which running sums are products of matrices: compiling torch's own for one
failed at some shapes (torch 2.11).
"""


def running_sum(x_BHT: Tensor) -> Tensor:
    """Sums over the tokens up to each, itself among them, at the precision of the terms."""
    if x_BHT.device.type not in SUMS_BY_PRODUCT:
        return x_BHT.cumsum(dim=-1)
    n_tokens = x_BHT.shape[-1]
    up_to_TT = torch.ones(n_tokens, n_tokens, dtype=x_BHT.dtype, device=x_BHT.device).triu()
    with torch.autocast(x_BHT.device.type, enabled=False):
        return x_BHT @ up_to_TT


def initial_step_biases(n_head: int) -> Tensor:
    """Biases [H] that give head h a memory of 1000^((h + 1) / (H + 1)) tokens, at a rate of 1.

    softplus(bias) is the step size, 1 / memory. Two heads remember 10 and 100 tokens.
    """
    memories = [LONGEST_MEMORY ** ((h + 1) / (n_head + 1)) for h in range(n_head)]
    return torch.tensor([math.log(math.expm1(1 / memory)) for memory in memories])


class Ssd(nn.Module):
    """Heads as wide as those of attention, with states of head_dim x head_dim.

    For head h and token t, with q, k and v in the place of Mamba-2's C, B and x: step size
    dt = softplus(w_h . x_t + b_h); the state decays by exp(-rate_h dt), then k_t (dt v_t)^T is
    written and q_t reads. What is read is scaled to a root mean square of 1 and projected back.

    Unlike Mamba-2 it has no output gate and no skip, so that it has the weights of the attention
    whose place it takes and H (d + 2) more; Mamba-2's short convolution is here Canon layer B.
    Decay tells places apart, so there is no rotary embedding.
    """

    def __init__(self, trials: tuple[int, ...], spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        d_qkv = spec.d_model + 2 * spec.d_kv
        self.qkv = linear(trials, spec.d_model, d_qkv, bias=spec.bias)
        self.canon_b = canon_at("B", trials, spec, d_qkv)
        self.step = linear(trials, spec.d_model, spec.n_head, bias=True)
        assert self.step.bias is not None
        with torch.no_grad():
            self.step.bias.copy_(initial_step_biases(spec.n_head))
        self.log_rate = nn.Parameter(torch.zeros(*trials, spec.n_head))
        self.out = linear(trials, spec.d_model, spec.d_model, bias=spec.bias)

    def forward(self, x_EMD: Tensor, cos_TC: Tensor, sin_TC: Tensor) -> Tensor:
        spec, n_tokens = self.spec, cos_TC.shape[0]
        qkv = self.qkv(x_EMD)
        if self.canon_b is not None:
            qkv = self.canon_b(qkv, n_tokens)
        sizes = [spec.n_head, spec.n_kv_head, spec.n_kv_head]
        heads = qkv.view(-1, n_tokens, sum(sizes), spec.head_dim).transpose(1, 2)
        q_BHTC, k_BKTC, v_BKTC = heads.split(sizes, dim=1)
        n_sharing = spec.n_head // spec.n_kv_head
        k_BHTC = k_BKTC.repeat_interleave(n_sharing, dim=1)
        v_BHTC = v_BKTC.repeat_interleave(n_sharing, dim=1)

        step_EMH = F.softplus(without_autocast(self.step, x_EMD))
        log_decay_EMH = -step_EMH * self.log_rate.exp().unsqueeze(-2)
        step_BHT, log_decay_BHT = (
            x_EMH.reshape(-1, n_tokens, spec.n_head).transpose(1, 2)
            for x_EMH in (step_EMH, log_decay_EMH)
        )
        y_BHTC = ssd(q_BHTC, k_BHTC, v_BHTC * step_BHT.unsqueeze(-1), log_decay_BHT)
        y_BHTC = F.rms_norm(y_BHTC, (spec.head_dim,), eps=spec.norm_eps)
        return self.out(y_BHTC.transpose(1, 2).reshape(x_EMD.shape))

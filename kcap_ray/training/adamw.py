"""AdamW for fused trials: every trial has its own learning rate and weight decay, all are stepped
at once.

Shapes: E trials, P weights of a trial, D of them that decay.
"""

import torch
from torch import Tensor

from kcap_ray.config.cell import TrainConfig


class AdamW:
    """AdamW (arXiv 1711.05101, algorithm 2) over E trials, bias-corrected as `torch.optim.AdamW`
    does it.
    """

    def __init__(
        self,
        weights_EP: Tensor,
        n_decayed: int,
        *,
        lr_E1: Tensor,
        decay_rate_E1: Tensor,
        train: TrainConfig,
    ) -> None:
        """`n_decayed`: weights of a trial, the first ones, that decay by `decay_rate_E1` = lr *
        weight decay.
        """
        self.weights_EP = weights_EP
        self.decayed_ED = weights_EP[:, :n_decayed]
        self.lr_E1, self.decay_rate_E1 = lr_E1, decay_rate_E1
        self.betas, self.eps = (train.beta1, train.beta2), train.eps
        self.moment1_EP = torch.zeros_like(weights_EP)
        self.moment2_EP = torch.zeros_like(weights_EP)
        self.n_updates_E1 = torch.zeros_like(lr_E1)

    def step(self, grad_EP: Tensor, lr_ratio: float | Tensor) -> None:
        """One update at `lr_ratio` of each trial's learning rate."""
        beta1, beta2 = self.betas
        self.n_updates_E1 += 1
        self.decayed_ED.mul_(1 - lr_ratio * self.decay_rate_E1)
        self.moment1_EP.lerp_(grad_EP, 1 - beta1)
        self.moment2_EP.mul_(beta2).addcmul_(grad_EP, grad_EP, value=1 - beta2)
        correction1_E1 = 1 - beta1**self.n_updates_E1
        correction2_E1 = 1 - beta2**self.n_updates_E1
        denominator_EP = (self.moment2_EP.sqrt() / correction2_E1.sqrt()).add_(self.eps)
        step_size_E1 = -lr_ratio * self.lr_E1 / correction1_E1
        self.weights_EP.addcmul_(self.moment1_EP / denominator_EP, step_size_E1)

    def state(self) -> dict[str, Tensor]:
        """Moments and number of updates, to be saved."""
        return {
            "moment1": self.moment1_EP,
            "moment2": self.moment2_EP,
            "n_updates": self.n_updates_E1,
        }

"""AdamW for fused trials: every trial has its own learning rate and weight decay, all are stepped
at once.

The weights of all trials live in one buffer [E, P], and each parameter of the model is a view into
it. So a step is a handful of operations however many parameters the model has, which is what a
small model's step is made of.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kcap_ray.cell import TrainConfig
from kcap_ray.models.decoder import is_matrix


class FusedAdamW:
    """AdamW (arXiv 1711.05101, algorithm 2) over E trials, bias-corrected as `torch.optim.AdamW`
    does it.

    Decays weight matrices and embeddings only; the paper says no more than "AdamW", see
    docs/decisions.md.
    """

    def __init__(
        self,
        model: nn.Module,
        lr: Sequence[float],
        weight_decay: Sequence[float],
        train: TrainConfig,
    ) -> None:
        n_trials = len(lr)
        named = list(model.named_parameters())
        self.parameters = [parameter for _, parameter in named]
        device = self.parameters[0].device
        self.grad_clip = train.grad_clip
        self.betas, self.eps = (train.beta1, train.beta2), train.eps
        self.lr_E1 = torch.tensor(lr, dtype=torch.float32, device=device).unsqueeze(1)
        decay = torch.tensor(weight_decay, dtype=torch.float32, device=device).unsqueeze(1)
        self.decay_rate_E1 = self.lr_E1 * decay
        self.weights_EP = torch.cat(
            [parameter.detach().reshape(n_trials, -1) for parameter in self.parameters], dim=1
        )
        self.moment1_EP = torch.zeros_like(self.weights_EP)
        self.moment2_EP = torch.zeros_like(self.weights_EP)
        self.n_updates_E1 = torch.zeros(n_trials, 1, device=device)
        self.decayed_slices: list[slice] = []
        start = 0
        for name, parameter in named:
            stop = start + parameter.numel() // n_trials
            parameter.data = self.weights_EP[:, start:stop].view(parameter.shape)
            if is_matrix(name):
                self._add_decayed(start, stop)
            start = stop

    def _add_decayed(self, start: int, stop: int) -> None:
        if self.decayed_slices and self.decayed_slices[-1].stop == start:
            start = self.decayed_slices.pop().start
        self.decayed_slices.append(slice(start, stop))

    def gradient(self) -> Tensor:
        """The gradient [E, P] that backward left in the parameters, which are cleared."""
        n_trials = self.weights_EP.shape[0]
        grads = []
        for parameter in self.parameters:
            assert parameter.grad is not None, "every parameter takes part in the loss"
            grads.append(parameter.grad.reshape(n_trials, -1))
            parameter.grad = None
        return torch.cat(grads, dim=1)

    def clip(self, grad_EP: Tensor) -> Tensor:
        """The gradient, each trial's scaled down to norm `grad_clip` where it is longer."""
        if self.grad_clip is None:
            return grad_EP
        norm_E1 = torch.linalg.vector_norm(grad_EP, dim=1, keepdim=True)
        return grad_EP * (self.grad_clip / norm_E1).clamp(max=1.0)

    @torch.no_grad()
    def step(self, grad_EP: Tensor, lr_ratio: float, active_E1: Tensor | None = None) -> None:
        """One update at `lr_ratio` of each trial's learning rate; trials that are not active stay
        as they are.
        """
        beta1, beta2 = self.betas
        if active_E1 is not None and not bool(active_E1.all()):
            return self._masked_step(grad_EP, lr_ratio, active_E1)
        self.n_updates_E1 += 1
        for part in self.decayed_slices:
            self.weights_EP[:, part].mul_(1 - lr_ratio * self.decay_rate_E1)
        self.moment1_EP.lerp_(grad_EP, 1 - beta1)
        self.moment2_EP.mul_(beta2).addcmul_(grad_EP, grad_EP, value=1 - beta2)
        correction1_E1 = 1 - beta1**self.n_updates_E1
        correction2_E1 = 1 - beta2**self.n_updates_E1
        denominator_EP = (self.moment2_EP.sqrt() / correction2_E1.sqrt()).add_(self.eps)
        step_size_E1 = -lr_ratio * self.lr_E1 / correction1_E1
        self.weights_EP.addcmul_(self.moment1_EP / denominator_EP, step_size_E1)
        return None

    def _masked_step(self, grad_EP: Tensor, lr_ratio: float, active_E1: Tensor) -> None:
        state = (self.weights_EP, self.moment1_EP, self.moment2_EP, self.n_updates_E1)
        before = [tensor.clone() for tensor in state]
        self.step(grad_EP, lr_ratio)
        for tensor, old in zip(state, before, strict=True):
            tensor.copy_(torch.where(active_E1, tensor, old))

    def state(self) -> dict[str, Tensor]:
        """Weights and moments, to be saved."""
        return {
            "weights": self.weights_EP,
            "moment1": self.moment1_EP,
            "moment2": self.moment2_EP,
            "n_updates": self.n_updates_E1,
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Inverse of `state`; the model's parameters follow, since they are views."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])

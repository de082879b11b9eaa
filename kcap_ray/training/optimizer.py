"""The optimizer of fused trials: every trial has its own learning rate and weight decay, all are
stepped at once.

Weight matrices and embeddings decay, biases and norms do not; the paper says no more than "AdamW",
see docs/decisions/ (0028).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from kcap_ray.config.cell import TrainConfig
from kcap_ray.models.decoder import Decoder, is_matrix
from kcap_ray.models.own_model import OwnModel
from kcap_ray.training.adamw import AdamW
from kcap_ray.training.flat_weights import FlatWeights
from kcap_ray.training.muon import Muon
from kcap_ray.training.muon_matrices import matrices_inside


def decaying(model: Decoder | OwnModel) -> set[str]:
    """Names of the weights that decay."""
    if isinstance(model, OwnModel):
        return {name for name, role in model.roles.items() if role != "plain"}
    return {name for name, _ in model.named_parameters() if is_matrix(name)}


class FusedOptimizer:
    """Steps the weights [E, P] of a model with E trials by AdamW, or in part by Muon."""

    def __init__(
        self,
        model: Decoder | OwnModel,
        lr: Sequence[float],
        weight_decay: Sequence[float],
        train: TrainConfig,
    ) -> None:
        """`lr` and `weight_decay` have one entry per trial."""
        inside = matrices_inside(model) if train.optimizer == "muon" else {}
        decays = decaying(model)
        trained = [named for named in model.named_parameters() if named[1].requires_grad]
        # What decays comes first and what Muon steps last: each is one stretch of the buffer.
        named = sorted(trained, key=lambda named: (named[0] in inside, named[0] not in decays))
        self._flat = FlatWeights(named, n_trials=len(lr))
        self.grad_clip = train.grad_clip
        device = self.weights_EP.device
        lr_E1 = torch.tensor(lr, dtype=torch.float32, device=device).unsqueeze(1)
        decay = torch.tensor(weight_decay, dtype=torch.float32, device=device).unsqueeze(1)
        rates = {"lr_E1": lr_E1, "decay_rate_E1": lr_E1 * decay}
        places = self._flat.places
        n_adamw = min((places[name].start for name in inside), default=self.weights_EP.shape[1])
        by_adamw, by_muon = slice(0, n_adamw), slice(n_adamw, None)
        n_decayed = max(
            (places[n].stop for n, _ in named if n in decays and n not in inside), default=0
        )
        self._rules: list[tuple[slice, AdamW | Muon]] = [
            (by_adamw, AdamW(self.weights_EP[:, by_adamw], n_decayed, train=train, **rates))
        ]
        if inside:
            matrices = [one for name, _ in named if name in inside for one in inside[name]]
            dtype = self.weights_EP.dtype if train.number_format == "fp32" else torch.bfloat16
            muon = Muon(self.weights_EP[:, by_muon], matrices, dtype=dtype, **rates)
            self._rules.append((by_muon, muon))

    @property
    def weights_EP(self) -> Tensor:
        """All weights of each trial; the model's parameters are views of them."""
        return self._flat.weights_EP

    @property
    def names(self) -> list[str]:
        """The model's parameters in the order in which they lie in the weights."""
        return list(self._flat.places)

    def gradient(self) -> Tensor:
        """The gradient [E, P] that backward left in the parameters, which are cleared."""
        return self._flat.take_gradient()

    def clip(self, grad_EP: Tensor) -> Tensor:
        """The gradient, each trial's scaled down to norm `grad_clip` where it is longer."""
        if self.grad_clip is None:
            return grad_EP
        norm_E1 = torch.linalg.vector_norm(grad_EP, dim=1, keepdim=True)
        return grad_EP * (self.grad_clip / norm_E1).clamp(max=1.0)

    @torch.no_grad()
    def step(
        self, grad_EP: Tensor, lr_ratio: float | Tensor, active_E1: Tensor | None = None
    ) -> None:
        """One update at `lr_ratio` of each trial's learning rate; trials that are not active stay
        as they are (None: all are).
        """
        if active_E1 is None:
            return self._step_all(grad_EP, lr_ratio)
        before = {name: tensor.clone() for name, tensor in self.state().items()}
        self._step_all(grad_EP, lr_ratio)
        for name, tensor in self.state().items():
            tensor.copy_(torch.where(active_E1, tensor, before[name]))

    def _step_all(self, grad_EP: Tensor, lr_ratio: float | Tensor) -> None:
        for place, rule in self._rules:
            rule.step(grad_EP[:, place], lr_ratio)

    def state(self) -> dict[str, Tensor]:
        """Weights and moments, to be saved."""
        state = {"weights": self.weights_EP}
        for _, rule in self._rules:
            state |= rule.state()
        return state

    def load(self, state: dict[str, Tensor]) -> None:
        """Inverse of `state`; the model's parameters follow, since they are views."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])

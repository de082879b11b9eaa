"""Mixed precision: the autocast of the forward pass, and loss scaling for fp16 with one scale per
trial.
"""

import contextlib
from typing import Any

import torch
from torch import Tensor

from kcap_ray.config.cell import Precision

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """The context in which the forward pass runs; weights stay in float32."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=_DTYPES[precision])


class LossScaler:
    """Dynamic loss scaling (arXiv 1710.03740, section 3.2), with a scale of its own for each trial.

    Halves a trial's scale when its gradient overflows, doubles it after `growth_interval` steps
    that did not (the constants of `torch.amp.GradScaler`). A trial whose gradient overflowed skips
    the step. Without fp16 the scale is 1 for ever and nothing is checked.
    """

    growth_interval = 2_000

    def __init__(self, precision: Precision, n_trials: int, device: torch.device) -> None:
        self.enabled = precision == "fp16"
        initial = 2.0**16 if self.enabled else 1.0
        self.scale_E = torch.full((n_trials,), initial, device=device)
        self.good_steps_E = torch.zeros(n_trials, dtype=torch.int64, device=device)

    def scaled(self, loss_E: Tensor) -> Tensor:
        """The scalar to call backward on: trials are independent, so the gradient of their sum is
        each one's own.
        """
        return (loss_E * self.scale_E).sum() if self.enabled else loss_E.sum()

    def unscale(self, grad_EP: Tensor) -> tuple[Tensor, Tensor | None]:
        """The true gradient [E, P], and which trials may step [E, 1] (None: all); adapts the
        scales.
        """
        if not self.enabled:
            return grad_EP, None
        grad_EP = grad_EP / self.scale_E.unsqueeze(1)
        finite_E = torch.isfinite(grad_EP).all(dim=1)
        good_steps_E = torch.where(finite_E, self.good_steps_E + 1, 0)
        grow_E = good_steps_E >= self.growth_interval
        # In place: a recorded step finds its state where it was.
        self.scale_E.copy_(
            torch.where(finite_E, self.scale_E * (1 + grow_E.float()), self.scale_E / 2)
        )
        self.good_steps_E.copy_(torch.where(grow_E, 0, good_steps_E))
        return grad_EP, finite_E.unsqueeze(1)

    def state(self) -> dict[str, Tensor]:
        """Scales and counters, to be saved."""
        return {"scale": self.scale_E, "good_steps": self.good_steps_E}

    def load(self, state: dict[str, Tensor]) -> None:
        """Inverse of `state`."""
        self.scale_E.copy_(state["scale"])
        self.good_steps_E.copy_(state["good_steps"])

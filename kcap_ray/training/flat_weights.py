"""All weights of E fused trials in one buffer [E, P]; each parameter of the model is a view of it.

So what an optimizer does to all weights alike is a handful of operations however many parameters
there are, and these are what a small model's step is made of.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FlatWeights:
    """The parameters of a model with E trials, in the order in which they are named."""

    def __init__(self, named: Sequence[tuple[str, nn.Parameter]], n_trials: int) -> None:
        """Moves the parameters into the buffer; the model goes on with the views."""
        self._parameters = [parameter for _, parameter in named]
        self.weights_EP = torch.cat(
            [parameter.detach().reshape(n_trials, -1) for parameter in self._parameters], dim=1
        )
        self.places: dict[str, slice] = {}
        """Where in a trial's row of the buffer each parameter lies."""
        start = 0
        for name, parameter in named:
            stop = start + parameter.numel() // n_trials
            parameter.data = self.weights_EP[:, start:stop].view(parameter.shape)
            self.places[name] = slice(start, stop)
            start = stop

    def take_gradient(self) -> Tensor:
        """The gradient [E, P] that backward left in the parameters, which are cleared."""
        n_trials = self.weights_EP.shape[0]
        grads = []
        for parameter in self._parameters:
            # Of a model that is brought along some may take no part, as an expert without tokens.
            grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            grads.append(grad.reshape(n_trials, -1))
            parameter.grad = None
        return torch.cat(grads, dim=1)

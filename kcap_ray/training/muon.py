"""Muon for fused trials: a matrix moves along its momentum with all singular values made nearly
equal.

Shapes: E trials, Q weights of a trial that Muon steps, N matrices of one shape, R rows, C columns.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# K. Jordan and others, "Muon: an optimizer for hidden layers in neural networks" (2024): momentum,
# number of iterations, coefficients of the quintic, and what keeps a norm of 0 from dividing.
MOMENTUM = 0.95
N_ITERATIONS = 5
QUINTIC = (3.4445, -4.7750, 2.0315)
EPS = 1e-7

RMS_OF_ADAMW = 0.2
"""Root mean square of the entries of an update of AdamW, which Muon's is scaled to (arXiv
2502.16982, section 2.2).
"""


class Matrices(NamedTuple):
    """Matrices of one shape that lie one after another among the weights of a trial."""

    n: int
    n_rows: int
    n_columns: int

    @property
    def n_weights(self) -> int:
        """Entries of all of them."""
        return self.n * self.n_rows * self.n_columns


def orthogonalized(matrices_NRC: Tensor) -> Tensor:
    """Each matrix U S V^T as U f(S / |S|) V^T, with f five times the quintic a x + b x^3 + c x^5.

    f maps all of [0.002, 1] into [0.68, 1.21], so the result is nearly the closest matrix with
    orthonormal rows or columns. Singular values that are a smaller share of the Frobenius norm |S|
    come out smaller, 0 as 0.
    """
    is_tall = matrices_NRC.shape[1] > matrices_NRC.shape[2]
    x_NRC = matrices_NRC.mT if is_tall else matrices_NRC
    x_NRC = x_NRC / (x_NRC.float().norm(dim=(1, 2), keepdim=True) + EPS).to(x_NRC.dtype)
    a, b, c = QUINTIC
    for _ in range(N_ITERATIONS):
        gram_NRR = x_NRC @ x_NRC.mT
        polynomial_NRR = torch.baddbmm(gram_NRR, gram_NRR, gram_NRR, beta=b, alpha=c)
        x_NRC = torch.baddbmm(x_NRC, polynomial_NRR, x_NRC, beta=a)
    return x_NRC.mT if is_tall else x_NRC


class Muon:
    """Muon with Nesterov momentum and decoupled weight decay, scaled as in arXiv 2502.16982,
    section 2.2: M <- 0.95 M + G, then
    W <- (1 - lr decay) W - lr 0.2 sqrt(max(R, C)) orthogonalized(G + 0.95 M).

    With that scale an entry moves about as far as under AdamW, whose learning rates and weight
    decays therefore carry over.
    """

    def __init__(
        self,
        weights_EQ: Tensor,
        matrices: Sequence[Matrices],
        *,
        lr_E1: Tensor,
        decay_rate_E1: Tensor,
        dtype: torch.dtype,
    ) -> None:
        """`matrices` fill the weights in this order; `dtype` is that of the products in the
        orthogonalization, all else stays in float32.
        """
        self.weights_EQ = weights_EQ
        self._matrices = matrices
        self.lr_E1, self.decay_rate_E1 = lr_E1, decay_rate_E1
        self.dtype = dtype
        self.momentum_EQ = torch.zeros_like(weights_EQ)
        by_shape: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for index, some in enumerate(matrices):
            by_shape[some.n_rows, some.n_columns].append(index)
        self._by_shape = dict(by_shape)

    @torch.no_grad()
    def step(self, grad_EQ: Tensor, lr_ratio: float | Tensor) -> None:
        """One update at `lr_ratio` of each trial's learning rate."""
        self.momentum_EQ.mul_(MOMENTUM).add_(grad_EQ)
        update_EQ = self._update(grad_EQ.add(self.momentum_EQ, alpha=MOMENTUM))
        self.weights_EQ.mul_(1 - lr_ratio * self.decay_rate_E1)
        self.weights_EQ.addcmul_(update_EQ, -lr_ratio * self.lr_E1)

    def _update(self, direction_EQ: Tensor) -> Tensor:
        """The direction with every matrix orthogonalized and scaled; equal shapes at once."""
        n_trials = direction_EQ.shape[0]
        pieces = list(direction_EQ.split([some.n_weights for some in self._matrices], dim=1))
        for (n_rows, n_columns), group in self._by_shape.items():
            stacked_NRC = torch.cat([pieces[i].reshape(-1, n_rows, n_columns) for i in group])
            scale = RMS_OF_ADAMW * max(n_rows, n_columns) ** 0.5
            moved_NRC = orthogonalized(stacked_NRC.to(self.dtype)).to(direction_EQ.dtype) * scale
            sizes = [n_trials * self._matrices[i].n for i in group]
            for i, moved in zip(group, moved_NRC.split(sizes), strict=True):
                pieces[i] = moved.reshape(n_trials, -1)
        return torch.cat(pieces, dim=1)

    def state(self) -> dict[str, Tensor]:
        """The momentum, to be saved."""
        return {"momentum": self.momentum_EQ}

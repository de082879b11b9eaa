"""Mixture of experts: each token is worked on by the experts that a router sends it to (Switch
Transformer, arXiv 2101.03961).

In training all shapes are fixed by the batch alone: each expert has room for a fixed number of
tokens, empty places are computed and thrown away, and tokens beyond are dropped: the residual
stream passes them by. Places are given out in the order of the batch, so no token's place depends
on a later one.

Outside of training nothing is dropped: those that find no place wait for the next pass through the
experts. So what is said of a token depends on the tokens before it in its sequence alone, and not
on the rest of the batch, or on padding.

Shapes: E trials, M positions, D model width, X experts, K experts per token, P places of an expert.
`*E` is the trials axis where there is one.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kcap_ray.models.spec import ModelSpec
from kcap_ray.models.stacked import linear, without_autocast


@dataclass(frozen=True)
class Dispatch:
    """Who works on what."""

    token_EXP: Tensor
    """The token in each place; 0 in an empty one."""
    place_EMK: Tensor
    """Each token's place, expert * P + place of that expert; 0 for a dropped one."""
    is_kept_EMK: Tensor
    """Whether there was a place."""


def capacity(spec: ModelSpec, n_tokens: int) -> int:
    """Places of each expert: its even share of the choices times the capacity factor, rounded up
    (arXiv 2101.03961, equation 3), and never more than there are tokens.
    """
    share = spec.experts_per_token * n_tokens / spec.n_expert
    return min(n_tokens, math.ceil(spec.capacity_factor * share))


def dispatch(chosen_EMK: Tensor, n_expert: int, n_places: int, n_passed: int = 0) -> Dispatch:
    """Give out the places, first come, first served; a token's first choice before its second.

    The first `n_passed` of each expert had places before, and get none.
    """
    n_trials, n_tokens, n_choices = chosen_EMK.shape
    chosen_EC = chosen_EMK.flatten(1)
    is_chosen_ECX = F.one_hot(chosen_EC, n_expert)
    n_before_EC = is_chosen_ECX.cumsum(dim=1).gather(2, chosen_EC.unsqueeze(-1)).squeeze(-1) - 1
    n_before_EC = n_before_EC - n_passed
    is_kept_EC = (n_before_EC >= 0) & (n_before_EC < n_places)
    place_EC = torch.where(is_kept_EC, chosen_EC * n_places + n_before_EC, n_expert * n_places)
    token_C = torch.arange(n_tokens, device=chosen_EMK.device).repeat_interleave(n_choices)
    # One place more than there are, where all the dropped ones are written.
    token_EP = torch.zeros(
        n_trials, n_expert * n_places + 1, dtype=torch.int64, device=chosen_EMK.device
    ).scatter(1, place_EC, token_C.expand_as(place_EC))
    return Dispatch(
        token_EXP=token_EP[:, :-1].unflatten(1, (n_expert, n_places)),
        place_EMK=(place_EC * is_kept_EC).view(chosen_EMK.shape),
        is_kept_EMK=is_kept_EC.view(chosen_EMK.shape),
    )


def rows(x_EMD: Tensor, index_EN: Tensor) -> Tensor:
    """Row index_EN[e, n] of x_EMD[e], as [E, N, D]."""
    n_trials, n_rows, _ = x_EMD.shape
    first_E1 = n_rows * torch.arange(n_trials, device=x_EMD.device).unsqueeze(1)
    picked = x_EMD.flatten(0, 1).index_select(0, (index_EN + first_E1).flatten())
    return picked.unflatten(0, index_EN.shape)


class MixtureOfExperts(nn.Module):
    """y = sum over the chosen experts of gate * expert(x), in training for each token that finds a
    place.

    The router is linear, and the gate is the softmax's probability of the one chosen expert (arXiv
    2101.03961, equation 2); with several, their probabilities are scaled to add up to 1 (GShard,
    arXiv 2006.16668, algorithm 1).
    """

    load_EX: Tensor

    def __init__(self, trials: tuple[int, ...], spec: ModelSpec, expert: type[nn.Module]) -> None:
        """`expert(stack, spec)` makes the MLPs of all trials and experts, as one stack."""
        super().__init__()
        self.spec = spec
        self.router = linear(trials, spec.d_model, spec.n_expert, bias=False)
        self.experts = expert((*trials, spec.n_expert), spec)
        load_EX = torch.zeros(*trials, spec.n_expert)
        self.register_buffer("load_EX", load_EX, persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """From [*E, M, D] to the change [*E, M, D] and the loss of balance [*E].

        Leaves in `load_EX` the share of the choices that fell on each expert. With it and with the
        mean probability the loss is X * sum over experts of load * probability (arXiv 2101.03961,
        equation 4): 1 when both are even, X when one expert does all.
        """
        spec = self.spec
        x_EMD = x.view(-1, *x.shape[-2:])
        probs_EMX = without_autocast(self.router, x).softmax(dim=-1).view(*x_EMD.shape[:2], -1)
        gate_EMK, chosen_EMK = probs_EMX.topk(spec.experts_per_token, dim=-1)
        if spec.experts_per_token > 1:
            gate_EMK = gate_EMK / gate_EMK.sum(dim=-1, keepdim=True)
        n_places = capacity(spec, x.shape[-2])
        change_EMD = self._pass(x_EMD, gate_EMK, dispatch(chosen_EMK, spec.n_expert, n_places))
        if not self.training:
            n_most = int(F.one_hot(chosen_EMK.flatten(1), spec.n_expert).sum(dim=1).max())
            for n_passed in range(n_places, n_most, n_places):
                to = dispatch(chosen_EMK, spec.n_expert, n_places, n_passed)
                change_EMD = change_EMD + self._pass(x_EMD, gate_EMK, to)

        load_EX = F.one_hot(chosen_EMK.flatten(1), spec.n_expert).mean(dim=1, dtype=torch.float32)
        balance_E = spec.n_expert * (load_EX * probs_EMX.mean(dim=1)).sum(dim=-1)
        with torch.no_grad():
            self.load_EX.copy_(load_EX.view(self.load_EX.shape))
        return change_EMD.view(x.shape), balance_E.view(x.shape[:-2])

    def _pass(self, x_EMD: Tensor, gate_EMK: Tensor, to: Dispatch) -> Tensor:
        """What the experts change of those that have a place [E, M, D]."""
        inputs_EPD = rows(x_EMD, to.token_EXP.flatten(1))
        n_places = to.token_EXP.shape[-1]
        outputs_EPD = self.experts(inputs_EPD.view(-1, n_places, self.spec.d_model), n_places)
        outputs_EPD = outputs_EPD.reshape(inputs_EPD.shape)
        back_EMKD = rows(outputs_EPD, to.place_EMK.flatten(1)).unflatten(1, gate_EMK.shape[1:])
        return ((gate_EMK * to.is_kept_EMK).unsqueeze(-1) * back_EMKD).sum(dim=2)

"""The decoder under study: one transformer, read from top to bottom.

GPT-2 with rotary embedding, LLaMA and Mistral, and all their variants, are settings of `ModelSpec`.
Every weight may carry a leading *trials* axis, so that E trials of one cell, each with weights of
its own, train as one program on one batch.

Shapes: E trials, B sequences, T tokens, M = B*T positions, D model width, H heads, K heads of keys
and values, C width of a head, V vocabulary. `*E` is the trials axis where there is one, and nothing
where there is none.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kcap_ray.models.attention import Attention, rotary_tables
from kcap_ray.models.canon import canon_at
from kcap_ray.models.counts import CANON_KERNEL, LOGITS_AT_ONCE
from kcap_ray.models.loop import passes
from kcap_ray.models.memory import NGramMemory
from kcap_ray.models.mlp import Mlp
from kcap_ray.models.moe import MixtureOfExperts
from kcap_ray.models.spec import ModelSpec
from kcap_ray.models.ssd import Ssd
from kcap_ray.models.stacked import Norm

MIXERS: dict[str, type[nn.Module]] = {"attention": Attention, "ssd": Ssd}
"""What carries information from token to token, made by `mixer(trials, spec)` and called as
`mixer(x_EMD, cos_TC, sin_TC)`."""

MLPS: dict[str, type[nn.Module]] = {"standard": Mlp, "gated": Mlp}
"""What works on each token by itself, made by `mlp(stack, spec)` and called as
`mlp(x_EMD, n_tokens)`; `stack` is the trials, or the trials and experts."""


ALIGNED_ROWS = {"cuda": 64}
"""Multiple to which rows of the head are filled up, by kind of device: where a row of logits does
not begin on a boundary of 16 bytes, a GPU's products and softmax take a tenth longer in all.
"""


class Block(nn.Module):
    """One pre-norm layer: x + mixer(norm(x)), then + mlp(norm(x)) unless the model has none."""

    def __init__(self, trials: tuple[int, ...], spec: ModelSpec) -> None:
        super().__init__()
        self.attention_norm = Norm(trials, spec)
        self.canon_a = canon_at("A", trials, spec, spec.d_model)
        # Called attention, whichever it is: the names of weights in checkpoints stay.
        self.attention = MIXERS[spec.mixer](trials, spec)
        self.mlp = None
        if spec.mlp != "none":
            self.mlp_norm = Norm(trials, spec)
            self.canon_c = canon_at("C", trials, spec, spec.d_model)
            mlp = MLPS[spec.mlp]
            self.mlp = MixtureOfExperts(trials, spec, mlp) if spec.n_expert else mlp(trials, spec)

    def forward(
        self, x_EMD: Tensor, balance_E: Tensor, cos_TC: Tensor, sin_TC: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The residual stream after the layer, and `balance_E` with the layer's loss of balance."""
        n_tokens = cos_TC.shape[0]
        normed_EMD = self.attention_norm(x_EMD)
        if self.canon_a is not None:
            normed_EMD = self.canon_a(normed_EMD, n_tokens)
        x_EMD = x_EMD + self.attention(normed_EMD, cos_TC, sin_TC)
        if self.mlp is None:
            return x_EMD, balance_E
        normed_EMD = self.mlp_norm(x_EMD)
        if self.canon_c is not None:
            normed_EMD = self.canon_c(normed_EMD, n_tokens)
        if isinstance(self.mlp, MixtureOfExperts):
            change_EMD, layer_balance_E = self.mlp(normed_EMD)
            return x_EMD + change_EMD, balance_E + layer_balance_E
        return x_EMD + self.mlp(normed_EMD, n_tokens), balance_E


class Decoder(nn.Module):
    """Token ids [B, T] to next-token logits [*E, B, T, V]; every trial reads the same tokens."""

    cos_TC: Tensor
    sin_TC: Tensor

    def __init__(self, spec: ModelSpec, *, n_tokens: int, n_trials: int | None = None) -> None:
        """`n_tokens`: longest sequence; `n_trials`: size of the trials axis, None for none."""
        super().__init__()
        trials = () if n_trials is None else (n_trials,)
        self.spec = spec
        self.n_tokens = n_tokens
        self.n_trials = n_trials
        self.left_out: int | None = None
        """Number of a layer that is passed by, to see what is lost with it."""
        self.embedding = nn.Parameter(torch.empty(*trials, spec.vocab_size, spec.d_model))
        self.blocks = nn.ModuleList(Block(trials, spec) for _ in range(spec.n_layer))
        self.memory = NGramMemory(trials, spec) if spec.memory_percent else None
        self.final_norm = Norm(trials, spec)
        self.head = (
            None if spec.tied else nn.Parameter(torch.empty(*trials, spec.vocab_size, spec.d_model))
        )
        cos_TC, sin_TC = rotary_tables(n_tokens, spec)
        self.register_buffer("cos_TC", cos_TC, persistent=False)
        self.register_buffer("sin_TC", sin_TC, persistent=False)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        return self._logits(self._features_and_balance(tokens_BT)[0]).unflatten(-2, tokens_BT.shape)

    def _features_and_balance(self, tokens_BT: Tensor) -> tuple[Tensor, Tensor]:
        """What the head reads, [*E, M, D], and the loss of balance [*E]."""
        n_tokens = tokens_BT.shape[1]
        tokens_M = tokens_BT.reshape(-1)
        if self.n_trials is None:
            x_EMD = F.embedding(tokens_M, self.embedding)
        else:
            x_EMD = self.embedding.index_select(1, tokens_M)
        balance_E = x_EMD.new_zeros(x_EMD.shape[:-2])
        cos_TC, sin_TC = self.cos_TC[:n_tokens], self.sin_TC[:n_tokens]
        for place, number in enumerate(passes(self.spec)):
            if self.memory is not None and place == self.memory.place:
                x_EMD = self.memory(x_EMD, tokens_BT)
            if number == self.left_out:
                continue
            x_EMD, balance_E = self.blocks[number](x_EMD, balance_E, cos_TC, sin_TC)
        return self.final_norm(x_EMD), balance_E

    def _logits(self, features_EMD: Tensor) -> Tensor:
        head = self.embedding if self.head is None else self.head
        n_rows = head.shape[-2]
        n_more = -n_rows % ALIGNED_ROWS.get(head.device.type, 1)
        if not n_more:
            return features_EMD @ head.mT
        return (features_EMD @ F.pad(head, (0, 0, 0, n_more)).mT)[..., :n_rows]

    def _nats(self, features_EMD: Tensor, targets_M: Tensor) -> Tensor:
        """Next-token loss of each position, [*E, M]."""
        logits_EMV = self._logits(features_EMD)
        targets_EM = targets_M.expand(logits_EMV.shape[:-1])
        nats = F.cross_entropy(
            logits_EMV.flatten(0, -2).float(), targets_EM.reshape(-1), reduction="none"
        )
        return nats.view(targets_EM.shape)

    def loss(self, windows_BT1: Tensor) -> Tensor:
        """Mean next-token loss in nats, [*E], of windows [B, T+1] (each target is the token after
        its input).
        """
        return self.loss_and_balance(windows_BT1)[0]

    def loss_and_balance(self, windows_BT1: Tensor) -> tuple[Tensor, Tensor]:
        """`loss` [*E], and how unevenly the experts were loaded [*E]: 1 for each layer where they
        are even and more where they are not; 0 without experts.

        What training minimizes is the first plus `train.load_balance` times the second.
        """
        features_EMD, balance_E = self._features_and_balance(windows_BT1[:, :-1])
        targets_M = windows_BT1[:, 1:].reshape(-1)
        n_at_once = max(1, LOGITS_AT_ONCE // (self.spec.vocab_size * (self.n_trials or 1)))
        if len(targets_M) <= n_at_once:
            return self._nats(features_EMD, targets_M).mean(dim=-1), balance_E
        # Logits are made part by part, thrown away, and made again for the gradient.
        nats_EM = torch.cat(
            [
                checkpoint(self._nats, *part, use_reentrant=False, preserve_rng_state=False)
                for part in zip(
                    features_EMD.split(n_at_once, dim=-2), targets_M.split(n_at_once), strict=True
                )
            ],
            dim=-1,
        )
        return nats_EM.mean(dim=-1), balance_E

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.embedding.device

    @property
    def expert_load(self) -> Tensor | None:
        """Share of the last forward's choices that fell on each expert, [*E, n_layer, n_expert],
        before any was dropped; detached. None without experts.
        """
        loads = [part.load_EX for part in self.modules() if isinstance(part, MixtureOfExperts)]
        return torch.stack(loads, dim=-2) if loads else None

    @torch.no_grad()
    def init_weights(self, *, seed: int, std: float) -> None:
        """GPT-2's initialisation: normal(0, std), residual projections / sqrt(2 * layers passed
        through), biases 0, norms 1. Taps of Canon layers are uniform within 1/sqrt(4), as torch's
        convolutions are (arXiv 2512.17351's code keeps these).

        Every trial starts from the same weights, so trials differ by their settings alone.
        """
        generator = torch.Generator().manual_seed(seed)
        residual_std = std / math.sqrt(2 * len(passes(self.spec)))
        for name, parameter in self.named_parameters():
            one_trial = parameter if self.n_trials is None else parameter[0]
            if is_matrix(name):
                is_residual = name.endswith(("out.weight", "down.weight"))
                drawn = torch.randn(one_trial.shape, generator=generator)
                parameter.copy_(drawn * (residual_std if is_residual else std))
            elif name.endswith("tables"):
                parameter.copy_(torch.randn(one_trial.shape, generator=generator) * std)
            elif name.endswith("taps"):
                drawn = torch.rand(one_trial.shape, generator=generator)
                parameter.copy_((2 * drawn - 1) / math.sqrt(CANON_KERNEL))

    @torch.no_grad()
    def trial(self, index: int) -> "Decoder":
        """A copy of one trial as a model without trials axis."""
        alone = Decoder(self.spec, n_tokens=self.n_tokens)
        own = self.state_dict()
        alone.load_state_dict(
            {name: value if self.n_trials is None else value[index] for name, value in own.items()}
        )
        return alone


def is_matrix(name: str) -> bool:
    """Whether a parameter is a weight matrix (or a stack of them, of experts) or an embedding,
    rather than a bias, the scale of a norm, a tap, a rate, or a table that rows are looked up in.
    """
    return name in ("embedding", "head") or (name.endswith(".weight") and "norm" not in name)

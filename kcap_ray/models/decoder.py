"""The decoder under study: one transformer, read from top to bottom.

GPT-2 with rotary embedding, LLaMA and Mistral are settings of `ModelSpec`. Every weight may carry a
leading *trials* axis, so that E trials of one cell, each with weights of its own, train as one
program on one batch.

Shapes: E trials, B sequences, T tokens, M = B*T positions, D model width, H heads, K heads of keys
and values, C width of a head, V vocabulary. `*E` is the trials axis where there is one, and nothing
where there is none.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kcap_ray.models.spec import ModelSpec


class Linear(nn.Module):
    """y = x W^T + b on [*E, M, in], with one W [*E, out, in] per trial."""

    def __init__(self, trials: tuple[int, ...], d_in: int, d_out: int, *, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(*trials, d_out, d_in))
        self.bias = nn.Parameter(torch.zeros(*trials, d_out)) if bias else None

    def forward(self, x_EMI: Tensor) -> Tensor:
        if self.weight.dim() == 2:
            return F.linear(x_EMI, self.weight, self.bias)
        if self.bias is None:
            return torch.bmm(x_EMI, self.weight.mT)
        return torch.baddbmm(self.bias.unsqueeze(1), x_EMI, self.weight.mT)


class Norm(nn.Module):
    """LayerNorm (arXiv 1607.06450) or RMSNorm (arXiv 1910.07467) over the width of [*E, M, D]."""

    def __init__(self, trials: tuple[int, ...], spec: ModelSpec) -> None:
        super().__init__()
        self.eps = spec.norm_eps
        self.is_rms = spec.norm == "rmsnorm"
        self.weight = nn.Parameter(torch.ones(*trials, spec.d_model))
        has_bias = spec.bias and not self.is_rms
        self.bias = nn.Parameter(torch.zeros(*trials, spec.d_model)) if has_bias else None

    def forward(self, x_EMD: Tensor) -> Tensor:
        width = x_EMD.shape[-1:]
        if self.weight.dim() == 1:
            if self.is_rms:
                return F.rms_norm(x_EMD, width, self.weight, self.eps)
            return F.layer_norm(x_EMD, width, self.weight, self.bias, self.eps)
        if self.is_rms:
            return F.rms_norm(x_EMD, width, eps=self.eps) * self.weight.unsqueeze(1)
        normed_EMD = F.layer_norm(x_EMD, width, eps=self.eps)
        if self.bias is None:
            return normed_EMD * self.weight.unsqueeze(1)
        return torch.addcmul(self.bias.unsqueeze(1), normed_EMD, self.weight.unsqueeze(1))


def rotary_tables(n_tokens: int, spec: ModelSpec) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines [T, C] of the rotary angles; dimension c pairs with c + C/2
    (GPT-NeoX's layout).

    The sines of the first half are negative: with them a rotation is x * cos + (x with its halves
    swapped) * sin.
    """
    exponents = torch.arange(0, spec.head_dim, 2, dtype=torch.float64) / spec.head_dim
    angles = torch.outer(torch.arange(n_tokens, dtype=torch.float64), spec.rope_base**-exponents)
    cos_TC = torch.cat([angles.cos(), angles.cos()], dim=-1)
    sin_TC = torch.cat([-angles.sin(), angles.sin()], dim=-1)
    return cos_TC.float(), sin_TC.float()


def rotate(x_BHTC: Tensor, cos_TC: Tensor, sin_TC: Tensor) -> Tensor:
    """Rotary position embedding (RoFormer, arXiv 2104.09864, equation 34) over the whole head."""
    swapped_BHTC = x_BHTC.roll(x_BHTC.shape[-1] // 2, dims=-1)
    cos_TC, sin_TC = cos_TC.to(x_BHTC.dtype), sin_TC.to(x_BHTC.dtype)
    return torch.addcmul(x_BHTC * cos_TC, swapped_BHTC, sin_TC)


class Attention(nn.Module):
    """Causal self-attention; trials are folded into the batch for the attention itself."""

    def __init__(self, trials: tuple[int, ...], spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.qkv = Linear(trials, spec.d_model, spec.d_model + 2 * spec.d_kv, bias=spec.bias)
        self.out = Linear(trials, spec.d_model, spec.d_model, bias=spec.bias)

    def forward(self, x_EMD: Tensor, cos_TC: Tensor, sin_TC: Tensor) -> Tensor:
        spec, n_tokens = self.spec, cos_TC.shape[0]
        heads = self.qkv(x_EMD).view(-1, n_tokens, spec.n_head + 2 * spec.n_kv_head, spec.head_dim)
        # Queries and keys turn together: half the operations, which is what a small model's step is
        # made of.
        qk, v_BKTC = heads.transpose(1, 2).split(
            [spec.n_head + spec.n_kv_head, spec.n_kv_head], dim=1
        )
        q_BHTC, k_BKTC = rotate(qk, cos_TC, sin_TC).split([spec.n_head, spec.n_kv_head], dim=1)
        mixed_BHTC = F.scaled_dot_product_attention(
            q_BHTC,
            k_BKTC,
            v_BKTC,
            is_causal=True,
            enable_gqa=spec.n_kv_head != spec.n_head,
        )
        return self.out(mixed_BHTC.transpose(1, 2).reshape(x_EMD.shape))


class Mlp(nn.Module):
    """The position-wise network: act(x W1) W2, or with a gate (act(x W1) * x W3) W2."""

    def __init__(self, trials: tuple[int, ...], spec: ModelSpec) -> None:
        super().__init__()
        self.is_gated = spec.mlp == "gated"
        self.activation = spec.activation
        n_in = 2 if self.is_gated else 1
        self.up = Linear(trials, spec.d_model, n_in * spec.d_ff, bias=spec.bias)
        self.down = Linear(trials, spec.d_ff, spec.d_model, bias=spec.bias)

    def forward(self, x_EMD: Tensor) -> Tensor:
        hidden = self.up(x_EMD)
        gate, value = hidden.chunk(2, dim=-1) if self.is_gated else (hidden, None)
        # GPT-2's gelu is the tanh form.
        active = F.gelu(gate, approximate="tanh") if self.activation == "gelu" else F.silu(gate)
        return self.down(active if value is None else active * value)


class Block(nn.Module):
    """One pre-norm layer: x + attention(norm(x)), then + mlp(norm(x)) unless the model has none."""

    def __init__(self, trials: tuple[int, ...], spec: ModelSpec) -> None:
        super().__init__()
        self.attention_norm = Norm(trials, spec)
        self.attention = Attention(trials, spec)
        self.has_mlp = spec.mlp != "none"
        if self.has_mlp:
            self.mlp_norm = Norm(trials, spec)
            self.mlp = Mlp(trials, spec)

    def forward(self, x_EMD: Tensor, cos_TC: Tensor, sin_TC: Tensor) -> Tensor:
        x_EMD = x_EMD + self.attention(self.attention_norm(x_EMD), cos_TC, sin_TC)
        if self.has_mlp:
            x_EMD = x_EMD + self.mlp(self.mlp_norm(x_EMD))
        return x_EMD


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
        self.embedding = nn.Parameter(torch.empty(*trials, spec.vocab_size, spec.d_model))
        self.blocks = nn.ModuleList(Block(trials, spec) for _ in range(spec.n_layer))
        self.final_norm = Norm(trials, spec)
        self.head = (
            None if spec.tied else nn.Parameter(torch.empty(*trials, spec.vocab_size, spec.d_model))
        )
        cos_TC, sin_TC = rotary_tables(n_tokens, spec)
        self.register_buffer("cos_TC", cos_TC, persistent=False)
        self.register_buffer("sin_TC", sin_TC, persistent=False)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        n_sequences, n_tokens = tokens_BT.shape
        tokens_M = tokens_BT.reshape(-1)
        if self.n_trials is None:
            x_EMD = F.embedding(tokens_M, self.embedding)
        else:
            x_EMD = self.embedding.index_select(1, tokens_M)
        cos_TC, sin_TC = self.cos_TC[:n_tokens], self.sin_TC[:n_tokens]
        for block in self.blocks:
            x_EMD = block(x_EMD, cos_TC, sin_TC)
        head = self.embedding if self.head is None else self.head
        logits_EMV = self.final_norm(x_EMD) @ head.mT
        return logits_EMV.unflatten(-2, (n_sequences, n_tokens))

    def loss(self, windows_BT1: Tensor) -> Tensor:
        """Mean next-token loss in nats, [*E], of windows [B, T+1] (each target is the token after
        its input).
        """
        logits_EBTV = self(windows_BT1[:, :-1])
        targets_EBT = windows_BT1[:, 1:].expand(logits_EBTV.shape[:-1])
        nats = F.cross_entropy(
            logits_EBTV.flatten(0, -2).float(), targets_EBT.reshape(-1), reduction="none"
        )
        return nats.view(*logits_EBTV.shape[:-3], -1).mean(dim=-1)

    def loss_and_balance(self, windows_BT1: Tensor) -> tuple[Tensor, Tensor]:
        """`loss` [*E] and how unevenly the experts were loaded [*E], 0 without experts.

        What training minimizes is the first plus `train.load_balance` times the second.
        """
        loss_E = self.loss(windows_BT1)
        return loss_E, torch.zeros_like(loss_E)

    @property
    def expert_load(self) -> Tensor | None:
        """Share of the last forward's tokens that each expert was chosen for, [*E, n_layer,
        n_expert], detached; None without experts.
        """
        return None

    @torch.no_grad()
    def init_weights(self, *, seed: int, std: float) -> None:
        """GPT-2's initialisation: normal(0, std), residual projections / sqrt(2 * layers), biases
        0, norms 1.

        Every trial starts from the same weights, so trials differ by their settings alone.
        """
        generator = torch.Generator().manual_seed(seed)
        residual_std = std / math.sqrt(2 * self.spec.n_layer)
        for name, parameter in self.named_parameters():
            if not is_matrix(name):
                continue
            one_trial = parameter if self.n_trials is None else parameter[0]
            is_residual = name.endswith(("attention.out.weight", "mlp.down.weight"))
            drawn = torch.randn(one_trial.shape, generator=generator)
            parameter.copy_(drawn * (residual_std if is_residual else std))

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
    """Whether a parameter is a weight matrix or an embedding, rather than a bias or the scale of a
    norm.
    """
    return name in ("embedding", "head") or (name.endswith(".weight") and "norm" not in name)

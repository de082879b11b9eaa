"""A model that is brought along, as training and measurement use it: without an axis of trials.

Shapes: B sequences, T tokens, V vocabulary.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kcap_ray.config.errors import UserError, one_line
from kcap_ray.config.model import ModelConfig
from kcap_ray.models.own_build import build_seeded
from kcap_ray.models.own_counts import roles_of
from kcap_ray.models.own_spec import OwnSpec, own_spec


class OwnModel(nn.Module):
    """Token ids [B, T] to next-token logits [B, T, V], whatever is inside."""

    n_trials: None = None
    expert_load: None = None

    def __init__(
        self, spec: OwnSpec, model: ModelConfig, *, n_tokens: int, seed: int = 0, anew: bool = False
    ) -> None:
        """`n_tokens`: longest sequence; `seed`: of the weights, which the model's own code draws.

        Raises `UserError` where it cannot be built.
        """
        super().__init__()
        self.spec, self.config, self.n_tokens = spec, model, n_tokens
        self.module = build_seeded(model, spec.vocab_size, n_tokens, seed=seed, anew=anew)
        roles = roles_of(self.module, spec.vocab_size, model)
        self.roles = {f"module.{name}": role for name, role in roles.items()}

    def forward(self, tokens_BT: Tensor) -> Tensor:
        return logits_of(self.module(tokens_BT))

    def loss_and_balance(self, windows_BT1: Tensor) -> tuple[Tensor, Tensor | None]:
        """Mean next-token loss in nats [] of windows [B, T+1], and what the model calls `aux_loss`,
        such as how unevenly its experts were loaded; None without such.
        """
        output = self.module(windows_BT1[:, :-1])
        logits_BTV = logits_of(output)
        nats = F.cross_entropy(logits_BTV.flatten(0, 1).float(), windows_BT1[:, 1:].reshape(-1))
        balance = getattr(output, "aux_loss", None)
        return nats, balance if isinstance(balance, Tensor) else None

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device

    def trial(self, index: int) -> "OwnModel":
        """The model of the one trial that it is."""
        assert index == 0, "models that are brought along train one at a time"
        return self


def logits_of(output: Any) -> Tensor:
    """The logits in what a module gives: the tensor, or its `.logits`.

    Raises `UserError` where there are none.
    """
    logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    if not isinstance(logits, Tensor):
        raise UserError(
            f"the model gives {type(output).__name__}; it has to give logits [B, T, V], as a "
            "tensor or an output with .logits"
        )
    return logits


def own_model(model: ModelConfig, vocab_size: int, n_tokens: int, *, seed: int = 0) -> OwnModel:
    """The model with fresh weights; raises `UserError` where it cannot be built."""
    return OwnModel(own_spec(model, vocab_size, n_tokens), model, n_tokens=n_tokens, seed=seed)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """All that makes a model what it is, by name: weights, and tables that it saves; what is shared
    is in it once.
    """
    found = dict(model.named_parameters())
    known, kept = {id(tensor) for tensor in found.values()}, set(model.state_dict(keep_vars=True))
    tables = {
        name: table
        for name, table in model.named_buffers()
        if name in kept and id(table) not in known
    }
    return {name: tensor.detach() for name, tensor in (found | tables).items()}


@torch.no_grad()
def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Inverse of `weights_of`. Raises `ValueError` where the names are not those of the model."""
    own = weights_of(model)
    if set(own) != set(weights):
        odd = sorted(set(own) ^ set(weights))
        raise ValueError(f"weights of another model: {odd[0]} is in one and not in the other")
    for name, tensor in own.items():
        if tensor.shape != weights[name].shape:
            raise ValueError(f"{name}: a tensor of another shape")
        tensor.copy_(weights[name])


@contextlib.contextmanager
def randomness(device: torch.device, *numbers: int) -> Iterator[None]:
    """Inside, what a model draws (dropout, noise) follows from these numbers alone, so that a run
    that goes on draws what it would have drawn.
    """
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number + 1) % 2**63
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


@torch.no_grad()
def check_model(model: OwnModel, *, seed: int = 0) -> None:
    """Hold a fresh model, on its device, to what is asked of it.

    Raises `UserError` where it fails on tokens, gives no logits [B, T, V], gives some that are no
    numbers, others for the same tokens, or where a prediction depends on a later token, which would
    be cheating. Weights are
    shaken for that, since many models start with some at zero; afterwards they are as before.
    """
    model.eval()
    generator = torch.Generator().manual_seed(seed)
    vocab_size = model.spec.vocab_size
    for n_tokens in dict.fromkeys((min(8, model.n_tokens), model.n_tokens)):
        tokens_BT = torch.randint(vocab_size, (2, n_tokens), generator=generator)
        logits_BTV = _tried(model, tokens_BT)
        if not bool(torch.isfinite(logits_BTV).all()):
            raise UserError("the fresh model gives logits that are NaN or infinite")
        _check_causal(model, tokens_BT[:1], generator)
    kept = {name: tensor.clone() for name, tensor in weights_of(model).items()}
    for parameter in filter(torch.is_floating_point, model.parameters()):
        noise = torch.randn(parameter.shape, generator=generator).to(parameter)
        parameter.add_(SHAKEN * noise)
    try:
        for n_tokens in dict.fromkeys((min(8, model.n_tokens), model.n_tokens)):
            tokens_1T = torch.randint(vocab_size, (1, n_tokens), generator=generator)
            _check_causal(model, tokens_1T, generator)
    finally:
        load_weights(model, kept)
    model.train()


@torch.no_grad()
def check_read_back(model: OwnModel, *, seed: int) -> None:
    """UserError if the model of this seed with these weights is another one in another process: if
    the file drew a part of it for an earlier model, and keeps it.
    """
    if model.config.file is None:
        return
    again = OwnModel(model.spec, model.config, n_tokens=model.n_tokens, seed=seed, anew=True)
    load_weights(again, weights_of(model))
    tokens_1T = torch.arange(min(8, model.n_tokens))[None] % model.spec.vocab_size
    here, there = (one.eval()(tokens_1T.to(one.device)).cpu() for one in (model, again))
    model.train()
    if not torch.allclose(here, there, rtol=1e-3, atol=CAUSAL_TOLERANCE, equal_nan=True):
        raise UserError(
            "read back with its weights it is another model: its file keeps what it drew for an "
            "earlier one (as functools.cache does); draw it in the model, or register it as a "
            "persistent buffer"
        )


SHAKEN = 0.05
"""Standard deviation of what is added to each weight to see what depends on what."""

CAUSAL_TOLERANCE = 1e-4
"""Share of the largest logit by which a prediction may change with a later token: roundings, where
kernels take other blocks, are some 1e-6.
"""


def _tried(model: OwnModel, tokens_BT: Tensor) -> Tensor:
    n_rows, n_tokens = tokens_BT.shape
    try:
        logits = model(tokens_BT.to(model.device))
    except UserError:
        raise
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever the code of somebody else raises
        raise UserError(
            f"the model fails on token ids [{n_rows}, {n_tokens}]: {one_line(error)}"
        ) from error
    wanted = (n_rows, n_tokens, model.spec.vocab_size)
    if tuple(logits.shape) != wanted or not logits.is_floating_point():
        raise UserError(
            f"the model gives {logits.dtype} of shape {list(logits.shape)} for token ids "
            f"[{n_rows}, {n_tokens}]; it has to give floating-point logits {list(wanted)}"
        )
    return logits.float()


def _check_causal(model: OwnModel, tokens_1T: Tensor, generator: torch.Generator) -> None:
    n_tokens, vocab_size = tokens_1T.shape[1], model.spec.vocab_size
    before_TV = _tried(model, tokens_1T)[0]
    if not bool(torch.isfinite(before_TV).all()):  # shaken too much: nothing can be told
        return
    largest = before_TV.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    again = (_tried(model, tokens_1T)[0] - before_TV).abs().max()
    if again > CAUSAL_TOLERANCE * largest:
        raise UserError(
            "the model gives other logits when it is asked the same again (they move by "
            f"{again / largest:.1g} of the largest): in eval mode nothing may be drawn (F.dropout "
            "wants training=self.training), nor anything be kept from one call to the next"
        )
    for first in sorted({1, n_tokens // 2, n_tokens - 1} & set(range(1, n_tokens))):
        changed_1T = tokens_1T.clone()
        n_new = n_tokens - first
        step_T = torch.randint(1, max(2, vocab_size), (n_new,), generator=generator)
        changed_1T[0, first:] = (changed_1T[0, first:] + step_T) % vocab_size
        after_TV = _tried(model, changed_1T)[0]
        moved = (after_TV - before_TV)[:first].abs().max()
        if moved > CAUSAL_TOLERANCE * largest:
            raise UserError(
                "the model is not causal: its predictions depend on later tokens (changing tokens "
                f"from {first} on moves earlier logits by {moved / largest:.1g} of the largest); "
                "bits are measured of causal models"
            )

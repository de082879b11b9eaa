"""GPT-2 with rotary embedding in JAX, and its training as one compiled program: `scan` over steps,
`vmap` over trials. A peer; of JAX nothing else is used.

Weights have the names and layouts that they have in `Decoder`. Shapes: E trials, N steps, B
windows, T tokens, D model width, F width inside of the MLP, H heads, C width of a head, V
vocabulary.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
import numpy as np

from kcap_ray.config.cell import TrainConfig
from kcap_ray.models.spec import ModelSpec
from kcap_ray.training.point import Point
from kcap_ray.training.schedule import lr_ratios

Weights = Mapping[str, Any]
"""Arrays by name."""

Steps = Callable[[Any, Any], tuple[Any, Any]]
"""From state and windows [N, B, T+1] to the state after as many steps, and losses [N, E]."""


def mean_loss(weights: Weights, windows_BT1: Any, spec: ModelSpec) -> Any:
    """Mean next-token loss of windows, in nats."""
    inputs_BT, targets_BT = windows_BT1[:, :-1], windows_BT1[:, 1:]
    cos_T1C, sin_T1C = _rotation(inputs_BT.shape[1], spec)
    x_BTD = weights["embedding"][inputs_BT]
    for number in range(spec.n_layer):
        block = _inside(weights, f"blocks.{number}.")
        mixed_BTD = _norm(x_BTD, _inside(block, "attention_norm."), spec.norm_eps)
        x_BTD += _attention(mixed_BTD, _inside(block, "attention."), spec, cos_T1C, sin_T1C)
        mixed_BTD = _norm(x_BTD, _inside(block, "mlp_norm."), spec.norm_eps)
        wide_BTF = jax.nn.gelu(_linear(mixed_BTD, _inside(block, "mlp.up.")), approximate=True)
        x_BTD += _linear(wide_BTF, _inside(block, "mlp.down."))
    final_BTD = _norm(x_BTD, _inside(weights, "final_norm."), spec.norm_eps)
    logits_BTV = final_BTD @ weights["embedding"].T
    right_BT = jnp.take_along_axis(logits_BTV, targets_BT[..., None], axis=-1)[..., 0]
    return (jax.nn.logsumexp(logits_BTV, axis=-1) - right_BT).mean()


def _inside(weights: Weights, prefix: str) -> Weights:
    return {
        name.removeprefix(prefix): weight
        for name, weight in weights.items()
        if name.startswith(prefix)
    }


def _linear(x: Any, layer: Weights) -> Any:
    return x @ layer["weight"].T + layer["bias"]


def _norm(x: Any, layer: Weights, eps: float) -> Any:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + eps) * layer["weight"] + layer["bias"]


def _rotation(n_tokens: int, spec: ModelSpec) -> tuple[Any, Any]:
    exponents = np.arange(0, spec.head_dim, 2) / spec.head_dim
    angles = np.tile(np.outer(np.arange(n_tokens), spec.rope_base**-exponents), 2)[:, None]
    return jnp.asarray(np.cos(angles), jnp.float32), jnp.asarray(np.sin(angles), jnp.float32)


def _attention(x_BTD: Any, layer: Weights, spec: ModelSpec, cos_T1C: Any, sin_T1C: Any) -> Any:
    qkv_BTD = _linear(x_BTD, _inside(layer, "qkv."))
    q_BTHC, k_BTHC, v_BTHC = (
        part.reshape(*part.shape[:2], spec.n_head, spec.head_dim)
        for part in jnp.split(qkv_BTD, 3, axis=-1)
    )
    q_BTHC, k_BTHC = (_rotated(part, cos_T1C, sin_T1C) for part in (q_BTHC, k_BTHC))
    mixed_BTHC = jax.nn.dot_product_attention(q_BTHC, k_BTHC, v_BTHC, is_causal=True)
    return _linear(mixed_BTHC.reshape(x_BTD.shape), _inside(layer, "out."))


def _rotated(x_BTHC: Any, cos_T1C: Any, sin_T1C: Any) -> Any:
    first, second = jnp.split(x_BTHC, 2, axis=-1)
    return x_BTHC * cos_T1C + jnp.concatenate([-second, first], axis=-1) * sin_T1C


def first_state(weights: Mapping[str, np.ndarray], n_trials: int) -> Any:
    """Weights and moments of AdamW, with an axis of trials where there are several, and the number
    of steps done.
    """
    own = {
        name: jnp.stack([weight] * n_trials) if n_trials > 1 else jnp.array(weight)
        for name, weight in weights.items()
    }
    zeros = jax.tree.map(jnp.zeros_like, own)
    return own, zeros, jax.tree.map(jnp.copy, zeros), jnp.zeros((), jnp.int32)


def steps_of(spec: ModelSpec, points: Sequence[Point], n_steps: int, train: TrainConfig) -> Steps:
    """The compiled program: AdamW as torch has it, with the cell's settings and schedule; matrices
    decay.
    """
    ratios = jnp.asarray(lr_ratios(n_steps, train), jnp.float32)
    lr_E = jnp.asarray([point.lr for point in points], jnp.float32)
    decay_E = jnp.asarray([point.weight_decay for point in points], jnp.float32)
    is_alone = len(points) == 1
    if is_alone:
        lr_E, decay_E = lr_E[0], decay_E[0]

    def updated(weight: Any, grad: Any, mean: Any, square: Any, lr: Any, decay: Any, n: Any) -> Any:
        mean = train.beta1 * mean + (1 - train.beta1) * grad
        square = train.beta2 * square + (1 - train.beta2) * grad * grad
        root = jnp.sqrt(square) / jnp.sqrt(1 - train.beta2**n) + train.eps
        kept = weight * (1 - lr * decay) if weight.ndim > 1 else weight
        return kept - lr / (1 - train.beta1**n) * mean / root, mean, square

    def one_trial(weights: Any, means: Any, squares: Any, lr: Any, decay: Any, n: Any, x: Any):
        loss, grads = jax.value_and_grad(mean_loss)(weights, x, spec)
        new = {
            name: updated(weights[name], grads[name], means[name], squares[name], lr, decay, n)
            for name in weights
        }
        return [{name: of[part] for name, of in new.items()} for part in range(3)], loss

    fused = jax.vmap(one_trial, in_axes=(0, 0, 0, 0, 0, None, None))
    trials: Callable[..., Any] = one_trial if is_alone else fused

    def step(state: Any, windows_BT1: Any) -> Any:
        weights, means, squares, n_done = state
        count = (n_done + 1).astype(jnp.float32)
        kept, lrs_E = (weights, means, squares), ratios[n_done] * lr_E
        new, loss_E = trials(*kept, lrs_E, decay_E, count, windows_BT1)
        return (*new, n_done + 1), loss_E.reshape(-1)

    return jax.jit(lambda state, windows: jax.lax.scan(step, state, windows), donate_argnums=0)

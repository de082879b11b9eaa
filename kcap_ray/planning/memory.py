"""How much memory it takes to train fused trials.

The estimate counts what eager PyTorch holds when a step needs most: compiled code needs less.
Letters: E trials, P weights of a trial, D model width, T tokens of a window, V vocabulary; all
counts of values are per token of one trial unless said otherwise.
"""

import math

from kcap_ray.config.cell import Cell
from kcap_ray.models.counts import LOGITS_AT_ONCE, MLPS
from kcap_ray.models.own_spec import AnySpec
from kcap_ray.models.spec import ModelSpec

GIB = 2**30

_FLOAT = 4  # bytes of a float32


def program_bytes(cell: Cell, spec: AnySpec, *, n_trials: int, n_windows: int) -> int:
    """Peak bytes of a program of `n_trials` trials with `n_windows` windows in the model at a time.

    Weights and moments are there all the time; on top comes what is larger, the gradient with the
    activations at the end of the forward pass, or the update. Held against the peak of real
    programs in tests/planning/test_memory.py.
    """
    n_weights = n_trials * spec.n_params
    n_tokens = n_windows * cell.train.window_tokens
    activations = n_tokens * n_trials * _activation_bytes(cell, spec.alike)
    loss = min(n_tokens * n_trials * spec.vocab_size, LOGITS_AT_ONCE) * _loss_bytes(cell)
    # AdamW keeps two moments of every weight; Muon one, but not of the embedding and the head.
    held = 3 * _FLOAT * n_weights
    gradient = _FLOAT * n_weights
    # The gradient as autograd leaves it and as one row, if need be a clipped one, and two temporary
    # rows of the update.
    n_rows = 4 if cell.train.grad_clip is None else 5
    update = n_rows * _FLOAT * n_weights
    # Autocast keeps a copy of the weights at two bytes until the step is over.
    copies = 0 if cell.train.number_format == "fp32" else 2 * n_weights
    return held + max(gradient + copies + activations + loss, update)


def _loss_bytes(cell: Cell) -> int:
    # The float32 logit, its log-softmax, and the gradients of both: three of them are needed at a
    # time, but peaks of real programs show all four. At low precision two bytes more.
    return 4 * _FLOAT if cell.train.number_format == "fp32" else 4 * _FLOAT + 2


def _activation_bytes(cell: Cell, spec: ModelSpec) -> int:
    """Bytes that the forward pass saves for the backward pass, per token of a trial, without the
    loss.

    Counted tensor by tensor with `torch.autograd.graph.saved_tensors_hooks`: for gpt2 in float32
    that is 20 D values a layer.
    """
    low = _FLOAT if cell.train.number_format == "fp32" else 2
    d, d_kv = spec.d_model, spec.d_kv
    # The residual stream and its normed form in float32, and what the next matrix multiplies.
    norm = d * (2 * _FLOAT + low)
    # Rotated queries and keys; queries, keys and values as they were made; what is mixed of them.
    mixer = low * ((d + d_kv) + (d + 2 * d_kv) + d)
    if spec.mixer == "ssd":
        # The decay between any two tokens, their scores, and the product of the two.
        mixer += 3 * _FLOAT * spec.n_head * cell.train.window_tokens
    canon_widths = {"A": d, "B": d + 2 * d_kv, "C": d, "D": 0}
    layer = norm + mixer
    if spec.mlp != "none":
        layer += norm + _mlp_bytes(spec, low)
        canon_widths["D"] = MLPS[spec.mlp].n_hidden * spec.d_ff
    # A copy of the layer's input with an empty start.
    layer += low * sum(canon_widths[site] for site in spec.canon)
    # Behind the last layer one more norm.
    # A memory keeps what it reads, key and value, the stream in front of it and their norms.
    of_memory = 6 * _FLOAT * d if spec.memory_percent else 0
    return spec.n_loop * spec.n_layer * layer + of_memory + norm


def _mlp_bytes(spec: ModelSpec, low: int) -> int:
    # Values before and after the activation, and with a gate their product with the other half.
    hidden = low * spec.d_ff * 2 * MLPS[spec.mlp].n_hidden
    if not spec.n_expert:
        return hidden
    # Rows of all experts, empty places too: the token, the hidden values, the result; and the
    # results of each token's experts once more.
    n_rows = min(spec.capacity_factor * spec.experts_per_token, spec.n_expert)
    return math.ceil(
        n_rows * (hidden + 2 * low * spec.d_model) + low * spec.experts_per_token * spec.d_model
    )

"""The work of one optimizer step, counted from the model alone: how much of each kind of work there
is. What a device takes for it is in cost.py.

Letters: E trials of a program, n tokens of a step on one device, T tokens of a window, L layers, D
model width, V vocabulary.
"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Literal

from kcap_ray.config.cell import Optimizer
from kcap_ray.models import counts
from kcap_ray.models.spec import ModelSpec

Term = Literal[
    "step",
    "operators",
    "values",
    "block_flop",
    "mixer_flop",
    "head_flop",
    "head_values",
    "scores",
    "held_scores",
    "routing",
    "weights",
    "muon_flop",
]
"""A kind of work; the time of a step is the sum over all of them of work times seconds per unit."""

TERMS: Mapping[Term, str] = {
    "step": "steps, each 1",
    "operators": "operators that are called one by one in the layers, whatever their size",
    "values": "values that operators other than matrix products write in the layers",
    "block_flop": "floating-point operations of the matrix products with the layers' weights",
    "mixer_flop": "floating-point operations of the products of each token with each other",
    "head_flop": "floating-point operations of the output head",
    "head_values": "logits",
    "scores": "scores of each token for each other, in each head",
    "held_scores": "those of a state-space mixer, which writes them to memory several times",
    "routing": "scores of each token for each expert, once for each expert that it is sent to",
    "weights": "weights that the optimizer steps",
    "muon_flop": "floating-point operations of Muon's orthogonalization",
}

# Operators that one layer calls, forward and backward, without views: counted by a
# `TorchDispatchMode` on models with each part and without it. The second number is for fused
# trials, whose weights are stacked.
_MIXER_OPERATORS = (25, 36)
_MLP_OPERATORS = (14, 25)
_GATE_OPERATORS = 4
_RMSNORM_OPERATORS = (18, 11)  # more than a LayerNorm, for each norm
_CANON_OPERATORS = 37  # for each site
_EXPERTS_OPERATORS = 65
_SSD_OPERATORS = 57  # more than attention
_MEMORY_OPERATORS = 110  # of the whole model

# Values that these operators write for a token, counted in the same way: as multiples of the width
# that they are written at.
_STREAM_VALUES = 12  # of D: norm, residual stream, and what the mixer gives
_QKV_VALUES = 6  # of the queries, keys and values together
_MLP_STREAM_VALUES = 4  # of D: norm and residual stream
_HIDDEN_VALUES = 2  # of d_ff
_GATED_HIDDEN_VALUES = 7  # of d_ff, for both halves together
_RMSNORM_VALUES = 10  # of D, more than a LayerNorm, for each norm
_CANON_VALUES = 27  # of the width of the site
_MEMORY_VALUES = 33  # of D, in the whole model

# Of training/muon.py, which needs torch: iterations, and operators for all matrices of one shape,
# of which three are in each iteration.
_MUON_ITERATIONS = 5
_MUON_OPERATORS = 23


def step_work(
    spec: ModelSpec,
    *,
    tokens: float,
    window_tokens: int,
    n_trials: int = 1,
    optimizer: Optimizer = "adamw",
    n_parts: int = 1,
) -> dict[Term, float]:
    """Work of one optimizer step of `n_trials` fused trials over `tokens` tokens, which pass
    through the model in `n_parts` parts.

    Fused trials share the calls of operators, and nothing else.
    """
    all_tokens = n_trials * tokens
    rows = _rows_per_token(spec, tokens)
    n_passed = spec.n_loop * spec.n_layer
    products = n_passed * all_tokens * window_tokens
    has_memory = spec.memory_percent > 0
    muon_shapes = _matrices(spec) if optimizer == "muon" else {}
    return {
        "step": 1,
        "operators": n_parts
        * (n_passed * _operators(spec, is_stacked=n_trials > 1) + _MEMORY_OPERATORS * has_memory)
        + _MUON_OPERATORS * len(muon_shapes),
        "values": all_tokens
        * (n_passed * _values(spec, rows) + _MEMORY_VALUES * spec.d_model * has_memory),
        # Six operations per weight and token, forward and backward (PaLM, arXiv 2204.02311,
        # appendix B).
        "block_flop": 6
        * all_tokens
        * (n_passed * _layer_weights(spec, rows) + counts.memory(spec, only_active=True)),
        "mixer_flop": 12 * products * spec.d_model,
        "head_flop": 6 * all_tokens * spec.vocab_size * spec.d_model,
        "head_values": all_tokens * spec.vocab_size,
        "scores": products * spec.n_head,
        "held_scores": products * spec.n_head if spec.mixer == "ssd" else 0,
        "routing": n_passed * all_tokens * spec.experts_per_token * spec.n_expert,
        "weights": n_trials * spec.n_params,
        "muon_flop": n_trials * sum(n * _muon_flop(*shape) for shape, n in muon_shapes.items()),
    }


def _rows_per_token(spec: ModelSpec, tokens: float) -> float:
    """Rows that the MLPs of a layer work on, per token: 1, or for experts all their places (arXiv
    2101.03961, equation 3), empty ones too.
    """
    if spec.n_expert == 0:
        return 1.0
    share = spec.experts_per_token * tokens / spec.n_expert
    places = min(tokens, math.ceil(spec.capacity_factor * share))
    return spec.n_expert * places / tokens if tokens else 0.0


def _operators(spec: ModelSpec, *, is_stacked: bool) -> int:
    has_mlp = spec.mlp != "none"
    n = _MIXER_OPERATORS[is_stacked] + has_mlp * _MLP_OPERATORS[is_stacked]
    n += _GATE_OPERATORS * (spec.mlp == "gated")
    n += _RMSNORM_OPERATORS[is_stacked] * (1 + has_mlp) * (spec.norm == "rmsnorm")
    n += _CANON_OPERATORS * len(spec.canon)
    n += _EXPERTS_OPERATORS * (spec.n_expert > 0)
    return n + _SSD_OPERATORS * (spec.mixer == "ssd")


def _values(spec: ModelSpec, rows: float) -> float:
    """Values per token and layer."""
    d, d_qkv = spec.d_model, spec.d_model + 2 * spec.d_kv
    of_norm = _RMSNORM_VALUES * d * (spec.norm == "rmsnorm")
    n = _STREAM_VALUES * d + of_norm + _QKV_VALUES * d_qkv
    width_of = {"A": d, "B": d_qkv, "C": d}
    if spec.mlp != "none":
        hidden = _GATED_HIDDEN_VALUES if spec.mlp == "gated" else _HIDDEN_VALUES
        # Rows are copied to the experts' places and back.
        n += (_MLP_STREAM_VALUES * d) * (1 + rows * (spec.n_expert > 0)) + of_norm
        n += rows * hidden * spec.d_ff
        width_of["D"] = counts.MLPS[spec.mlp].n_hidden * spec.d_ff
    return n + _CANON_VALUES * sum(width_of[site] for site in spec.canon)


def _layer_weights(spec: ModelSpec, rows: float) -> float:
    """Weights of a layer that a token is multiplied by; those of an expert count for each row."""
    mixer = counts.MIXERS[spec.mixer](spec)
    if spec.mlp == "none":
        return mixer
    return mixer + spec.d_model * spec.n_expert + rows * counts.MLPS[spec.mlp].n_params(spec)


def _matrices(spec: ModelSpec) -> Counter[tuple[int, int]]:
    """Shapes, shorter side first, of the matrices of a trial that Muon steps, and how many have
    each.
    """
    d, d_kv, d_ff = spec.d_model, spec.d_kv, spec.d_ff
    shapes = Counter({(d, d): 2})
    shapes[d_kv, d] += 2
    if spec.mlp != "none":
        n_matrices = (1 + counts.MLPS[spec.mlp].n_hidden) * max(1, spec.n_expert)
        shapes[min(d, d_ff), max(d, d_ff)] += n_matrices
    return Counter({shape: spec.n_layer * n for shape, n in shapes.items()})


def _muon_flop(n_short: int, n_long: int) -> float:
    """Of a matrix r c with r <= c: in each iteration two products r c r and one r r r."""
    return _MUON_ITERATIONS * (4 * n_short**2 * n_long + 2 * n_short**3)

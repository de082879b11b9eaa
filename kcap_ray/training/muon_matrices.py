"""Which weights of a decoder Muon steps: the matrices that its blocks multiply by."""

import math
from itertools import groupby

from kcap_ray.models.decoder import Decoder, is_matrix
from kcap_ray.models.own_model import OwnModel
from kcap_ray.models.spec import ModelSpec
from kcap_ray.training.muon import Matrices

# What they give are not features but one number each: an expert's share, a head's step size.
_NOT_HIDDEN = ("router.weight", "step.weight")


def matrices_inside(model: Decoder | OwnModel) -> dict[str, list[Matrices]]:
    """The matrices in each parameter that Muon steps, in the order of their rows.

    A parameter that holds several maps (queries, keys and values; gate and value of a
    gated MLP) is taken apart: Muon does better on each alone (K. Jordan and others, "Muon: an
    optimizer for hidden layers in neural networks", 2024). A stack of experts is a batch of
    matrices.
    """
    if isinstance(model, OwnModel):
        # Which of its rows belong together is not known: each is taken as one map.
        return {
            name: [Matrices(math.prod(weight.shape[:-2]), *weight.shape[-2:])]
            for name, weight in model.named_parameters()
            if model.roles.get(name) == "muon"
        }
    found = {}
    for name, parameter in model.named_parameters():
        shape = list(parameter.shape if model.n_trials is None else parameter.shape[1:])
        is_inside = name.startswith("blocks.") and is_matrix(name)
        if not is_inside or name.endswith(_NOT_HIDDEN):
            continue
        *stack, n_rows, n_columns = shape
        n_stacked = stack[0] if stack else 1
        maps = _rows_of_maps(name, n_rows, model.spec) * n_stacked
        found[name] = [Matrices(len([*same]), rows, n_columns) for rows, same in groupby(maps)]
    return found


def _rows_of_maps(name: str, n_rows: int, spec: ModelSpec) -> list[int]:
    if name.endswith("attention.qkv.weight"):
        return [spec.d_model, spec.d_kv, spec.d_kv]
    if name.endswith("up.weight") and spec.mlp == "gated":
        return [spec.d_ff, spec.d_ff]
    return [n_rows]

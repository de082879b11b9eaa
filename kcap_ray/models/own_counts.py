"""Counts the weights of a model that is brought along, and says which of them do what."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from kcap_ray.config.errors import UserError
from kcap_ray.config.model import ModelConfig
from kcap_ray.models.own_build import build_to_count
from kcap_ray.models.own_source import module_of

Role = Literal["plain", "decay", "muon"]
"""What steps a weight: AdamW without weight decay, with it, or Muon where that is asked for (and
AdamW with weight decay where it is not).
"""

_ROLES = ("plain", "decay", "muon")

SMALLEST_SIDE = 16
"""Rows or columns below which a matrix is not one of features, but for instance the router of
experts or the step sizes of heads.
"""

MORE_ROWS = 127
"""Rows that an embedding may have beyond the vocabulary, which some round up to a multiple of 64 or
128.
"""

TABLE_NAME = re.compile(r"pos|wpe|emb", re.IGNORECASE)
"""Names of bare parameters that are looked up by place or token, such as `pos_emb`."""

_N_EXPERTS = ("num_local_experts", "n_routed_experts", "num_experts")


def embedding_names(module: nn.Module, vocab_size: int) -> list[str]:
    """Weights that have a row for every token: the embedding, and an output head of its own.

    They are the weights of an `nn.Embedding` and of an `nn.Linear`; where there is no such
    embedding, a bare matrix. Where there is none either, an embedding may have up to `MORE_ROWS`
    rows more, and an output head with it.
    """
    tables, heads, bare = _by_rows(module)
    embeddings = tables.get(vocab_size) or bare.get(vocab_size, [])
    found = embeddings + heads.get(vocab_size, [])
    if not embeddings:
        for rows in range(vocab_size + 1, vocab_size + MORE_ROWS + 1):
            if rows in tables and rows in heads:
                found += tables[rows] + heads[rows]
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return [names[key] for key in dict.fromkeys(map(id, found)) if key in names]


def _by_rows(module: nn.Module) -> list[dict[int, list[nn.Parameter]]]:
    """Weights that may be embedding or head, by their rows: of `nn.Embedding`, of `nn.Linear` (or
    what its weight is computed from), and matrices that belong to no layer of torch.
    """
    tables, heads, bare = {}, {}, {}
    for part in module.modules():
        own = dict(part.named_parameters(recurse=False))
        if isinstance(part, nn.Embedding):
            kind = tables
        elif isinstance(part, nn.Linear | ParametrizationList):
            kind = heads
        elif type(part).__module__.startswith("torch.nn.modules."):
            continue
        else:
            kind = bare
        for parameter in own.values():
            if parameter.dim() == 2:
                kind.setdefault(parameter.shape[0], []).append(parameter)
    return [tables, heads, bare]


def roles_of(module: nn.Module, vocab_size: int, model: ModelConfig) -> dict[str, Role]:
    """The role of every weight that is trained, by name.

    By shape: what has two dimensions or more decays; Muon steps what is a matrix, or a stack of
    matrices, inside of the model, with both sides at least `SMALLEST_SIDE`; not what is looked up,
    the output head, a convolution, or what by its name (`TABLE_NAME`) is a table of positions. A
    function `parameter_groups(module)` in the file of the model says otherwise: it gives a mapping
    from names to roles, and need not have all.

    Raises `UserError` where that gives names or roles that there are not.
    """
    outside = set(embedding_names(module, vocab_size))
    for path, part in module.named_modules():
        for name, parameter in part.named_parameters(recurse=False):
            is_table = TABLE_NAME.search(name) or parameter.shape[:1] == (1,)
            if is_table or isinstance(part, nn.Embedding | nn.Conv1d | nn.Conv2d):
                outside.add(f"{path}.{name}" if path else name)
    roles: dict[str, Role] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        is_inside = parameter.dim() in (2, 3) and name not in outside
        if is_inside and min(parameter.shape[-2:]) >= SMALLEST_SIDE:
            roles[name] = "muon"
        else:
            roles[name] = "decay" if parameter.dim() >= 2 else "plain"
    if model.file is not None:
        hook = getattr(module_of(model), "parameter_groups", None)
        if hook is not None:
            roles |= _checked(hook(module), roles)
    return roles


def _checked(given: Any, roles: Mapping[str, Role]) -> dict[str, Role]:
    if not isinstance(given, Mapping):
        raise UserError("parameter_groups: has to give a mapping from names of weights to roles")
    for name, role in given.items():
        if name not in roles:
            raise UserError(
                f"parameter_groups: there is no trained weight {name!r}; {next(iter(roles))} is one"
            )
        if role not in _ROLES:
            raise UserError(
                f"parameter_groups: {name}: got {role!r}; allowed are {', '.join(_ROLES)}"
            )
    return dict(given)


def count(model: ModelConfig, vocab_size: int, n_tokens: int) -> dict[str, Any]:
    """Sizes of the model for so many tokens of vocabulary and window: the fields of `OwnSpec`.

    Raises `UserError` where it cannot be built.
    """
    module = build_to_count(model, vocab_size, n_tokens)
    weights = dict(module.named_parameters())  # what is shared is in it once
    embeddings = [weights[name] for name in embedding_names(module, vocab_size)]
    n_params = sum(parameter.numel() for parameter in weights.values())
    config = getattr(module, "config", None)
    return {
        "arch": "own" if model.hf is None else str(model.hf["model_type"]),
        "n_layer": _asked(config, module, "num_hidden_layers", "n_layer") or _longest_list(module),
        "n_head": _asked(config, module, "num_attention_heads", "n_head"),
        "d_model": embeddings[0].shape[1] if embeddings else None,
        "vocab_size": vocab_size,
        "n_params": n_params,
        "n_params_embedding": sum(parameter.numel() for parameter in embeddings),
        "n_params_active": n_params - _idle(config, weights),
    }


def _asked(config: Any, module: nn.Module, *names: str) -> int | None:
    for owner in (config, module):
        for name in names:
            value = getattr(owner, name, None)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


def _longest_list(module: nn.Module) -> int | None:
    lists = [len(part) for part in module.modules() if isinstance(part, nn.ModuleList)]
    return max(lists, default=None)


def _idle(config: Any, weights: Mapping[str, nn.Parameter]) -> int:
    """Weights of the experts that a token is not sent to, by the settings of transformers, which
    stacks them on the first axis.
    """
    n_expert = next((n for n in (getattr(config, x, None) for x in _N_EXPERTS) if n), None)
    n_chosen = getattr(config, "num_experts_per_tok", None)
    if not isinstance(n_expert, int) or not isinstance(n_chosen, int) or n_chosen >= n_expert:
        return 0
    stacked = [w.numel() for w in weights.values() if w.dim() == 3 and w.shape[0] == n_expert]
    return sum(stacked) * (n_expert - n_chosen) // n_expert

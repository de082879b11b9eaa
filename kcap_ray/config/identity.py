"""What makes a cell that cell: a hash of its science alone, and the seed of its search.

The science of a cell is what changes its numbers: data, model, training, the ranges of its search,
and the contents of the files that it reads. Where it runs, what it keeps and how long it searches
are no part of it. A setting counts only where it differs from the value in `DEFAULTS`, so a setting
that is new, with a default that does what was done before, changes no id.
"""

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from kcap_ray.config.digest import json_digest

# No default of the code's own: where that changes, a cell with the new one is another cell. A line
# is never changed; a new setting gets a line with the value that does what was done without it.
DEFAULTS: dict[str, Any] = {
    "data.kind": "bioS",
    "data.pools": "full",
    "data.seed": 0,
    "data.K": None,
    "data.C": None,
    "data.D": None,
    "data.L": None,
    "data.T": None,
    "data.style": "sentence",
    "data.file": None,
    "data.templates": None,
    "data.pool_sizes": None,
    "data.contents": None,
    "data.attributes": None,
    "data.max_names": None,
    "data.max_values": None,
    "data.name_space": None,
    "data.frequency": None,
    "data.frequency.zipf": None,
    "data.frequency.column": None,
    "data.frequency.bands": 4,
    "data.vocab": "compact",
    "data.parts": None,
    "data.junk": None,
    "data.junk.ratio": 7,
    "data.junk.token": False,
    "data.junk.behind": "useful",
    "data.mixing": "windows",
    "model.name": "",
    "model.file": None,
    "model.build": None,
    "model.kwargs": None,
    "model.hf": None,
    "model.contents": None,
    "model.head_dim": 64,
    "model.experts_per_token": 1,
    "model.capacity_factor": 2,
    "model.test_capacity_factor": 8,
    "model.rotary_frac": 1,
    "model.rope_base": 10_000,
    "train.length": "exposures",
    "train.tokens_per_exposure": None,
    "train.steps": None,
    "train.window_tokens": 512,
    "train.warmup_steps": 1_000,
    "train.warmup_frac": 0.1,
    "train.final_lr_ratio": 0.1,
    "train.beta1": 0.9,
    "train.beta2": 0.98,
    "train.eps": 1e-6,
    "train.grad_clip": None,
    "train.init_std": 0.02,
    "train.optimizer": "adamw",
    "train.load_balance": 0.01,
    "tune.lr": None,
    "tune.lr.log": True,
    "tune.weight_decay": None,
    "tune.weight_decay.log": True,
    "tune.warm_start": True,
    "seed": 0,
}
"""Version 1 of the defaults, by dotted key; what is not here always counts."""

NOT_SCIENCE = (
    # Where and how fast: by rounding alone, or with experts by which places are counted together.
    "train.workers",
    "train.micro_windows",
    "train.compile",
    # What it is called; which model it is follows from the others.
    "model.label",
    # What is shown meanwhile, and what is kept.
    "train.probe_exposures",
    "train.probe_people",
    "keep_checkpoint",
    # How long to search: trials are a sequence, of which more can be run.
    "tune.trials",
    "tune.fused",
    "tune.widen",
    "tune.costly_flops",
    "tune.costly_trials",
    "tune.is_costly",
    "tune.guide_trials",
    # Seeds that are averaged over are a sequence too.
    "tune.confirm_seeds",
)
"""Settings that are no part of a cell's identity."""

_PATHS = ("file", "templates", "pool_sizes")
_STARTS_THE_SEARCH = ("train.lr", "train.weight_decay")


def science(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What of a cell's settings, nested as `Cell.to_dict` has them, makes its numbers: by dotted
    key, without what is as in `DEFAULTS`. Of files that were read the contents alone count.
    """
    return {
        key: value
        for key, value in _flat(settings, "")
        if key not in NOT_SCIENCE and not (key in DEFAULTS and value == DEFAULTS[key])
    }


def _flat(settings: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    if prefix == "data.":
        settings = _without_places(settings)
    if prefix == "model." and not settings.get("name"):
        settings = _brought_along(settings)
    for name, value in settings.items():
        key = prefix + name
        if isinstance(value, Mapping):
            yield from _flat(value, f"{key}.")
        elif isinstance(value, list | tuple) and key.startswith("model."):
            yield key, [_plain(item) for item in value]
        elif isinstance(value, list | tuple):
            if value:  # parts of a mixture: tables like that of `data`
                yield key, [science({"data": part}) for part in value]
        else:
            yield key, _plain(value)


def _without_places(table: Mapping[str, Any]) -> dict[str, Any]:
    """Of what is read from files the contents; their names where they have not been read."""
    table = dict(table)
    is_own = table.get("pools") not in (None, "full", "mini")
    for name in (*_PATHS, "pools") if is_own else _PATHS:
        if table.get("contents") is not None:
            table.pop(name, None)
        elif table.get(name) is not None:
            table[name] = PurePath(table[name]).name
    return table


def _brought_along(model: Mapping[str, Any]) -> dict[str, Any]:
    """What says which model it is: of a file what it holds, or its name where it was not read."""
    if model.get("hf") is not None:
        return {"hf": model["hf"]}
    contents = model.get("contents")
    source = {"file": PurePath(model["file"]).name} if contents is None else {"contents": contents}
    return {**source, "build": model["build"], "kwargs": model.get("kwargs")}


def model_title(model: Mapping[str, Any]) -> str:
    """What a model is called: its name; of one that is brought along what builds it, and its label
    or six digits of a digest of its settings, for instance hf-qwen3-03fa2c or MyLM-wide.
    """
    if model.get("name"):
        return model["name"]
    is_hf = model.get("hf") is not None
    family = f"hf-{model['hf']['model_type']}" if is_hf else model["build"]
    return f"{family}-{model.get('label') or json_digest(science({'model': model}))[:6]}"


def _plain(value: Any) -> Any:
    """Equal numbers as one: 1.0 as 1."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def cell_id(settings: Mapping[str, Any]) -> str:
    """Readable name and hash of a cell's science; safe as a file name."""
    return id_of(readable(settings), science(settings))


def id_of(name: str, counted: Mapping[str, Any]) -> str:
    """The id of a cell with this readable name and this science."""
    return f"{name}-{json_digest(counted)[:8]}"


def readable(settings: Mapping[str, Any]) -> str:
    """The part of an id that people read."""
    data, train = settings["data"], settings["train"]
    kind = data.get("kind", DEFAULTS["data.kind"])
    model = model_title(settings["model"]).replace("/", "_")
    return f"{kind}-n{data['n_people']}-e{train['exposures']}-{model}-s{settings['seed']}"


def search_seed(settings: Mapping[str, Any]) -> int:
    """Seed of the points that a cell tries, 32 bits: from data, model and training, so each cell
    searches at points of its own; not from the point that it starts at, nor from the seed of the
    weights.
    """
    counted = {
        key: value
        for key, value in science(settings).items()
        if key.partition(".")[0] in ("data", "model", "train") and key not in _STARTS_THE_SEARCH
    }
    return int(json_digest(counted)[:8], 16)

"""A causal language model of transformers made from settings alone, with random weights; no files
are read, and none of anybody's code but transformers' own is run.
"""

import copy
import inspect
from typing import Any

from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from kcap_ray.config.errors import UserError, did_you_mean, one_line
from kcap_ray.config.model import Settings

_OURS = ("vocab_size",)
_LENGTHS = ("max_position_embeddings", "max_seq_len")
_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")
_COMMON = ("architectures", "torch_dtype", "dtype", "transformers_version", "attn_implementation")


def hugging_face_config(hf: Settings, vocab_size: int, n_tokens: int) -> PreTrainedConfig:
    """The configuration that the settings ask for, for this vocabulary and window.

    What is not written is transformers' default, but: the vocabulary is that of the data, the
    longest sequence is the window, no token is special, and nothing is dropped out.

    Raises `UserError` for a type or a setting that transformers does not know.
    """
    asked = copy.deepcopy(dict(hf))  # transformers completes nested settings in place
    kind = _text_type(asked.pop("model_type"))
    for name in _OURS:
        if name in asked:
            raise UserError(f"model.hf.{name}: comes from the data; leave it out")
    config_class: Any = CONFIG_MAPPING[kind]
    try:
        plain = config_class()
    except Exception:  # one that has no defaults
        plain = None
    if plain is not None:
        _check_known(kind, config_class, plain, asked)
        asked |= _defaults(plain, asked, n_tokens)
    else:
        asked |= dict.fromkeys(_TOKENS)
    asked["vocab_size"] = vocab_size
    try:
        config = config_class(**asked)
    except Exception as error:
        raise UserError(f"model.hf: {kind}: {one_line(error)}") from error
    config.use_cache = False
    return config


def hugging_face_model(hf: Settings, vocab_size: int, n_tokens: int) -> nn.Module:
    """The model with random weights. Raises `UserError` where transformers cannot make it."""
    config = hugging_face_config(hf, vocab_size, n_tokens)
    try:
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:
        raise UserError(f"model.hf: {config.model_type}: {one_line(error)}") from error


def _text_type(kind: str) -> str:
    """The type, or that of the language model inside of one for several kinds of input."""
    if kind not in CONFIG_MAPPING or kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        near = did_you_mean(kind, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
        raise UserError(
            f"model.hf.model_type: transformers has no causal language model {kind!r}{near}"
        )
    config_class: Any = CONFIG_MAPPING[kind]
    inside = getattr(config_class, "sub_configs", {}).get("text_config")
    text = getattr(inside, "model_type", kind)
    return text if text in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES else kind


def _check_known(kind: str, config_class: Any, plain: Any, asked: dict[str, Any]) -> None:
    known = {*plain.to_dict(), *config_class.attribute_map, *_COMMON}
    known |= set(inspect.signature(config_class.__init__).parameters) - {"self", "kwargs"}
    for name in asked:
        if name not in known:
            near = did_you_mean(name, known) or "; see its configuration in transformers"
            raise UserError(f"model.hf.{name}: {kind} has no such setting{near}")


def _defaults(plain: Any, asked: dict[str, Any], n_tokens: int) -> dict[str, Any]:
    """What kcap sets where nothing is asked for."""
    values: dict[str, Any] = {name: None for name in _TOKENS if name not in asked}
    own_names = {name: plain.attribute_map.get(name, name) for name in _LENGTHS}
    for name, own_name in own_names.items():
        if hasattr(plain, own_name) and not {name, own_name} & set(asked):
            values[own_name] = n_tokens
    for name, value in plain.to_dict().items():
        is_drop = "dropout" in name or name.endswith("_pdrop")
        is_rate = isinstance(value, float) and not isinstance(value, bool)
        if is_drop and is_rate and name not in asked:
            values[name] = 0.0
    return values

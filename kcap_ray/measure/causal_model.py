"""Causal language models of transformers, read from a directory."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, logging

import kcap_ray.models.hugging_face  # noqa: F401 - makes transformers know our own models
from kcap_ray.config.errors import UserError, one_line

_LONGEST = ("max_position_embeddings", "max_seq_len", "max_sequence_length", "n_positions", "n_ctx")
"""What models call their longest sequence."""

_SILENT = 100  # above every level of logging


def load_causal_model(
    path: Path, device: torch.device, dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """The model in a directory, as `dtype`, ready to predict on the device.

    Raises `UserError` if there is none, if some of its weights are missing, or if it is not causal.
    """
    if not (path / "config.json").is_file():
        raise UserError(
            f"{path}: no config.json in it; name a directory written by save_pretrained or "
            "`kcap export`"
        )
    logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity(_SILENT)  # what is wrong is said below
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path,
            local_files_only=True,
            trust_remote_code=False,
            dtype=dtype,
            output_loading_info=True,
        )
    except Exception as error:  # a broken directory raises whatever its reader stumbles over
        raise UserError(
            f"{path}: not a causal language model that can be read ({one_line(error)})"
        ) from error
    finally:
        logging.set_verbosity(verbosity)
    model, found = loaded
    missing = sorted(found["missing_keys"]) + sorted(found["mismatched_keys"])
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of the weights of a {type(model).__name__} are not in it, "
            f"{missing[0]} for one; save the whole causal language model"
        )
    model = model.to(device)
    model.config.use_cache = False
    _check_causal(path, model.eval())
    return model


def longest_sequence(model: PreTrainedModel) -> int | None:
    """Tokens that the model reads at most; None if there is no limit."""
    config = model.config.get_text_config()
    lengths = (getattr(config, name, None) for name in _LONGEST)
    return next((n for n in lengths if isinstance(n, int) and n > 0), None)


def vocabulary_size(model: PreTrainedModel) -> int:
    """Tokens that the model chooses from."""
    return model.config.get_text_config().vocab_size


def logits_of(model: PreTrainedModel, tokens_BT: Tensor) -> Tensor:
    """Logits [B, T, V] of the token after each."""
    return model(input_ids=tokens_BT).logits


@torch.no_grad()
def _check_causal(path: Path, model: PreTrainedModel) -> None:
    """UserError if a prediction changes when a later token does."""
    length = min(8, longest_sequence(model) or 8)
    tokens_BT = torch.arange(length, device=model.device).remainder(vocabulary_size(model))
    tokens_BT = tokens_BT.expand(2, length).clone()
    tokens_BT[1, -1] = vocabulary_size(model) - 1
    one, other = (logits_of(model, row_T.unsqueeze(0))[0, :-1] for row_T in tokens_BT)
    # Rounding is some 1e-7 of the largest in float32: a hundred times the type's.
    tolerance = 100 * torch.finfo(one.dtype).eps
    if (one - other).abs().max() > tolerance * one.abs().max():
        raise UserError(
            f"{path}: {type(model).__name__} is not causal, its predictions depend on later "
            "tokens; bits are measured of causal language models"
        )

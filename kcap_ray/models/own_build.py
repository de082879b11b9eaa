"""Builds a model that is brought along."""

import torch
from torch import nn

from kcap_ray.config.errors import UserError
from kcap_ray.config.model import ModelConfig
from kcap_ray.models.own_source import builder_of, check_arguments, first_line


def build_module(model: ModelConfig, vocab_size: int, n_tokens: int) -> nn.Module:
    """The module with the weights that its own code draws from torch's global generator, in torch's
    default type (float32).

    Raises `UserError` where there is no such builder, or what it gives is no module.
    """
    if model.hf is not None:
        # Takes seconds to load, and is not needed for a file.
        from kcap_ray.models.own_hugging_face import hugging_face_model

        return hugging_face_model(model.hf, vocab_size, n_tokens).to(torch.get_default_dtype())
    build = builder_of(model)
    check_arguments(model, build)
    try:
        module = build(vocab_size, n_tokens, **(model.kwargs or {}))
    except UserError:
        raise
    except Exception as error:  # whatever the code of somebody else raises
        raise UserError(
            f"model.build: {model.build}({vocab_size}, {n_tokens}) raised {first_line(error)}"
        ) from error
    if not isinstance(module, nn.Module):
        raise UserError(
            f"model.build: {model.build} gave {type(module).__name__}; it has to give a "
            "torch.nn.Module"
        )
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise UserError(f"model.build: {model.build} has no weights that can be trained")
    return module.to(torch.get_default_dtype())


def build_seeded(model: ModelConfig, vocab_size: int, n_tokens: int, *, seed: int) -> nn.Module:
    """The same with weights that the seed decides; torch's global generator stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_module(model, vocab_size, n_tokens)


def build_to_count(model: ModelConfig, vocab_size: int, n_tokens: int) -> nn.Module:
    """The module without values where that is possible, since its sizes are all that is asked."""
    try:
        with torch.device("meta"):
            return build_module(model, vocab_size, n_tokens)
    except UserError:
        # Some compute with what they have drawn. What is really wrong is wrong again.
        return build_seeded(model, vocab_size, n_tokens, seed=0)

"""Builds a model that is brought along."""

import sys
from contextlib import redirect_stdout

import torch
from torch import nn

from kcap_ray.config.errors import UserError, one_line
from kcap_ray.config.model import ModelConfig
from kcap_ray.models.own_source import builder_of, check_arguments


def build_module(
    model: ModelConfig, vocab_size: int, n_tokens: int, *, anew: bool = False
) -> nn.Module:
    """The module with the weights that its own code draws from torch's global generator, what is
    floating-point in torch's default type (float32). `anew`: by a copy of the file of its own.

    Raises `UserError` where there is no such builder, or what it gives is no module that can be
    trained and kept.
    """
    if model.hf is not None:
        # Takes seconds to load, and is not needed for a file.
        from kcap_ray.models.own_hugging_face import hugging_face_model

        return _in_default_type(hugging_face_model(model.hf, vocab_size, n_tokens))
    build = builder_of(model, anew=anew)
    check_arguments(model, build)
    try:
        with redirect_stdout(sys.stderr):  # standard output has results only
            module = build(vocab_size, n_tokens, **(model.kwargs or {}))
    except UserError:
        raise
    except Exception as error:  # whatever the code of somebody else raises
        raise UserError(
            f"model.build: {model.build}({vocab_size}, {n_tokens}) raised {one_line(error)}"
        ) from error
    if not isinstance(module, nn.Module):
        raise UserError(
            f"model.build: {model.build} gave {type(module).__name__}; it has to give a "
            "torch.nn.Module"
        )
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise UserError(f"model.build: {model.build} has no weights that can be trained")
    _check_kinds(module)
    _check_apart(module)
    return _in_default_type(module)


def _check_kinds(module: nn.Module) -> None:
    """UserError for weights that cannot be kept in one buffer of real numbers."""
    for name, parameter in module.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise UserError(f"{name}: a lazy layer; give it its sizes")
        if parameter.is_complex():
            raise UserError(
                f"{name}: complex weights are not trained; keep real and imaginary parts as weights"
                " of their own, and make one of them by torch.complex"
            )
    for path, part in module.named_modules():
        if isinstance(part, nn.Embedding | nn.EmbeddingBag) and part.sparse:
            raise UserError(f"{path}: sparse gradients are not taken; leave sparse=True out")


def _check_apart(module: nn.Module) -> None:
    """UserError for two weights in the same memory: each is trained in memory of its own."""
    by_memory: dict[tuple[int, int], str] = {}
    for name, parameter in module.named_parameters():
        if parameter.is_meta or not parameter.numel():
            continue
        place = parameter.untyped_storage().data_ptr(), int(parameter.storage_offset())
        other = by_memory.setdefault(place, name)
        if other != name:
            raise UserError(
                f"{other} and {name} share their memory and are two weights; to tie them, assign "
                "the Parameter itself"
            )


def _in_default_type(module: nn.Module) -> nn.Module:
    """With floating-point tensors in torch's default type, and each in memory of its own shape:
    transposed and expanded ones can neither be saved nor restored.
    """
    dtype = torch.get_default_dtype()

    def changed(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.to(dtype) if tensor.is_floating_point() else tensor
        return tensor.contiguous() if tensor.layout is torch.strided else tensor

    return module._apply(changed)


def build_seeded(
    model: ModelConfig, vocab_size: int, n_tokens: int, *, seed: int, anew: bool = False
) -> nn.Module:
    """The same with weights that the seed decides; torch's global generator stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_module(model, vocab_size, n_tokens, anew=anew)


def build_to_count(model: ModelConfig, vocab_size: int, n_tokens: int) -> nn.Module:
    """The module without values where that is possible, since its sizes are all that is asked."""
    try:
        with torch.device("meta"):
            # Tables that a file keeps from one model to the next would be without values for ever.
            return build_module(model, vocab_size, n_tokens, anew=True)
    except UserError:
        # Some compute with what they have drawn. What is really wrong is wrong again.
        return build_seeded(model, vocab_size, n_tokens, seed=0)

"""The Python file of a model that is brought along: read once, and only if it is the one that was
asked for.
"""

import importlib.util
import inspect
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from kcap_ray.config.digest import digest_of, text_digest
from kcap_ray.config.errors import UserError, did_you_mean, one_line
from kcap_ray.config.model import ModelConfig


def module_of(model: ModelConfig, *, anew: bool = False) -> ModuleType:
    """The file as a module; `anew`: a copy of its own, which shares no tables that it keeps.

    Raises `UserError` where it is not there, cannot be imported, or is not what it was when the
    cell was made.
    """
    assert model.file is not None, "only models from a file have one"
    path = Path(model.file)
    try:
        source = path.read_bytes()
    except OSError as error:
        raise UserError(f"model.file: {path}: {error.strerror}") from error
    digest = text_digest(digest_of([source]))
    if model.contents is not None and digest != model.contents:
        raise UserError(
            f"model.file: {path} has changed since the sweep was read; give the same command again"
        )
    # What it draws while it is read depends on torch's default type.
    dtype = str(torch.get_default_dtype()).removeprefix("torch.")
    name = f"kcap_model_{digest[:12]}_{dtype}"
    return _import(path, f"{name}_anew") if anew else _imported(path, name)


@cache
def _imported(path: Path, name: str) -> ModuleType:
    return _import(path, name)


def _import(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"model.file: {path}: not a Python file; its name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and pickles look it up
    wrote_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        # Standard output has results only; what is drawn here is the same in every process.
        with redirect_stdout(sys.stderr), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            spec.loader.exec_module(module)
    except ImportError as error:
        raise UserError(
            f"model.file: {path}: {one_line(error)}; all of a model that is not installed goes "
            "into this one file"
        ) from error
    except Exception as error:  # whatever the code of somebody else raises
        raise UserError(f"model.file: {path}: cannot be read ({one_line(error)})") from error
    finally:
        sys.dont_write_bytecode = wrote_bytecode
    return module


def builder_of(model: ModelConfig, *, anew: bool = False) -> Callable[..., Any]:
    """What `model.build` names; `UserError` where the file has none such, with the closest.

    `anew` as of `module_of`.
    """
    assert model.build is not None, "file and build are given together"
    module = module_of(model, anew=anew)
    found = getattr(module, model.build, None)
    if callable(found):
        return found
    own = [
        name
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", "") == module.__name__
    ]
    near = did_you_mean(model.build, own) or f"; it has {', '.join(own) or 'none at all'}"
    raise UserError(f"model.build: {model.file} has no function or class {model.build}{near}")


def check_arguments(model: ModelConfig, build: Callable[..., Any]) -> None:
    """UserError where `build` does not take what it is to be given."""
    try:
        signature = inspect.signature(build)
    except (TypeError, ValueError):  # of some classes Python cannot tell
        return
    try:
        signature.bind(0, 0, **(model.kwargs or {}))
    except TypeError as error:
        takes = ", ".join(signature.parameters)
        raise UserError(
            f"model.kwargs: {model.build}(vocab_size, ctx_len, ...): {error}; it takes {takes}"
        ) from error

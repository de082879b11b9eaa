"""The model that a finished cell keeps: written, and read back."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError
from kcap_ray.models.decoder import Decoder
from kcap_ray.models.own_model import OwnModel, load_weights, own_model, weights_of
from kcap_ray.models.spec import model_of
from kcap_ray.runs.files import replaced_directory

SOURCE = "model.py"
"""Copy, beside the weights, of the file that a model is made by."""


def save_weights(
    path: Path, model: Decoder | OwnModel, cell: Cell, vocab: Mapping[str, Any]
) -> None:
    """Write weights, cell and vocabulary as a directory that appears whole or not at all."""
    if isinstance(model, OwnModel):
        # A copy of each: what shares memory is not saved.
        tensors = {
            name: tensor.cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in weights_of(model).items()
        }
    else:
        tensors = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    texts = {
        "cell.json": json.dumps(cell.to_dict(), indent=1),
        "kcap_vocab.json": json.dumps(vocab),
    }
    with replaced_directory(path) as directory:
        save_file(tensors, directory / "model.safetensors")
        for name, text in texts.items():
            (directory / name).write_text(f"{text}\n", encoding="utf-8")
        if cell.model.file is not None:
            shutil.copyfile(cell.model.file, directory / SOURCE)


def load_model(cell_directory: Path) -> tuple[Decoder | OwnModel, Cell]:
    """The best trial's model of the cell in `cell_directory`, and the cell.

    Raises `UserError` if no weights were kept there or they cannot be read.
    """
    with reading_checkpoint(cell_directory) as checkpoint:
        cell = Cell.from_dict(json.loads((checkpoint / "cell.json").read_text(encoding="utf-8")))
        tensors = load_file(checkpoint / "model.safetensors")
        if cell.model.is_own:
            return own_model_with(tensors, cell, checkpoint), cell
        return model_with(tensors, cell), cell


def load_cell_model(cell_directory: Path) -> tuple[Decoder, Cell]:
    """The same of one of kcap's own models; `UserError` for one that is brought along."""
    model, cell = load_model(cell_directory)
    if not isinstance(model, Decoder):
        raise UserError(f"{cell_directory}: {cell.model.title} is no model of kcap's own")
    return model, cell


def own_model_with(tensors: Mapping[str, torch.Tensor], cell: Cell, checkpoint: Path) -> OwnModel:
    """A model that is brought along with these weights, made by the copy of its file that lies in
    the checkpoint, for the vocabulary there. What the file draws and does not save is drawn again,
    by the cell's seed.
    """
    model = cell.model
    if (checkpoint / SOURCE).is_file():
        model = replace(model, file=str(checkpoint / SOURCE))
    vocab = json.loads((checkpoint / "kcap_vocab.json").read_text(encoding="utf-8"))
    size, n_tokens = len(vocab["gpt2_ids"]), cell.train.window_tokens
    own = own_model(model, size, n_tokens, seed=cell.seed)
    load_weights(own, tensors)
    return own.eval()


def model_with(tensors: Mapping[str, torch.Tensor], cell: Cell) -> Decoder:
    """The cell's model with these weights, which also say how many tokens its vocabulary has."""
    spec = model_of(cell.model, len(tensors["embedding"]))
    model = Decoder(spec, n_tokens=cell.train.window_tokens)
    model.load_state_dict(tensors)
    return model


@contextmanager
def reading_checkpoint(cell_directory: Path) -> Iterator[Path]:
    """The directory of the weights; raises `UserError` if what is read there is not in order."""
    checkpoint = cell_directory / "checkpoint"
    try:
        yield checkpoint
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(
            f"{cell_directory}: no checkpoint of a finished cell in it; name DIR/cells/<cell_id>"
        ) from error
    except (ValueError, LookupError, TypeError, OSError, SafetensorError) as error:
        raise UserError(
            f"{checkpoint} cannot be read ({error}); delete {cell_directory} and run the cell again"
        ) from error

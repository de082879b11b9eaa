"""The model that a finished cell has kept, read back."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError
from kcap_ray.models.decoder import Decoder
from kcap_ray.models.spec import model_of


def load_cell_model(cell_directory: Path) -> tuple[Decoder, Cell]:
    """The best trial's model of the cell in `cell_directory`, and the cell.

    Raises `UserError` if no weights were kept there or they cannot be read.
    """
    with reading_checkpoint(cell_directory) as checkpoint:
        cell = Cell.from_dict(json.loads((checkpoint / "cell.json").read_text(encoding="utf-8")))
        tensors = load_file(checkpoint / "model.safetensors")
        return model_with(tensors, cell), cell


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
    except FileNotFoundError as error:
        raise UserError(
            f"{cell_directory}: no checkpoint of a finished cell in it; name DIR/cells/<cell_id>"
        ) from error
    except (ValueError, LookupError, TypeError, OSError, SafetensorError) as error:
        raise UserError(
            f"{checkpoint} cannot be read ({error}); delete {cell_directory} and run the cell again"
        ) from error

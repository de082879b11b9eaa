"""A finished cell's model, read back and written as a Hugging Face directory."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers.utils import logging as transformers_logging

from kcap_ray.budget import spec_of
from kcap_ray.cell import Cell
from kcap_ray.models.convert import to_hugging_face
from kcap_ray.models.decoder import Decoder
from kcap_ray.models.hugging_face import KcapForCausalLM
from kcap_ray.user_error import UserError


def load_cell_model(cell_directory: Path) -> tuple[Decoder, Cell]:
    """The best trial's model of the cell in `cell_directory`, and the cell.

    Raises `UserError` if no weights were kept there or they cannot be read.
    """
    with _reading(cell_directory) as checkpoint:
        cell = Cell.from_dict(json.loads((checkpoint / "cell.json").read_text(encoding="utf-8")))
        tensors = load_file(checkpoint / "model.safetensors")
    model = Decoder(spec_of(cell), n_tokens=cell.train.window_tokens)
    model.load_state_dict(tensors)
    return model, cell


@contextmanager
def _reading(cell_directory: Path) -> Iterator[Path]:
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


def export_cell(cell_directory: Path, out: Path) -> str:
    """Write the model for `AutoModelForCausalLM.from_pretrained`, with `kcap_vocab.json` and a
    README beside it; return the line of Python that reads it.

    Raises `UserError` if there is no model, or if `out` cannot be written.
    """
    model, _ = load_cell_model(cell_directory)
    with _reading(cell_directory) as checkpoint:
        vocab = (checkpoint / "kcap_vocab.json").read_text(encoding="utf-8")
        eos = json.loads(vocab)["eos"]
    exported = to_hugging_face(model, eos=eos)
    how_to_read = "AutoModelForCausalLM.from_pretrained(DIRECTORY)"
    if isinstance(exported, KcapForCausalLM):
        # transformers has no such class: ours must be known before.
        how_to_read = f"import kcap_ray.models.hugging_face; {how_to_read}"
    transformers_logging.disable_progress_bar()
    try:
        exported.save_pretrained(out)
        (out / "kcap_vocab.json").write_text(vocab, encoding="utf-8")
        (out / "README.md").write_text(
            f"Made by `kcap export`. Read it with `{how_to_read}`.\n", encoding="utf-8"
        )
    except OSError as error:
        raise UserError(f"{out}: cannot write there ({error.strerror})") from error
    return how_to_read

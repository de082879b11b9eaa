"""A quantized model on disk: packed weights, settings, and the cell and vocabulary they go with."""

import json
import shutil
from pathlib import Path

from kcap_ray.config.cell import Cell
from kcap_ray.models.checkpoint import SOURCE, model_with, own_model_with, reading_checkpoint
from kcap_ray.models.decoder import Decoder
from kcap_ray.models.own_model import OwnModel
from kcap_ray.quantize.config import QuantizeConfig
from kcap_ray.quantize.weights import QuantizedWeights
from kcap_ray.runs.files import replaced_directory


def save_quantized(
    path: Path, weights: QuantizedWeights, config: QuantizeConfig, checkpoint: Path
) -> None:
    """Write packed weights and settings, with the cell and vocabulary of the checkpoint that they
    are of, as a directory that appears whole or not at all.
    """
    settings = json.dumps(config.to_dict(), indent=1) + "\n"
    source = [SOURCE] if (checkpoint / SOURCE).exists() else []
    with replaced_directory(path) as directory:
        weights.save(directory / "model.safetensors")
        (directory / "quantization.json").write_text(settings, encoding="utf-8")
        for name in ("cell.json", "kcap_vocab.json", *source):
            shutil.copyfile(checkpoint / name, directory / name)


def load_quantized(directory: Path) -> tuple[Decoder | OwnModel, Cell]:
    """The model in `DIR/cells/<cell_id>/quantized/<label>`, with the logits that were measured, and
    its cell. Raises `UserError` if it cannot be read.
    """
    with reading_checkpoint(directory) as checkpoint:
        cell = Cell.from_dict(json.loads((checkpoint / "cell.json").read_text(encoding="utf-8")))
        tensors = QuantizedWeights.load(checkpoint / "model.safetensors").state_dict()
        if cell.model.is_own:
            return own_model_with(tensors, cell, checkpoint), cell
        return model_with(tensors, cell), cell

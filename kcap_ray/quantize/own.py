"""A model that is brought along, quantized: its linear layers, each by itself, not calibrated."""

import torch
from torch import nn

from kcap_ray.config.errors import UserError
from kcap_ray.models.own_counts import SMALLEST_SIDE, embedding_names
from kcap_ray.models.own_model import OwnModel
from kcap_ray.quantize.config import QuantizeConfig
from kcap_ray.quantize.grid import QuantizedMatrix
from kcap_ray.quantize.method import layer_quantizer
from kcap_ray.quantize.rtn import rtn
from kcap_ray.quantize.weights import QuantizedWeights


@torch.no_grad()
def quantize_own(model: OwnModel, config: QuantizeConfig) -> QuantizedWeights:
    """Quantize torch's linear layers inside of the model, and on demand what has a row for every
    token; all else, small matrices such as routers too, stays as 16-bit floats.

    Raises `UserError` for what needs to know how the model is put together: calibration, as gptq
    does it, and training on the grid; and where there is nothing to quantize.
    """
    title = model.config.title
    if config.method == "gptq" or config.finetune_exposures:
        what = "gptq" if config.method == "gptq" else "fine-tuning"
        raise UserError(
            f"{title}: {what} works on kcap's own decoder alone; write --method rtn or hqq for a "
            "model that is brought along"
        )
    weights = dict(model.named_parameters())
    tables = {f"module.{name}" for name in embedding_names(model.module, model.spec.vocab_size)}
    matrices: dict[str, QuantizedMatrix] = {}
    if config.embedding:
        matrices |= {name: rtn(weights[name].detach(), (), config) for name in sorted(tables)}
    if config.method != "fp16":
        quantize = layer_quantizer(config)
        layers = {
            f"{path}.weight"
            for path, layer in model.named_modules()
            if isinstance(layer, nn.Linear) and min(layer.weight.shape) >= SMALLEST_SIDE
        }
        # A weight that is used twice has one name.
        for name in sorted(layers & set(weights) - tables):
            matrices[name] = quantize(weights[name].detach(), (), config)
        if not set(matrices) - tables:
            raise UserError(f"{title}: has no torch.nn.Linear inside of it to quantize")
    return QuantizedWeights.of(model, matrices)

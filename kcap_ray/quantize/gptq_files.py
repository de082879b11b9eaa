"""A quantized model in the file format of auto-gptq, which transformers reads with gptqmodel.

Shapes: O outputs, I inputs, G groups of a row. A linear layer has `qweight` int32 [I bits / 32, O]
(codes of neighbouring inputs in one word, lowest bits first), `qzeros` int32 [G, O bits / 32]
(likewise of outputs), `scales` float16 [G, O] and `g_idx` int32 [I]. The first version of the
format stores a zero point less one, and so cannot say zero; asymmetric models are written in the
second, which stores it as it is.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from kcap_ray.config.cell import Cell
from kcap_ray.models.checkpoint import model_with, reading_checkpoint
from kcap_ray.models.convert import to_hugging_face
from kcap_ray.models.hugging_face import KcapForCausalLM
from kcap_ray.quantize.config import QuantizeConfig
from kcap_ray.quantize.grid import QuantizedMatrix
from kcap_ray.quantize.weights import QuantizedWeights

WORD_BITS = 32

_Part = Callable[[QuantizedMatrix], Tensor]
"""From a matrix to a number for each of its weights [O, I]."""


class NotGptqError(ValueError):
    """The format cannot hold this model; says why."""


def pack_export(directory: Path, quantized: Path, *, eos: int) -> None:
    """Rewrite weights and configuration of the exported model in `directory` in that format;
    `quantized`: `DIR/cells/<cell_id>/quantized/<label>`, of which it was exported.

    Raises `NotGptqError`, with nothing written, where the format cannot hold it.
    """
    with reading_checkpoint(quantized) as checkpoint:
        cell = Cell.from_dict(json.loads((checkpoint / "cell.json").read_text(encoding="utf-8")))
        settings = json.loads((checkpoint / "quantization.json").read_text(encoding="utf-8"))
        weights = QuantizedWeights.load(checkpoint / "model.safetensors")
    config = QuantizeConfig(**settings)
    if cell.model.is_own:
        raise NotGptqError("a model that is brought along")
    if WORD_BITS % config.bits:
        raise NotGptqError(f"{config.bits} bits, which do not fill a word")
    exported = to_hugging_face(model_with(weights.state_dict(), cell), eos=eos)
    if isinstance(exported, KcapForCausalLM):
        raise NotGptqError("transformers has no class for it")
    tensors = _tensors(exported, weights, cell, config, eos=eos)
    exported.config.quantization_config = _settings(config, weights)
    exported.config.dtype = torch.float16
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    exported.config.save_pretrained(directory)


def _tensors(
    exported: PreTrainedModel,
    weights: QuantizedWeights,
    cell: Cell,
    config: QuantizeConfig,
    *,
    eos: int,
) -> dict[str, Tensor]:
    """What stands in the file: packed layers, and all else as float16."""

    def converted(part: _Part) -> dict[str, Tensor]:
        """A number of each quantized weight where transformers has that weight: its layers are
        those of kcap with rows in another order, or several below each other.
        """
        own = {name: part(matrix).float() for name, matrix in weights.matrices.items()}
        others = {name: torch.zeros_like(t).float() for name, t in weights.others.items()}
        return to_hugging_face(model_with({**others, **own}, cell), eos=eos).state_dict()

    is_quantized = converted(lambda matrix: torch.ones(matrix.codes_OI.shape))
    codes, scales = converted(lambda matrix: matrix.codes_OI), converted(_scales)
    zeros, groups = converted(_zeros), converted(_groups)
    kept = _without_shared(exported)
    for name, layer in exported.named_modules():
        weight = f"{name}.weight"
        if not isinstance(layer, nn.Linear) or not (is_quantized[weight] == 1).all():
            if weight in is_quantized and is_quantized[weight].any():
                raise NotGptqError(f"{name} is quantized, and no linear layer or not all of it")
            continue
        del kept[weight]
        packed = _layer(
            codes[weight], scales[weight], zeros[weight], groups[weight], bits=config.bits
        )
        if config.symmetric:
            packed["qzeros"] = pack_words(zeros_less_one(packed["zeros"], config.bits), config.bits)
        else:
            packed["qzeros"] = pack_words(packed["zeros"], config.bits)
        del packed["zeros"]
        kept |= {f"{name}.{part}": tensor.contiguous() for part, tensor in packed.items()}
    return kept


def _layer(
    codes_OI: Tensor, scale_OI: Tensor, zero_OI: Tensor, group_OI: Tensor, *, bits: int
) -> dict[str, Tensor]:
    """A layer's tensors; `zeros` [G, O] are not packed yet."""
    n_out, n_in = codes_OI.shape
    if n_in % (WORD_BITS // bits) or n_out % (WORD_BITS // bits):
        raise NotGptqError(f"a layer of {n_in} x {n_out}, whose codes do not fill words")
    group_I = group_OI[0].long()
    if not (group_OI == group_OI[0]).all():
        raise NotGptqError("rows of one layer with different groups")
    if not (zero_OI == zero_OI.round()).all():
        raise NotGptqError("zero points that are no codes")
    first_G = torch.stack([(group_I == g).nonzero()[0, 0] for g in range(int(group_I.max()) + 1)])
    return {
        "qweight": pack_words(codes_OI, bits).T,
        "scales": scale_OI[:, first_G].T.half(),
        "zeros": zero_OI[:, first_G].T,
        "g_idx": group_I.int(),
    }


def zeros_less_one(zero_GO: Tensor, bits: int) -> Tensor:
    """Zero points as the first version of the format has them."""
    return (zero_GO - 1) % 2**bits


def pack_words(codes_RC: Tensor, bits: int) -> Tensor:
    """Rows of codes as words [R, C bits / 32], int32, lowest bits first.

    Worked example, 8 bits: codes 1, 2, 0, 128 are 1 + 2 * 2^8 + 128 * 2^24 - 2^32.
    """
    n_rows, per_word = len(codes_RC), WORD_BITS // bits
    shifts = bits * torch.arange(per_word)
    words = (codes_RC.long().reshape(n_rows, -1, per_word) << shifts).sum(dim=-1)
    return torch.where(words >= 2**31, words - 2**32, words).int()


def _without_shared(exported: PreTrainedModel) -> dict[str, Tensor]:
    """All weights as float16; what is shared, such as a tied head, once."""
    return {
        name: tensor.detach().half().clone()
        for name, tensor in exported.named_parameters(remove_duplicate=True)
    }


def _settings(config: QuantizeConfig, weights: QuantizedWeights) -> Mapping[str, Any]:
    """`quantization_config` of the model's configuration."""
    return {
        "quant_method": "gptq",
        "bits": config.bits,
        "group_size": -1 if config.group_size is None else config.group_size,
        "desc_act": not all(matrix.is_ordered for matrix in weights.matrices.values()),
        "sym": config.symmetric,
        "checkpoint_format": "gptq" if config.symmetric else "gptq_v2",
        "lm_head": False,
        "true_sequential": True,
    }


def _of_groups(matrix: QuantizedMatrix, values_OG: Tensor) -> Tensor:
    index_OI = matrix.group_I.long().unsqueeze(-2).expand(matrix.codes_OI.shape)
    return values_OG.float().gather(-1, index_OI)


def _scales(matrix: QuantizedMatrix) -> Tensor:
    return _of_groups(matrix, matrix.scale_OG)


def _zeros(matrix: QuantizedMatrix) -> Tensor:
    if matrix.zero_OG is None:
        return torch.full(matrix.codes_OI.shape, float(2 ** (matrix.bits - 1)))
    return _of_groups(matrix, matrix.zero_OG)


def _groups(matrix: QuantizedMatrix) -> Tensor:
    return matrix.group_I.float().unsqueeze(-2).expand(matrix.codes_OI.shape)

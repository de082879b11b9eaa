"""All weights of a model as they are stored after quantization, and their packed file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from kcap_ray.quantize.config import FP16_BITS
from kcap_ray.quantize.grid import QuantizedMatrix, ordered_groups

_HEADER = "quantized"


@dataclass(frozen=True, kw_only=True)
class QuantizedWeights:
    """Every parameter of a model, by name: quantized, or as 16-bit floats."""

    matrices: Mapping[str, QuantizedMatrix]
    others: Mapping[str, Tensor]
    """float16: norms, biases, taps, routers, and embeddings where these are not quantized."""

    @classmethod
    def of(cls, model: nn.Module, matrices: Mapping[str, QuantizedMatrix]) -> "QuantizedWeights":
        """These matrices, and all other weights of the model rounded to 16 bits."""
        others = {
            name: parameter.detach().half()
            for name, parameter in model.named_parameters()
            if name not in matrices
        }
        return cls(matrices=dict(matrices), others=others)

    def state_dict(self) -> dict[str, Tensor]:
        """What a `Decoder` computes with, float32."""
        dequantized = {name: matrix.dequantized() for name, matrix in self.matrices.items()}
        return {**dequantized, **{name: tensor.float() for name, tensor in self.others.items()}}

    @property
    def n_weights(self) -> int:
        """All weights; scales and zero points are none."""
        quantized = sum(matrix.n_weights for matrix in self.matrices.values())
        return quantized + sum(tensor.numel() for tensor in self.others.values())

    @property
    def n_bits(self) -> int:
        """Bits that storing all of them takes, with scales and zero points."""
        quantized = sum(matrix.n_bits for matrix in self.matrices.values())
        return quantized + FP16_BITS * sum(tensor.numel() for tensor in self.others.values())

    @property
    def bits_per_weight(self) -> float:
        """Bits of storage for each weight, over all weights of the model."""
        return self.n_bits / self.n_weights

    def save(self, path: Path) -> None:
        """Write a safetensors file of `n_bits` and the names and shapes of the tensors."""
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.others.items()}
        header = {}
        for name, matrix in self.matrices.items():
            tensors |= {f"{name}.{part}": t for part, t in _packed(matrix).items()}
            header[name] = _form(matrix)
        save_file(tensors, path, metadata={_HEADER: json.dumps(header)})

    @classmethod
    def load(cls, path: Path) -> "QuantizedWeights":
        """Inverse of `save`."""
        with safe_open(path, framework="pt") as file:
            header = json.loads(file.metadata()[_HEADER])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        matrices = {}
        for name, form in header.items():
            parts = {
                part: tensors.pop(f"{name}.{part}")
                for part in ("codes", "scale", "zero", "group")
                if f"{name}.{part}" in tensors
            }
            matrices[name] = _unpacked(parts, form)
        return cls(matrices=matrices, others=tensors)


def _form(matrix: QuantizedMatrix) -> dict[str, Any]:
    """What the tensors of a matrix do not say themselves."""
    width = int((matrix.group_I == 0).sum(dim=-1).flatten()[0])
    return {"bits": matrix.bits, "shape": list(matrix.codes_OI.shape), "group_size": width}


def _packed(matrix: QuantizedMatrix) -> dict[str, Tensor]:
    parts = {"codes": pack(matrix.codes_OI, matrix.bits), "scale": matrix.scale_OG}
    if matrix.zero_OG is not None:
        is_code = matrix.zero_OG.dtype == torch.uint8
        parts["zero"] = pack(matrix.zero_OG, matrix.bits) if is_code else matrix.zero_OG
    if not matrix.is_ordered:
        parts["group"] = matrix.group_I
    return {part: tensor.cpu().contiguous() for part, tensor in parts.items()}


def _unpacked(parts: dict[str, Tensor], form: dict[str, Any]) -> QuantizedMatrix:
    bits, shape, scale_OG = form["bits"], form["shape"], parts["scale"]
    zero_OG = parts.get("zero")
    if zero_OG is not None and zero_OG.dtype == torch.uint8:
        zero_OG = unpack(zero_OG, bits, list(scale_OG.shape))
    ordered_I = ordered_groups(shape[-1], form["group_size"]).expand(*shape[:-2], -1)
    return QuantizedMatrix(
        bits=bits,
        codes_OI=unpack(parts["codes"], bits, shape),
        scale_OG=scale_OG,
        zero_OG=zero_OG,
        group_I=parts.get("group", ordered_I),
        is_ordered="group" not in parts,
    )


def pack(codes: Tensor, bits: int) -> Tensor:
    """Codes of so many bits one after another in bytes, lowest bit first: 3-bit codes 1, 2, 3 are
    the bits 100 010 110, the bytes 0b11010001 and 0b00000000.
    """
    flat = codes.cpu().numpy().reshape(-1, 1)
    each_bit = (flat >> np.arange(bits, dtype=np.uint8)) & 1
    return torch.from_numpy(np.packbits(each_bit, bitorder="little"))


def unpack(packed: Tensor, bits: int, shape: list[int]) -> Tensor:
    """Inverse of `pack`."""
    n_codes = int(np.prod(shape))
    each_bit = np.unpackbits(packed.numpy(), count=n_codes * bits, bitorder="little")
    values = each_bit.reshape(-1, bits) << np.arange(bits, dtype=np.uint8)
    return torch.from_numpy(values.sum(axis=1, dtype=np.uint8)).view(shape)

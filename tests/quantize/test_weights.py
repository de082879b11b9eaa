"""Bits that quantized weights take, and their packed file."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kcap_ray.quantize.config import QuantizeConfig
from kcap_ray.quantize.decoder import quantize_decoder
from kcap_ray.quantize.gptq import gptq
from kcap_ray.quantize.grid import QuantizedMatrix
from kcap_ray.quantize.rtn import rtn
from kcap_ray.quantize.weights import QuantizedWeights, pack, unpack
from tests.tiny import random_decoder, random_tokens

WAYS: list[dict[str, Any]] = [
    {"method": "fp16", "bits": 16},
    {"method": "rtn", "bits": 8},
    {"method": "rtn", "bits": 5, "group_size": 10, "embedding": True},
    {"method": "rtn", "bits": 3, "symmetric": False},
    {"method": "hqq", "bits": 2, "group_size": 24},
    {"method": "gptq", "bits": 6, "act_order": True, "group_size": 10, "symmetric": False},
]


def quantized(model: str, way: dict[str, Any]) -> QuantizedWeights:
    """A random model quantized in some way."""
    return quantize_decoder(random_decoder(model), QuantizeConfig(**way), random_tokens(2, 24))


@settings(max_examples=50, deadline=None)
@given(bits=st.integers(2, 8), data=st.data())
def test_packed_codes_come_back(bits: int, data: st.DataObject) -> None:
    """Whatever the codes and their number, in as few bytes as hold them."""
    values = data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=50))
    codes = torch.tensor(values, dtype=torch.uint8)
    packed = pack(codes, bits)
    assert packed.dtype == torch.uint8
    assert len(packed) == (len(values) * bits + 7) // 8
    assert unpack(packed, bits, [len(values)]).tolist() == values


def test_codes_are_packed_lowest_bit_first() -> None:
    """The example of the docstring, as other tools read the file."""
    packed = pack(torch.tensor([1, 2, 3], dtype=torch.uint8), 3)
    assert packed.tolist() == [0b11010001, 0b00000000]


@pytest.mark.parametrize(
    ("settings", "n_bits"),
    [
        ({"bits": 4, "group_size": 8}, 4 * 60 + 16 * 9),  # 3 groups in each of 3 rows
        ({"bits": 3, "group_size": None}, 3 * 60 + 16 * 3),
        ({"bits": 3, "group_size": None, "symmetric": False}, 3 * 60 + (16 + 3) * 3),
        ({"bits": 4, "group_size": 8, "act_order": True}, 4 * 60 + 16 * 9 + 16 * 20),
        ({"bits": 4, "group_size": None, "act_order": True}, 4 * 60 + 16 * 3),
    ],
)
def test_bits_of_a_matrix_are_counted_to_the_last(settings: dict[str, Any], n_bits: int) -> None:
    """Codes, scales of 16 bits, zero points as codes, and the groups of inputs where these are not
    in order.
    """
    weight_OI = torch.randn(3, 20, generator=torch.Generator().manual_seed(0))
    matrix = gptq(weight_OI, [torch.randn(9, 20)], QuantizeConfig(**settings))
    assert matrix.n_bits == n_bits
    assert matrix.n_weights == 60


def test_a_stack_is_its_matrices() -> None:
    """Weights, bits and count are those of the parts."""
    generator = torch.Generator().manual_seed(0)
    config = QuantizeConfig(method="rtn", bits=3, group_size=7, symmetric=False)
    parts = [rtn(torch.randn(4, 16, generator=generator), (), config) for _ in range(3)]
    stack = QuantizedMatrix.stack(parts)
    assert torch.equal(stack.dequantized(), torch.stack([part.dequantized() for part in parts]))
    assert stack.n_bits == sum(part.n_bits for part in parts)
    assert stack.n_weights == sum(part.n_weights for part in parts)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS, ids=lambda way: QuantizeConfig(**way).label)
@pytest.mark.parametrize("model", ["gpt2-2-2", "llama-2-2-untied", "llama-2-3-moe3-tied"])
def test_a_file_holds_the_weights_in_the_bits_that_are_counted(
    model: str, way: dict[str, Any], tmp_path: Path
) -> None:
    """What is read back gives the same weights, bit for bit; the tensors take `n_bits`, but for
    what fills up their last bytes.
    """
    weights = quantized(model, way)
    weights.save(tmp_path / "w.safetensors")
    again = QuantizedWeights.load(tmp_path / "w.safetensors")
    before, after = weights.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert again.n_bits == weights.n_bits

    content = (tmp_path / "w.safetensors").read_bytes()
    (n_header,) = struct.unpack("<Q", content[:8])
    n_tensors = sum(name != "__metadata__" for name in json.loads(content[8 : 8 + n_header]))
    spare_bits = 8 * (len(content) - 8 - n_header) - weights.n_bits
    assert 0 <= spare_bits < 8 * n_tensors


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS, ids=lambda way: QuantizeConfig(**way).label)
@pytest.mark.parametrize("model", ["gpt2-2-2", "llama-2-2-untied", "gpt2-2-2-moe4-canon"])
def test_bits_per_weight_are_over_all_weights_of_the_model(model: str, way: dict[str, Any]) -> None:
    """A tied embedding counts once; the weights are those that P counts."""
    weights = quantized(model, way)
    spec = random_decoder(model).spec
    assert weights.n_weights == spec.n_params
    assert weights.bits_per_weight == weights.n_bits / spec.n_params
    if way["method"] == "fp16":
        assert weights.bits_per_weight == 16
    else:
        assert way["bits"] < weights.bits_per_weight < 16

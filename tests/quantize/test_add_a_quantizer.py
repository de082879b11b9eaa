"""The worked example of docs/add-a-quantizer.md, run as it stands there."""

import re
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from kcap_ray.quantize import config, method
from kcap_ray.quantize.config import QuantizeConfig
from kcap_ray.quantize.decoder import quantize_decoder
from tests.quantize.test_methods import random_weight
from tests.tiny import random_decoder

GUIDE = Path(__file__).parents[2] / "docs" / "add-a-quantizer.md"


@pytest.fixture(autouse=True)
def _with_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adds the guide's file and its two words."""
    (file,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    module: dict[str, Any] = {}
    exec(file, module)
    monkeypatch.setattr(config, "Method", Literal["gptq", "rtn", "hqq", "fp16", "clip"])
    monkeypatch.setitem(method.METHODS, "clip", module["clip"])


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_the_guides_grids_err_less_than_rounding(bits: int, symmetric: bool) -> None:
    """Never more in any group, and clearly less where bits are few."""
    weight_OI = random_weight(16, 64).float()
    errors = []
    for name in ("clip", "rtn"):
        settings: dict[str, Any] = {"method": name, "bits": bits, "symmetric": symmetric}
        matrix = method.METHODS[name](weight_OI, (), QuantizeConfig(group_size=16, **settings))
        assert int(matrix.codes_OI.max()) < 2**bits
        errors.append((matrix.dequantized() - weight_OI).square().view(16, 4, 16).sum(dim=2))
    assert bool((errors[0] <= errors[1] * 1.0001).all())
    assert bits > 3 or float(errors[0].sum()) < 0.95 * float(errors[1].sum())


def test_the_guides_method_quantizes_a_model() -> None:
    """After nothing but the guide's steps, with a label of its own."""
    settings: dict[str, Any] = {"method": "clip", "bits": 3}
    found = QuantizeConfig(**settings)
    assert found.label == "clip-int3-g128"
    weights = quantize_decoder(random_decoder("llama-2-3-moe3-tied"), found)
    assert {matrix.bits for matrix in weights.matrices.values()} == {3}
    assert all(torch.isfinite(tensor).all() for tensor in weights.state_dict().values())

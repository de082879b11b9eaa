"""Other projects' GPTQ solvers behind our interface, held to our own.

All of them compute the same thing in float32, but add up in different orders where a group is
longer than their blocks or the inputs come in parts. A weight that lies halfway between two grid
points, but for rounding, may then go to the other one, and later weights of its row with it.
"""

import importlib.util
import itertools
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kcap_ray.config.errors import UserError
from kcap_ray.quantize import auto_gptq as auto_gptq_module
from kcap_ray.quantize.auto_gptq import auto_gptq
from kcap_ray.quantize.config import QuantizeConfig
from kcap_ray.quantize.gptq import gptq
from kcap_ray.quantize.gptqmodel import _package, gptqmodel
from kcap_ray.quantize.grid import QuantizedMatrix
from kcap_ray.quantize.method import LayerQuantizer
from kcap_ray.quantize.rtn import rtn
from tests.quantize.brain_surgeon import brain_surgeon, inputs_all_alike

N_ROWS = 1024
"""A power of 4: our Hessian, a mean over rows, is auto-gptq's times an exact power of 2, and so is
everything that is made from it.
"""

NEEDS_AUTO_GPTQ = pytest.mark.skipif(
    importlib.util.find_spec("auto_gptq") is None,
    reason="auto-gptq is not installed: there are wheels for Linux and Python up to 3.11 only",
)
NEEDS_GPTQMODEL = pytest.mark.skipif(
    importlib.util.find_spec("gptqmodel") is None,
    reason="gptqmodel is not installed: pip install 'kcap[gptqmodel]'",
)
BACKENDS = [
    pytest.param(auto_gptq, marks=NEEDS_AUTO_GPTQ, id="auto-gptq"),
    pytest.param(
        gptqmodel,
        # Importing it sets off warnings of other packages.
        marks=[NEEDS_GPTQMODEL, pytest.mark.filterwarnings("ignore")],
        id="gptqmodel",
    ),
]


def layer(d_out: int, d_in: int) -> tuple[Tensor, Tensor]:
    """Weights as large as a trained model's, and inputs of which a few directions are strong."""
    generator = torch.Generator().manual_seed(d_in)
    weight_OI = 0.02 * torch.randn(d_out, d_in, generator=generator)
    mixing_II = torch.randn(d_in, d_in, generator=generator) * torch.linspace(0.1, 2, d_in)
    return weight_OI, torch.randn(N_ROWS, d_in, generator=generator) @ mixing_II / d_in**0.5


def output_error(matrix: QuantizedMatrix, weight_OI: Tensor, x_nI: Tensor) -> float:
    """Mean squared error of the layer's outputs."""
    return float((x_nI @ (matrix.dequantized() - weight_OI).T).square().mean())


def as_ints(tensor: Tensor | None) -> list | None:
    return None if tensor is None else tensor.tolist()


@NEEDS_AUTO_GPTQ
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize(
    "shape",
    [(96, 160), *(pytest.param(own, marks=pytest.mark.slow) for own in ((256, 256), (512, 128)))],
)
def test_our_solver_is_auto_gptq_bit_for_bit(shape: tuple[int, int], bits: int, symmetric: bool):
    """With groups of 128, auto-gptq's block, and with whole rows, in the order of activations or
    not: the same codes, scales, zero points and groups, the smaller last group of 160 inputs too.
    """
    weight_OI, x_nI = layer(*shape)
    for group_size, act_order in itertools.product((128, None), (False, True)):
        config = QuantizeConfig(
            bits=bits, symmetric=symmetric, group_size=group_size, act_order=act_order
        )
        ours, theirs = (quantize(weight_OI, [x_nI], config) for quantize in (gptq, auto_gptq))
        assert torch.equal(ours.codes_OI, theirs.codes_OI)
        assert torch.equal(ours.scale_OG, theirs.scale_OG)
        assert as_ints(ours.zero_OG) == as_ints(theirs.zero_OG)
        assert torch.equal(ours.group_I, theirs.group_I)
        assert ours.n_bits == theirs.n_bits


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize(
    ("bits", "group_size"),
    [
        (4, 128),
        pytest.param(8, 256, marks=pytest.mark.slow),
        pytest.param(3, None, marks=pytest.mark.slow),
    ],
)
def test_backends_agree_but_for_rounding(
    backend: LayerQuantizer, bits: int, group_size: int | None, act_order: bool
):
    """With groups of two blocks, and with inputs in two parts: the same groups, scales that differ
    by no more than their last bit, and the same codes in 64 rows that rounding cannot change, which
    are those of the derivation; the error of the outputs is below that of rounding to nearest.
    """
    weight_OI, x_nI = layer(2048, 288)
    config = QuantizeConfig(bits=bits, group_size=group_size, act_order=act_order)
    hessian_II = 2 / N_ROWS * x_nI.double().T @ x_nI.double()
    plain = brain_surgeon(weight_OI.double(), hessian_II, config)
    (rows,) = plain.is_certain_O(bits, torch.float32).nonzero(as_tuple=True)
    rows = rows[:64]
    assert len(rows) == 64
    weight_OI = weight_OI[rows]
    parts = x_nI.split([300, N_ROWS - 300])
    ours, theirs = (quantize(weight_OI, parts, config) for quantize in (gptq, backend))
    nearest = output_error(rtn(weight_OI, (), config), weight_OI, x_nI)
    for found in (ours, theirs):
        assert torch.equal(found.codes_OI.double(), plain.codes_OI[rows])
        assert output_error(found, weight_OI, x_nI) < nearest
    assert torch.equal(ours.group_I, theirs.group_I)
    assert ours.is_ordered == theirs.is_ordered
    # Neighbours among 16-bit floats, of 11 bits, differ by at most 2^-10.
    ratio_OG = ours.scale_OG.double() / theirs.scale_OG.double()
    assert float((ratio_OG - 1).abs().max()) <= 2**-10


@pytest.mark.parametrize("backend", BACKENDS)
def test_groups_inside_a_block_get_their_grid_before_the_block_changes(backend: LayerQuantizer):
    """Other solvers' scales of all groups of the first block are those of the untouched weights;
    ours, after the first group, are not.
    """
    weight_OI, x_nI = layer(64, 128)
    config = QuantizeConfig(bits=4, group_size=32)
    untouched_OG = rtn(weight_OI, (), config).scale_OG
    assert torch.equal(backend(weight_OI, [x_nI], config).scale_OG, untouched_OG)
    ours_OG = gptq(weight_OI, [x_nI], config).scale_OG
    assert torch.equal(ours_OG[:, 0], untouched_OG[:, 0])
    assert not torch.equal(ours_OG, untouched_OG)


@pytest.mark.parametrize("backend", BACKENDS)
def test_layer_without_inputs_is_rounded_to_nearest(backend: LayerQuantizer):
    """An expert that no token reached is not set to 0; the given weight stays as it was."""
    weight_OI, _ = layer(16, 64)
    before_OI = weight_OI.clone()
    config = QuantizeConfig(bits=4, group_size=32)
    nearest = rtn(weight_OI, (), config)
    for inputs in ([], [torch.empty(0, 64)]):
        assert torch.equal(backend(weight_OI, inputs, config).codes_OI, nearest.codes_OI)
    backend(weight_OI, [torch.randn(9, 64)], config)
    assert torch.equal(weight_OI, before_OI)


@pytest.mark.parametrize("backend", BACKENDS)
def test_too_little_damping_is_the_users_mistake(backend: LayerQuantizer):
    """Inputs that are all alike make the Hessian singular."""
    weight_OI, _ = layer(16, 64)
    with pytest.raises(UserError, match="--damping 1e-12 is too small"):
        backend(weight_OI, inputs_all_alike(64), QuantizeConfig(bits=4, damping=1e-12))


def test_missing_package_is_said(monkeypatch: pytest.MonkeyPatch):
    """What to install, and that the native backend needs nothing."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "gptqmodel", None)
    for backend, package in ((auto_gptq, auto_gptq_module._package), (gptqmodel, _package)):
        package.cache_clear()
        with pytest.raises(UserError, match=r"pip install .*--backend native"):
            backend(torch.ones(4, 4), [torch.ones(8, 4)], QuantizeConfig(bits=4))


@NEEDS_AUTO_GPTQ
def test_broken_package_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A package without a solver in it, as another version might be."""
    (tmp_path / "__init__.py").write_text("")
    spec = importlib.util.spec_from_file_location("auto_gptq", tmp_path / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    auto_gptq_module._package.cache_clear()
    with pytest.raises(UserError, match=r"cannot be read .*pip install auto-gptq==0\.7\.1"):
        auto_gptq(torch.ones(4, 4), [torch.ones(8, 4)], QuantizeConfig(bits=4))
    assert "auto_gptq_quantization" not in sys.modules

"""Exported quantized models, read by auto-gptq's own layer."""

import importlib.util
import json
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kcap_ray.api.export import export
from kcap_ray.config.cell import Cell, ModelConfig
from kcap_ray.execution.cell import run_cell
from kcap_ray.execution.cell_run import CellRun
from kcap_ray.measure.directory import measure_directory
from kcap_ray.models.convert import to_hugging_face
from kcap_ray.quantize.cell import jobs_of, run_job
from kcap_ray.quantize.config import QuantizeConfig
from kcap_ray.quantize.gptq_files import pack_words
from kcap_ray.quantize.store import load_quantized
from kcap_ray.runs.results import RunDirectory
from tests.tiny import BIOD, tiny_cell

CPU = torch.device("cpu")


def exported(cell: Cell, config: QuantizeConfig, path: Path) -> tuple[Path, Path]:
    """A cell that was trained, quantized and exported: the quantized model's directory, and the
    exported one's.
    """
    run = RunDirectory(path / "run")
    run.prepare()
    run_cell(CellRun(cell=cell, directory=run.cell(cell.cell_id), device=CPU), sweep="tiny")
    (job,) = jobs_of(run, [cell], [config])
    row = run_job(job, run, device=CPU)
    assert row is not None and row.status == "ok"
    export(job.directory(run).path, path / "out")
    return job.directory(run).path, path / "out"


def layer_of_auto_gptq() -> Any:
    """Its layer that knows the order of the groups; the rest of the package does not load."""
    package = importlib.util.find_spec("auto_gptq")
    if package is None or not package.submodule_search_locations:
        pytest.skip("auto-gptq is not installed")
    file = Path(package.submodule_search_locations[0]) / "nn_modules/qlinear/qlinear_cuda.py"
    spec = importlib.util.spec_from_file_location("layer_of_auto_gptq", file)
    assert isinstance(spec, ModuleSpec) and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.QuantLinear


def weights_read_by(layer_class: Any, tensors: dict[str, Tensor], name: str, bits: int) -> Tensor:
    """What that layer multiplies with [O, I]: its outputs for one input after another."""
    own = {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}
    n_in, n_out = len(own["g_idx"]), own["qweight"].shape[1]
    layer = layer_class(bits, 16, n_in, n_out, bias=False)
    own.pop("bias", None)
    layer.load_state_dict(own)
    return layer(torch.eye(n_in, dtype=torch.float16)).T


@pytest.mark.slow
@pytest.mark.parametrize("model", ["gpt2-1-2", "llama-1-6"])
@pytest.mark.parametrize("act_order", [False, True], ids=["in order", "by activation"])
def test_auto_gptq_reads_the_weights_that_were_measured(
    tmp_path: Path, model: str, act_order: bool
) -> None:
    """Every linear layer, to the last bit of a 16-bit float; and nothing is left out."""
    config = QuantizeConfig(bits=4, group_size=16, act_order=act_order, calibration_people=4)
    quantized, out = exported(tiny_cell(BIOD, model=model, exposures=2), config, tmp_path)
    own, _ = load_quantized(quantized)
    expected = to_hugging_face(own, eos=0).state_dict()  # pyright: ignore[reportArgumentType]
    tensors, layer_class = load_file(out / "model.safetensors"), layer_of_auto_gptq()
    packed = {name.removesuffix(".qweight") for name in tensors if name.endswith(".qweight")}
    assert len(packed) == (4 if model.startswith("gpt2") else 7)
    for name in packed:
        found = weights_read_by(layer_class, tensors, name, bits=4)
        torch.testing.assert_close(found, expected[f"{name}.weight"].half(), rtol=0, atol=0)
    kinds = ("qweight", "qzeros", "scales", "g_idx")
    parts = {f"{name}.{kind}" for name in packed for kind in kinds}
    for name in tensors.keys() - parts:
        torch.testing.assert_close(tensors[name], expected[name].half(), rtol=0, atol=0)
    tied = {"lm_head.weight", "embed_out.weight"}
    assert expected.keys() - {f"{name}.weight" for name in packed} - tensors.keys() <= tied
    settings = json.loads((out / "config.json").read_text())["quantization_config"]
    assert (settings["quant_method"], settings["bits"], settings["group_size"]) == ("gptq", 4, 16)
    assert settings["desc_act"] == act_order and settings["sym"]


@pytest.mark.slow
def test_what_the_format_cannot_hold_is_exported_as_floats(tmp_path: Path) -> None:
    """Of three bits: read by transformers alone, it stores the bits of its row; and the card says
    so.
    """
    cell = Cell(
        data=BIOD,
        model=ModelConfig(name="gpt2-1-2", head_dim=16),
        train=tiny_cell(BIOD, exposures=2).train,
    )
    config = QuantizeConfig(bits=3, group_size=16, method="rtn")
    quantized, out = exported(cell, config, tmp_path)
    row = json.loads((quantized / "result.json").read_text())
    found = measure_directory(out, cell, device=CPU)
    assert found.stored_bits == pytest.approx(row["stored_bits"], rel=1e-4)
    card = (out / "README.md").read_text()
    assert "floats that lie on the grid" in card and "rtn-int3-g16" in card


def test_words_begin_with_the_lowest_bits() -> None:
    """The example of the docstring, and a sign that is a code's highest bit."""
    (word,) = pack_words(torch.tensor([[1, 2, 0, 128]]), 8).flatten().tolist()
    assert word == 1 + 2 * 2**8 + 128 * 2**24 - 2**32

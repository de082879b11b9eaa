"""GPTQ by the solver of auto-gptq 0.7.1, one layer at a time.

The package is archived, and importing it as a whole fails beside transformers 5 and peft after
0.12. Its solver is two files that need only torch and one class of transformers, so these are read
by themselves, and nothing of the package's code for models, kernels and files runs. As they are
read they forbid TF32 on the GPU for the whole process.

Shapes: O outputs, I inputs, G groups of a row, n rows of inputs.
"""

import contextlib
import importlib.util
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import torch
from torch import Tensor, nn

from kcap_ray.config.errors import UserError
from kcap_ray.quantize.config import QuantizeConfig
from kcap_ray.quantize.grid import SMALLEST_SCALE, QuantizedMatrix, stored_zeros
from kcap_ray.quantize.rtn import rtn

REMEDY = (
    "pip install auto-gptq==0.7.1 (Linux, Python up to 3.11), or write --backend native, which "
    "solves the same"
)


def auto_gptq(
    weight_OI: Tensor, inputs: Iterable[Tensor], config: QuantizeConfig
) -> QuantizedMatrix:
    """A `LayerQuantizer`: auto-gptq's class `GPTQ`. A layer without inputs is rounded to nearest.

    Differs from our solver where groups are smaller than its blocks of 128 columns: their grids are
    made from the weights as they were at the start of the block. An input that was never other than
    0 gets weights of 0. Symmetric grids of groups without negative weights clip their upper half.
    Raises `UserError` if the package is missing or broken, or the damping is too small.
    """
    solver_class = _package().GPTQ
    layer = linear_of(weight_OI)
    solver = solver_class(layer)
    solver.quantizer.configure(config.bits, perchannel=True, sym=config.symmetric, mse=False)
    for x_nI in inputs:
        if len(x_nI):
            solver.add_batch(x_nI, None)
    if not solver.nsamples:
        return rtn(weight_OI, (), config)
    with _without_waiting_for_cuda():
        try:
            scale_OG, zero_OG, group_I = solver.fasterquant(
                percdamp=config.damping,
                group_size=config.group_size or -1,
                actorder=config.act_order,
            )
        except torch.linalg.LinAlgError as error:  # pyright: ignore[reportPrivateImportUsage]
            raise UserError(
                f"--damping {config.damping:g} is too small: the inputs of a layer are too much "
                f"alike; write {10 * config.damping:g}"
            ) from error
    return matrix_of(layer.weight.detach(), scale_OG, zero_OG, group_I, config)


def linear_of(weight_OI: Tensor) -> nn.Linear:
    """A layer with a copy of the weight, for solvers that write into the layer."""
    layer = nn.utils.skip_init(nn.Linear, weight_OI.shape[1], weight_OI.shape[0], bias=False)
    assert isinstance(layer, nn.Linear)
    layer.weight.data = weight_OI.detach().float().clone()
    return layer


def matrix_of(
    quantized_OI: Tensor, scale_OG: Tensor, zero_OG: Tensor, group_I: Tensor, config: QuantizeConfig
) -> QuantizedMatrix:
    """What the GPTQ libraries return, as it is stored: quantized weights as floats, float scales
    and zero points, and the group of each input.
    """
    index_OI = group_I.long().expand(quantized_OI.shape)
    steps_OI = (quantized_OI / scale_OG.gather(1, index_OI)).round()
    codes_OI = steps_OI + zero_OG.gather(1, index_OI)
    return QuantizedMatrix(
        bits=config.bits,
        codes_OI=codes_OI.to(torch.uint8),
        scale_OG=scale_OG.clamp(min=SMALLEST_SCALE).to(torch.float16),
        zero_OG=stored_zeros(zero_OG, "middle" if config.symmetric else "code"),
        group_I=group_I.to(torch.int16),
        is_ordered=not config.act_order or scale_OG.shape[1] == 1,
    )


@cache
def _package() -> ModuleType:
    """The folder `quantization` of auto-gptq, as a package of its own."""
    found = importlib.util.find_spec("auto_gptq")
    if found is None or found.origin is None:
        raise UserError(f"--backend auto-gptq: the package is not installed; {REMEDY}")
    folder = Path(found.origin).parent / "quantization"
    spec = importlib.util.spec_from_file_location(
        "auto_gptq_quantization", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None, "a file of Python code has a loader"
    package = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = package
    try:
        spec.loader.exec_module(package)
    except (ImportError, OSError, AttributeError) as error:
        del sys.modules[spec.name]
        raise UserError(
            f"--backend auto-gptq: the package cannot be read ({error}); {REMEDY}"
        ) from error
    return package


def _without_waiting_for_cuda() -> contextlib.AbstractContextManager[object]:
    """The solver waits for the GPU, which fails where there is none."""
    if torch.cuda.is_available():
        return contextlib.nullcontext()
    return patch.object(torch.cuda, "synchronize", lambda: None)

"""GPTQ by the solver of gptqmodel 7.6 (extra `gptqmodel`), the maintained successor of auto-gptq,
one layer at a time.

Importing it patches other libraries of the process (saving of safetensors, Triton, GPTQ classes of
transformers), adds a handler to the root logger and sets variables of the environment; of these
only the variables are put back. It is imported on first use and nowhere else.

Shapes: O outputs, I inputs, n rows of inputs.
"""

import contextlib
import os
import sys
from collections.abc import Iterable
from functools import cache
from types import ModuleType
from unittest.mock import patch

from torch import Tensor

from kcap_ray.config.errors import UserError
from kcap_ray.quantize.auto_gptq import linear_of, matrix_of
from kcap_ray.quantize.config import QuantizeConfig
from kcap_ray.quantize.grid import QuantizedMatrix
from kcap_ray.quantize.rtn import rtn


def gptqmodel(
    weight_OI: Tensor, inputs: Iterable[Tensor], config: QuantizeConfig
) -> QuantizedMatrix:
    """A `LayerQuantizer`: gptqmodel's class `GPTQ`, without what it adds to auto-gptq's. A layer
    without inputs is rounded to nearest.

    Grids of groups smaller than 128, unused inputs and groups of one sign are as in auto-gptq.
    Raises `UserError` if the package is missing or broken, or the damping is too small.
    """
    package = _package()
    layer = linear_of(weight_OI)
    with contextlib.redirect_stdout(sys.stderr):  # its notes are no results
        solver = package.GPTQ(layer, _settings(package, config))
        solver.quantizer.configure(perchannel=True)
        for x_nI in inputs:
            solver.add_batch(x_nI, None)
        if not solver.nsamples:
            return rtn(weight_OI, (), config)
        quantized_OI, scale_OG, zero_OG, group_I, _, _, damping, _ = solver.quantize()
    if damping != config.damping:  # it goes on with more, or rounds to nearest
        raise UserError(
            f"--damping {config.damping:g} is too small: the inputs of a layer are too much "
            f"alike; write {10 * config.damping:g}"
        )
    return matrix_of(quantized_OI, scale_OG, zero_OG, group_I, config)


def _settings(package: ModuleType, config: QuantizeConfig) -> object:
    return package.QuantizeConfig(
        bits=config.bits,
        group_size=config.group_size or -1,
        sym=config.symmetric,
        desc_act=config.act_order,
        act_group_aware=False,
        damp_percent=config.damping,
        mse=0.0,
        fallback=None,
        offload_to_disk=False,
    )


@cache
def _package() -> ModuleType:
    try:
        with contextlib.redirect_stdout(sys.stderr), patch.dict(os.environ):
            import gptqmodel.quantization as package  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            f"--backend gptqmodel: the package cannot be imported ({error}); "
            "pip install 'kcap[gptqmodel]', or write --backend native"
        ) from error
    return package

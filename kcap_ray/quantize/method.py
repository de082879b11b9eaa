"""What every method of quantizing a matrix looks like.

Shapes: O outputs, I inputs, n rows of inputs.
"""

from collections.abc import Callable, Iterable

from torch import Tensor

from kcap_ray.quantize.config import QuantizeConfig
from kcap_ray.quantize.gptq import gptq
from kcap_ray.quantize.grid import QuantizedMatrix
from kcap_ray.quantize.hqq import hqq
from kcap_ray.quantize.rtn import rtn

LayerQuantizer = Callable[[Tensor, Iterable[Tensor], QuantizeConfig], QuantizedMatrix]
"""`quantize(weight_OI, inputs, config)`: the weight of a linear layer, y = x W^T, as a grid.

`inputs` are the layer's inputs on the calibration text, in blocks [n, I] on the weight's device and
made as they are read, once; there may be none at all (of an expert that no token is sent to). A
method without calibration does not touch them. The result is on the weight's device; `weight_OI` is
left as it is.
"""


METHODS: dict[str, LayerQuantizer] = {"gptq": gptq, "rtn": rtn, "hqq": hqq}
"""The methods that quantize matrices, by name."""


def layer_quantizer(config: QuantizeConfig) -> LayerQuantizer:
    """That of the method and, for gptq, of the backend; a package is loaded only if it is named."""
    if config.backend == "auto-gptq":
        from kcap_ray.quantize.auto_gptq import auto_gptq

        return auto_gptq
    if config.backend == "gptqmodel":
        from kcap_ray.quantize.gptqmodel import gptqmodel

        return gptqmodel
    return METHODS[config.method]

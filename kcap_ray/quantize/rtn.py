"""Round to nearest: each weight goes to the nearest point of its group's grid."""

from collections.abc import Iterable

from torch import Tensor

from kcap_ray.quantize.config import QuantizeConfig
from kcap_ray.quantize.grid import QuantizedMatrix, find_grid, quantize_groups, to_codes


def rtn(weight_OI: Tensor, inputs: Iterable[Tensor], config: QuantizeConfig) -> QuantizedMatrix:
    """A `LayerQuantizer`; `inputs` are not read."""

    def nearest(block_OW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scale_O1, zero_O1 = find_grid(block_OW, config.bits, symmetric=config.symmetric)
        # The grid that is stored, so that codes are the nearest ones on it.
        scale_O1 = scale_O1.half().to(block_OW.dtype)
        return to_codes(block_OW, scale_O1, zero_O1, config.bits), scale_O1, zero_O1

    return quantize_groups(
        weight_OI,
        nearest,
        bits=config.bits,
        group_size=config.group_size,
        zeros="middle" if config.symmetric else "code",
    )

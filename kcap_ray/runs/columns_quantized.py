"""The columns that say how a model was quantized, and what storing it takes."""

from dataclasses import dataclass
from typing import Annotated

from kcap_ray.runs.schema import Column, Record


@dataclass(frozen=True, kw_only=True)
class Quantized(Record):
    """Quantization."""

    quantization: Annotated[
        str, Column("Quantization", "`none`, or method, bits and group size: `gptq-int8-g128`.")
    ] = "none"
    quantization_config: Annotated[
        str | None, Column("Quantization settings", "All of its settings, as JSON.")
    ] = None
    bits_per_weight: Annotated[
        float | None,
        Column(
            "Storage",
            "Bits that storing the model takes, for each weight: 32 as trained; quantized with "
            "scales and zero points, and 16 for each weight that is not quantized.",
            "bits/weight",
            ".2f",
            "bits/weight",
        ),
    ] = None
    knowledge_per_stored_bit: Annotated[
        float | None,
        Column(
            "R per stored bit", "capacity_ratio / bits_per_weight.", "", ".4f", "per stored bit"
        ),
    ] = None
    quantize_time_s: Annotated[
        float | None, Column("Quantizing", "Time that it took.", "s", ".1f", "s")
    ] = None

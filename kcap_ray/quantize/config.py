"""How a trained model is quantized: one frozen value, and the name that results have of it.

No torch here: the command line checks its options before anything heavy is loaded.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from kcap_ray.config.errors import UserError, check, check_choice

Method = Literal["gptq", "rtn", "hqq", "fp16"]
Backend = Literal["native", "auto-gptq", "gptqmodel"]
Calibration = Literal["people", "junk", "random_tokens"]

FP16_BITS = 16
"""Width of what is stored as it is: scales, and all weights that are not quantized."""

_OF_GPTQ = ("backend", "act_order", "damping", "calibration_people", "calibration")
"""Settings that only a method with calibration has."""


@dataclass(frozen=True, kw_only=True)
class QuantizeConfig:
    """One way to quantize a model."""

    bits: int = 8
    """Bits of a quantized weight, 2 to 8; 16 for method fp16 alone."""
    method: Method = "gptq"
    """`gptq` (arXiv 2210.17323), `rtn` (to the nearest grid point), `hqq` (half-quadratic), or
    `fp16`: weights are rounded to 16-bit floats, and nothing else.
    """
    backend: Backend = "native"
    """gptq: whose solver."""
    group_size: int | None = 128
    """Weights of one output row that share a scale; None: all of the row. Rows that are shorter are
    one group, and the last group of a row may be smaller.
    """
    symmetric: bool = True
    """Whether zero is always the middle code, as in auto-gptq's defaults; False: each group stores
    a zero point. hqq has zero points in either case.
    """
    act_order: bool = False
    """gptq: columns are quantized in the order of decreasing activations."""
    damping: float = 0.01
    """gptq: added to the diagonal of the Hessian, as a share of its mean."""
    embedding: bool = False
    """Whether embedding and head are quantized too, always to the nearest grid point."""
    calibration_people: int = 1000
    """gptq: people of each table whose biographies are read, at most as many as there are."""
    calibration: Calibration = "people"
    """gptq: what is read: biographies of the table's `people`, of people beyond it (`junk`), or as
    many tokens drawn uniformly (`random_tokens`).
    """
    finetune_exposures: int = 0
    """Exposures of training of the quantized model; 0: none. With `fp16` it is what the others are
    to be compared with: the same training without a grid.
    """

    def __post_init__(self) -> None:
        check_choice("--method", self.method, Method)
        check_choice("--backend", self.backend, Backend)
        check_choice("--calibration", self.calibration, Calibration)
        if self.method == "fp16":
            check(self.bits == FP16_BITS, f"--bits {self.bits}: method fp16 has 16; leave it out")
        else:
            check(2 <= self.bits <= 8, f"--bits {self.bits}: write 2 to 8, or --method fp16 for 16")
        check(
            self.group_size is None or self.group_size >= 1,
            f"--group-size {self.group_size}: write a positive number, or row for whole rows",
        )
        check(self.damping > 0, f"--damping {self.damping}: write a positive number, such as 0.01")
        check(
            self.calibration_people >= 1,
            f"--calibration-people {self.calibration_people}: at least 1 is needed",
        )
        check(
            self.finetune_exposures >= 0,
            f"--finetune-exposures {self.finetune_exposures}: 0 or more",
        )
        self._check_method()

    def _check_method(self) -> None:
        """Raise `UserError` for a setting that this method does not have."""
        foreign = self.non_default(_OF_GPTQ) if self.method != "gptq" else []
        if self.method == "hqq":
            foreign += self.non_default(("symmetric",))
        if self.method == "fp16":
            foreign += self.non_default(("group_size", "symmetric", "embedding"))
        if foreign:
            named = ", ".join(name.replace("_", "-") for name in foreign)
            raise UserError(f"{named}: not a setting of method {self.method}; leave it out")

    def non_default(self, names: tuple[str, ...]) -> list[str]:
        """Those of the settings that were changed."""
        fields = {field.name: field.default for field in dataclasses.fields(self)}
        return [name for name in names if getattr(self, name) != fields[name]]

    @property
    def label(self) -> str:
        """Readable, and different for different settings: `gptq-int8-g128`,
        `rtn-int4-row-embedding`, `gptq-int4-g128-people10`; the column `quantization`.
        """
        group = "row" if self.group_size is None else f"g{self.group_size}"
        changed = {
            "backend": self.backend,
            "symmetric": "asymmetric",
            "act_order": "actorder",
            "damping": f"damping{self.damping:g}",
            "calibration": self.calibration.replace("_", "-"),
            "calibration_people": f"people{self.calibration_people}",
            "embedding": "embedding",
            "finetune_exposures": f"finetune{self.finetune_exposures}",
        }
        words = [changed[name] for name in self.non_default(tuple(changed))]
        form = [] if self.method == "fp16" else [f"int{self.bits}", group]
        return "-".join([self.method, *form, *words])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON can hold them; `QuantizeConfig(**values)` is the inverse."""
        return dataclasses.asdict(self)

"""What a training run costs: floating-point operations and device-hours.

Operations are counted. Device-hours follow from how long a device takes for each kind of work of a
step: fitted to measured step times by benchmarks/throughput.py, or estimated from published rates.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from kcap_ray.config.cell import Optimizer, Precision
from kcap_ray.config.errors import UserError, check, check_choice, did_you_mean
from kcap_ray.config.yaml import read_yaml
from kcap_ray.models import counts
from kcap_ray.models.own_spec import AnySpec
from kcap_ray.models.spec import ModelSpec
from kcap_ray.planning.step_work import TERMS, Term, step_work

BUILT_IN = ("a100", "h100", "h200", "cpu")
"""Devices that come with kcap, as files in `devices`."""

Unit = Literal["device", "core"]


@dataclass(frozen=True, kw_only=True)
class Device:
    """Speed of one device: the time of a step is the sum of its work times `seconds`."""

    name: str
    """Name in `--device` and in a file of prices."""
    unit: Unit
    """What one of it is: a device, or a core, measured with all cores of its machine busy."""
    precision: Precision
    """Arithmetic that the times hold for; fp16 and bf16 count as the same."""
    seconds: Mapping[Term, float]
    """Seconds for a unit of each kind of work, `step_work.TERMS`; 0 for those left out."""
    source: str
    """Where the numbers come from."""
    error: float | None = None
    """Root mean square of the relative errors of measured step times, each predicted by a fit to
    the other shapes; None for an estimate, which nothing was measured for.
    """
    start_s: float = 0.0
    """Seconds of training time before the first step of a program: compiling, the first windows."""
    compiled_ratio: float | None = None
    """On a core: time of a compiled step as a share of that of the same step uncompiled, which
    `seconds` are for; None if not known. On other devices `seconds` are for what `auto` runs.
    """
    measured: Mapping[str, Any] = field(default_factory=dict)
    """Date, machine and versions of the measurement."""

    def __post_init__(self) -> None:
        check_choice("unit", self.unit, Unit)
        check_choice("precision", self.precision, Precision)
        if not isinstance(self.seconds, Mapping):
            raise UserError("seconds: write a number for each kind of work, for instance step: 0.1")
        for term, value in self.seconds.items():
            check_known(f"seconds.{term}", str(term), TERMS)
            _check_number(f"seconds.{term}", value)
        check(any(self.seconds.values()), "seconds: all are 0; one kind of work must take time")
        for name in ("error", "start_s", "compiled_ratio"):
            value = getattr(self, name)
            if value is not None:
                _check_number(name, value)

    @property
    def is_measured(self) -> bool:
        """Whether the times were fitted to measured ones."""
        return self.error is not None

    def step_s(
        self,
        spec: AnySpec,
        *,
        tokens: float,
        window_tokens: int,
        n_trials: int = 1,
        optimizer: Optimizer = "adamw",
        n_parts: int = 1,
    ) -> float:
        """Seconds of one optimizer step of `n_trials` fused trials, each over `tokens` tokens, on
        one device.
        """
        work = step_work(
            spec.alike,
            tokens=tokens,
            window_tokens=window_tokens,
            n_trials=n_trials,
            optimizer=optimizer,
            n_parts=n_parts,
        )
        return sum(seconds * work[term] for term, seconds in self.seconds.items())


def check_known(path: str, name: str, known: Mapping[Any, Any]) -> None:
    """Raise `UserError` for a key that there is not, with the closest one that there is."""
    if name not in known:
        hint = did_you_mean(name, known)
        raise UserError(f"{path}: unknown key{hint}; allowed are {', '.join(known)}")


def _check_number(path: str, value: Any) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value < math.inf:
        raise UserError(f"{path}: got {value!r}; write a number that is not negative")


def flops_per_token(spec: AnySpec, window_tokens: int) -> float:
    """Floating-point operations per trained token, forward and backward.

    6 * (active weights outside of embedding and head + V d) + 12 L d T, with layers that are passed
    through several times counted as often: six per weight that
    multiplies a token (PaLM, arXiv 2204.02311, appendix B), where the output head counts and the
    look-up of the embedding does not, and the mixer over all T positions. For gpt2 the first term
    is 6 * (12 L d^2 + V d) plus the biases and norms (below 1%). Causal attention needs half of the
    last term; kernels differ in whether they skip it. Of experts only those count that a token is
    sent to; the empty rows that give an expert a fixed number of tokens are multiplied on top.
    """
    like = spec.alike
    if isinstance(spec, ModelSpec):
        weights = counts.computed(spec)
    else:
        weights = spec.n_params_active - spec.n_params_embedding
    weights += spec.vocab_size * like.d_model
    return 6 * weights + 12 * like.n_layer * like.n_loop * like.d_model * window_tokens


def device_of(name: str) -> Device:
    """The device called `name`, or the one that a file describes.

    A name with a slash or an ending such as .yaml is that of a file. Raises `UserError` with the
    names that exist, or with what is wrong in the file.
    """
    if name in BUILT_IN:
        return _built_in(name)
    if "/" in name or Path(name).suffix:
        return read_device(Path(name))
    raise UserError(
        f"device: got {name!r}; allowed are {', '.join(BUILT_IN)}, and a file made by "
        "`kcap bench throughput`, for instance ./mine.yaml"
    )


@cache
def _built_in(name: str) -> Device:
    return read_device(Path(__file__).parent / "devices" / f"{name}.yaml")


def read_device(path: Path) -> Device:
    """The device that a YAML file describes: the fields of `Device`.

    Raises `UserError` that names the file.
    """
    _, content = read_yaml(path)
    fields = {f.name: f for f in dataclasses.fields(Device)}
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: write lines `key: value`; the keys are {', '.join(fields)}")
    try:
        for key in content:
            check_known(str(key), str(key), fields)
        missing = [
            name
            for name, f in fields.items()
            if f.default is dataclasses.MISSING
            and f.default_factory is dataclasses.MISSING
            and name not in content
        ]
        check(not missing, f"{', '.join(missing)}: missing")
        return Device(**content)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None

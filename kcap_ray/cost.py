"""What a training run costs: floating-point operations, device-hours, money.

Operations are counted; device-hours are an estimate from published rates and hold to a factor of
about two, until throughput measured on the machine takes its place.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kcap_ray.models.spec import ModelSpec
from kcap_ray.strict_yaml import read_yaml
from kcap_ray.user_error import UserError


@dataclass(frozen=True, kw_only=True)
class Device:
    """Speed of one device: time of a step = (n_layer + 1) * layer_overhead_s + operations /
    rate(d_model).
    """

    name: str
    """Name in `--device` and in a file of prices."""
    wide_flop_per_s: float
    """Operations per second of training, reached by models at least `wide_d_model` wide."""
    wide_d_model: int
    """Width from which that rate is reached; below it the rate falls in proportion to the width."""
    layer_overhead_s: float
    """Seconds per layer and step spent on launching work, whatever its size; embedding and head are
    one layer more.
    """
    source: str
    """Where the numbers come from."""

    def step_s(self, spec: ModelSpec, *, tokens: float, window_tokens: int) -> float:
        """Seconds of one optimizer step over `tokens` tokens on one device."""
        rate = self.wide_flop_per_s * min(1.0, spec.d_model / self.wide_d_model)
        work_s = tokens * flops_per_token(spec, window_tokens) / rate
        return (spec.n_layer + 1) * self.layer_overhead_s + work_s


# 50 kernel launches per layer (forward, backward, optimizer; a guess for a compiled step) of 5 us
# each.
_GPU_LAYER_OVERHEAD_S = 50 * 5e-6

DEVICES: Mapping[str, Device] = {
    device.name: device
    for device in (
        Device(
            name="a100",
            # 90 ms per 16,384 tokens of GPT-2 small (124M) in bf16, compiled, on one A100: 156
            # TFLOP/s, half of the 312 TFLOP/s of the data sheet.
            wide_flop_per_s=156e12,
            wide_d_model=768,
            layer_overhead_s=_GPU_LAYER_OVERHEAD_S,
            source="reported ladder of GPT-2 small on one A100; launches of 5 us",
        ),
        Device(
            name="h200",
            # Half of a measured 790 TFLOP/s of bf16 matrix products; the half is a goal, from the
            # A100.
            wide_flop_per_s=395e12,
            wide_d_model=768,
            layer_overhead_s=_GPU_LAYER_OVERHEAD_S,
            source="half of the matrix rate measured on one H200; launches of 5 us",
        ),
        Device(
            name="cpu",
            # One core, eager, 2 layers 16 wide with 14 thousand parameters: 8.3 ms at 8 windows of
            # 128 tokens and 1.8 ms at 1 window, so 7.3 us per token of 130 thousand operations
            # (18 GFLOP/s) and 0.9 ms per step. Wide matrix products reach 36-54 GFLOP/s there.
            wide_flop_per_s=40e9,
            wide_d_model=36,
            layer_overhead_s=0.3e-3,
            source="steps measured on one core of a 2-core machine",
        ),
    )
}

# Dollars per device-hour: p4d capacity block, January 2025.
DEFAULT_PRICES: Mapping[str, float] = {"a100": 1.84}


def flops_per_token(spec: ModelSpec, window_tokens: int) -> float:
    """Floating-point operations per trained token, forward and backward.

    6 * (active weights outside of embedding and head + V d) + 12 L d T: six per weight that
    multiplies a token (PaLM, arXiv 2204.02311, appendix B), where the output head counts and the
    look-up of the embedding does not, and the mixer over all T positions. For gpt2 the first term
    is 6 * (12 L d^2 + V d) plus the biases and norms (below 1%). Causal attention needs half of the
    last term; kernels differ in whether they skip it. Of experts only those count that a token is
    sent to; the empty rows that give an expert a fixed number of tokens are multiplied on top.
    """
    weights = spec.n_params_active - spec.n_params_embedding + spec.vocab_size * spec.d_model
    return 6 * weights + 12 * spec.n_layer * spec.d_model * window_tokens


def device_of(name: str) -> Device:
    """The device called `name`.

    Raises `UserError` with the names that exist.
    """
    if name not in DEVICES:
        raise UserError(f"device: got {name!r}; allowed are {', '.join(DEVICES)}")
    return DEVICES[name]


def read_prices(path: Path | None) -> dict[str, float]:
    """Dollars per device-hour by device: the defaults, changed by the file's lines `device: price`.

    Raises `UserError` for a file that holds anything else.
    """
    prices = dict(DEFAULT_PRICES)
    if path is None:
        return prices
    _, content = read_yaml(path)
    if not isinstance(content, Mapping):
        raise UserError(
            f"{path}: write lines `device: dollars per hour`, for instance `a100: 1.84`"
        )
    for name, price in content.items():
        if name not in DEVICES:
            raise UserError(f"{path}: {name}: unknown device; allowed are {', '.join(DEVICES)}")
        if isinstance(price, bool) or not isinstance(price, int | float) or not price >= 0:
            raise UserError(
                f"{path}: {name}: got {price!r}; write dollars per hour, for instance 1.84"
            )
        prices[name] = float(price)
    return prices

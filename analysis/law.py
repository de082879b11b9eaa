"""The capacity law: how many bits per parameter a trained model stores.

A data set can demand only so much (R_max = demand / parameters), and a parameter can hold only so
much (c). The measured ratio R follows the smaller of the two with a rounded corner:

    R(R_max) = (R_max^-s + c^-s)^(-1/s)

R -> R_max where the data set is small for the model, R -> c where it is large, and
R = 2^(-1/s) c at R_max = c, so a larger s is a sharper corner; s = inf is the hard minimum.
arXiv 2404.05405 states only the two limits (Result 1: R is close to R_max up to 1.8, the peak is
2); the smooth corner is this project's choice, made so that near-knee cells, which are the
informative ones, need not be thrown away.
"""

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def log_ratio(log_max_ratio: Floats, log_capacity: Floats, log_sharpness: Floats) -> Floats:
    """Natural log of R for natural logs of R_max, c and s; arguments broadcast."""
    sharpness = np.exp(log_sharpness)
    return -np.logaddexp(-sharpness * log_max_ratio, -sharpness * log_capacity) / sharpness


@dataclass(frozen=True, kw_only=True)
class CapacityLaw:
    """R = (R_max^-s + c^-s)^(-1/s), in bits per parameter."""

    capacity: float
    """Bits per parameter (c): what is stored where the data set demands far more."""
    sharpness: float
    """Sharpness of the corner (s), no unit; `math.inf` is the hard minimum."""

    def __post_init__(self) -> None:
        if not (0 < self.capacity < math.inf and self.sharpness > 0):
            raise ValueError(f"capacity and sharpness must be positive, got {self}")

    def ratio(self, max_ratio: ArrayLike) -> Floats:
        """Stored bits per parameter, for demanded bits per parameter; same shape."""
        wanted = np.asarray(max_ratio, dtype=float)
        if math.isinf(self.sharpness):
            return np.minimum(wanted, self.capacity)
        logs = np.log(wanted), np.log(self.capacity), np.log(self.sharpness)
        return np.exp(log_ratio(*map(np.asarray, logs)))

    def stored_bits(self, *, n_params: ArrayLike, demand_bits: ArrayLike) -> Floats:
        """Bits stored by models of `n_params` parameters, of data sets of `demand_bits` bits."""
        params = np.asarray(n_params, dtype=float)
        return params * self.ratio(np.asarray(demand_bits, dtype=float) / params)

    def sample_ratio(
        self, max_ratio: ArrayLike, *, log_sd: float, rng: np.random.Generator
    ) -> Floats:
        """`ratio` times log-normal noise of standard deviation `log_sd` (0.02 is about 2%)."""
        law = self.ratio(max_ratio)
        return law * np.exp(rng.normal(0.0, log_sd, law.shape))

    def to_json(self) -> dict[str, float | None]:
        """Plain values; the hard minimum's sharpness is null, as JSON has no infinity."""
        sharpness = None if math.isinf(self.sharpness) else self.sharpness
        return {"capacity": self.capacity, "sharpness": sharpness}


@dataclass(frozen=True, kw_only=True)
class ExposureLaw:
    """Capacity against exposures E: c(E) = c_limit E / (E + E_half), in bits per parameter.

    An empirical curve with the two properties that the paper's pair of settings suggests (about 1
    bit at 100 exposures, 2 bits at 1000): it grows with training and it levels off. It has no
    derivation.
    """

    limit: float
    """Bits per parameter after endless training (c_limit)."""
    half_exposures: float
    """Exposures at which half of the limit is reached (E_half)."""

    def capacity(self, exposures: ArrayLike) -> Floats:
        """Bits per parameter; same shape as `exposures`."""
        seen = np.asarray(exposures, dtype=float)
        return self.limit * seen / (seen + self.half_exposures)

    def to_json(self) -> dict[str, float]:
        return asdict(self)

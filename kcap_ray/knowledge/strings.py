"""Random strings: tokens drawn uniformly, with nothing to be known but themselves (arXiv
2505.24832, section 3).

Shape letters: P strings, L tokens of a string.
"""

from math import log2

import numpy as np
from numpy.typing import NDArray

from kcap_ray.config.data import KnowledgeConfig
from kcap_ray.config.errors import UserError
from kcap_ray.knowledge.randomness import Purpose, below, hash64, stream_key

_UNLIKELY_BITS = 20
"""log2 of one in how many tables has two equal strings, at least."""


def string_bits(data: KnowledgeConfig) -> float:
    """L log2(T): bits of one string.

    `UserError` where so few strings are possible that two of a table might be equal.
    """
    assert data.L and data.T, "KnowledgeConfig checks that strings have their numbers"
    bits = data.L * log2(data.T)
    # The chance of two equal ones is at most N^2 / 2 / T^L.
    if bits < 2 * log2(data.n_people) - 1 + _UNLIKELY_BITS:
        raise UserError(
            f"data.L: {data.L} tokens of {data.T} make {data.T}^{data.L} strings, of which "
            f"{data.n_people} might have two alike; write a larger L or T"
        )
    return bits


def random_strings(data: KnowledgeConfig, number_P: NDArray[np.integer]) -> NDArray[np.uint16]:
    """Symbols of the strings with these numbers [P, L], each a pure function of its number."""
    assert data.L and data.T
    key = stream_key(data.seed, Purpose.VALUES)
    first_P = np.asarray(number_P, dtype=np.uint64) * np.uint64(data.L)
    place_PL = first_P[:, None] + np.arange(data.L, dtype=np.uint64)
    return below(hash64(key, place_PL), data.T).astype(np.uint16)

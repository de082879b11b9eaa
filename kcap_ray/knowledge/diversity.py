"""Diversity sets of bioD: the strings that the chunks of an attribute are drawn from.

Shape letters: K attributes, D strings of a set, L symbols of a string.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kcap_ray.config.data import KnowledgeConfig
from kcap_ray.config.errors import UserError
from kcap_ray.knowledge.randomness import Purpose, below, distinct_below, hash64, stream_key


def check_diversity(data: KnowledgeConfig) -> None:
    """UserError if fewer than D different strings of L symbols exist."""
    assert data.D and data.L and data.T, "KnowledgeConfig checks that bioD has all its numbers"
    if data.T**data.L < data.D:
        raise UserError(
            f"data.D: {data.D} different strings, but {data.T} symbols make only "
            f"{data.T**data.L} strings of length {data.L}; write a smaller D, or a larger T or L"
        )


def draw_diversity_sets(data: KnowledgeConfig) -> NDArray[np.int64]:
    """Symbols (0..T-1) of the D distinct strings of each attribute [K, D, L].

    Each set is drawn without replacement from all T^L strings (arXiv 2404.05405, definition 2.2);
    a pure function of `data`. UserError if there are fewer than D strings.
    """
    check_diversity(data)
    assert data.K and data.D and data.L and data.T
    draw = _draw_enumerated if data.T**data.L <= 1 << 62 else _draw_symbols
    return np.stack([draw(data.seed, k, data.D, data.L, data.T) for k in range(data.K)])


def n_symbols_drawn(data: KnowledgeConfig) -> int:
    """Symbols (U) that occur in any of the diversity sets, at most the T of the alphabet."""
    assert data.K and data.D and data.L and data.T
    return _n_symbols_drawn(data.seed, data.K, data.D, data.L, data.T)


@lru_cache(maxsize=256)
def _n_symbols_drawn(seed: int, K: int, D: int, L: int, T: int) -> int:
    data = KnowledgeConfig(kind="bioD", n_people=1, seed=seed, K=K, C=1, D=D, L=L, T=T)
    return len(np.unique(draw_diversity_sets(data)))


def _draw_enumerated(seed: int, k: int, D: int, L: int, T: int) -> NDArray[np.int64]:
    """Number all strings, and take the first D of a random permutation of the numbers."""
    key = stream_key(seed, Purpose.DIVERSITY, k)
    number_D = distinct_below(key, np.arange(D), T**L)
    symbols_DL = np.empty((D, L), np.int64)
    for position in reversed(range(L)):
        number_D, symbols_DL[:, position] = np.divmod(number_D, np.uint64(T))
    return symbols_DL


def _draw_symbols(seed: int, k: int, D: int, L: int, T: int) -> NDArray[np.int64]:
    """Draw symbol by symbol: among more than 2^62 strings two equal ones hardly ever arise."""
    for attempt in range(64):
        key = stream_key(seed, Purpose.DIVERSITY, k, attempt)
        symbols_DL = below(hash64(key, np.arange(D * L)), T).astype(np.int64).reshape(D, L)
        if len(np.unique(symbols_DL, axis=0)) == D:
            return symbols_DL
    raise AssertionError("64 draws of distinct strings among more than 2^62 all had a repeat")

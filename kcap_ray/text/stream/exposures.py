"""The biographies of a source in training order, exposure after exposure.

Shape letters: P samples, L tokens.
"""

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from kcap_ray.knowledge.randomness import Purpose, permutation, stream_key
from kcap_ray.text.kinds.renderer import Samples
from kcap_ray.text.stream.source import Source

_KEPT_EXPOSURES = 2  # a part of a stream may span the end of one and the start of the next
_BLOCK = 1 << 13  # samples counted at a time, so that the arrays stay in the cache


class Exposures:
    """An endless stream of biographies with random access.

    Each exposure has the samples of the source's schedule in an order of its own. The only state
    is a cache.
    """

    def __init__(self, source: Source, *, seed: int) -> None:
        self.source, self.seed = source, seed
        self._orders: OrderedDict[int, NDArray[np.int64]] = OrderedDict()

    def n_samples(self, exposure: int) -> int:
        """Biographies of one exposure."""
        return self.source.schedule.n_samples(exposure)

    def n_tokens(self, exposure: int) -> int:
        """Tokens of one exposure; its order does not matter for them."""
        return int(self._lengths(exposure, np.arange(self.n_samples(exposure))).sum())

    def lengths(self, exposure: int) -> NDArray[np.int64]:
        """Tokens of each biography of an exposure, in training order [P]."""
        return self._lengths(exposure, self._order(exposure))

    def lengths_at(self, exposure: int, place_P: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tokens of the biographies in these places of an exposure [P]."""
        return self._lengths(exposure, self._order(exposure)[place_P])

    def tokens(self, exposure: int, first: int, last: int) -> NDArray[np.uint16]:
        """The biographies in places first..last-1 of an exposure [L]."""
        return self.tokens_at(exposure, np.arange(first, last))

    def tokens_at(self, exposure: int, place_P: NDArray[np.int64]) -> NDArray[np.uint16]:
        """The biographies in these places of an exposure, one after another [L]."""
        return self.source.tokens(self._samples(exposure, self._order(exposure)[place_P]))

    def samples_before(self, exposure: int, place: int) -> tuple[int, ...]:
        """Samples before a place of an exposure, by source; there is one source."""
        return (sum(map(self.n_samples, range(exposure))) + place,)

    def _samples(self, exposure: int, sample_P: NDArray[np.int64]) -> Samples:
        return self.source.training(exposure, sample_P, seed=self.seed)

    def _lengths(self, exposure: int, sample_P: NDArray[np.int64]) -> NDArray[np.int64]:
        lengths_P = np.empty(len(sample_P), np.int64)
        for start in range(0, len(sample_P), _BLOCK):
            samples = self._samples(exposure, sample_P[start : start + _BLOCK])
            lengths_P[start : start + _BLOCK] = self.source.lengths(samples)
        return lengths_P

    def _order(self, exposure: int) -> NDArray[np.int64]:
        """The samples of an exposure in training order."""
        if exposure in self._orders:
            self._orders.move_to_end(exposure)
            return self._orders[exposure]
        key = stream_key(self.seed, Purpose.PEOPLE_ORDER, exposure)
        order_P = permutation(key, self.n_samples(exposure))
        while len(self._orders) >= _KEPT_EXPOSURES:
            self._orders.popitem(last=False)
        self._orders[exposure] = order_P
        return order_P

"""Several sources in one training stream: window by window, or biography by biography.

Either way source k gets its share of every block, in a random order of its own, so that any window
can be made without those before it. Shape letters: P biographies, L tokens, W windows, K sources.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kcap_ray.knowledge.randomness import Purpose, permutation, stream_key
from kcap_ray.text.stream.corpus import Corpus
from kcap_ray.text.stream.exposures import Exposures
from kcap_ray.text.stream.stream import BiographyStream, TrainingStream
from kcap_ray.text.tokenizer.pieces import ragged_places

_BLOCK_WINDOWS = 256
_BLOCK_BIOGRAPHIES = 1 << 14


def training_stream(corpus: Corpus, *, seed: int, window_tokens: int) -> TrainingStream:
    """The stream that a cell is trained on; equal arguments give equal streams."""
    rows = [
        Exposures(source, seed=seed if k == 0 else stream_key(seed, Purpose.MIXTURE, k))
        for k, source in enumerate(corpus.all_sources)
    ]
    if len(rows) == 1:
        return BiographyStream(rows[0], window_tokens=window_tokens)
    weights = [source.weight for source in corpus.all_sources]
    if corpus.data.mixing == "windows":
        streams = [BiographyStream(row, window_tokens=window_tokens) for row in rows]
        return MixedWindows(streams, weights, seed=seed)
    return BiographyStream(MixedBiographies(rows, weights, seed=seed), window_tokens=window_tokens)


class _Blocks:
    """Which source each place of a block belongs to, in shares that hold in every block."""

    def __init__(self, weights: Sequence[float], *, size: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self._upper_K = np.cumsum(weights) / sum(weights)

    def counts_before(self, block: int) -> NDArray[np.int64]:
        """Places of each source in all blocks before this one [K]."""
        upper_K = np.rint(block * self.size * self._upper_K).astype(np.int64)
        return np.diff(upper_K, prepend=0)

    def counts(self, block: int) -> NDArray[np.int64]:
        """Places of each source in one block [K]; together the size of the block."""
        return self.counts_before(block + 1) - self.counts_before(block)

    def order(self, block: int) -> NDArray[np.int64]:
        """The places of the block by source, those of source 0 first, in random order."""
        return permutation(stream_key(self.seed, Purpose.MIXTURE, 0, block), self.size)


class MixedWindows:
    """A stream in which every window is of one source alone."""

    def __init__(
        self, streams: Sequence[BiographyStream], weights: Sequence[float], *, seed: int
    ) -> None:
        """`weights`: tokens of each source for each token of the first one."""
        self.streams = streams
        self._blocks = _Blocks(weights, size=_BLOCK_WINDOWS, seed=seed)

    def windows(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Windows start..stop-1 [W, T+1]."""
        windows_WT = np.empty((stop - start, self.streams[0].window_tokens + 1), np.uint16)
        source_W, number_W = self._sources(start, stop)
        for k, stream in enumerate(self.streams):
            is_own_W = source_W == k
            numbers = number_W[is_own_W]
            if len(numbers):
                first, last = int(numbers.min()), int(numbers.max()) + 1
                windows_WT[is_own_W] = stream.windows(first, last)[numbers - first]
        return windows_WT

    def samples_until(self, window: int) -> tuple[int, ...]:
        """Biographies seen to their end in windows 0..window-1, by source."""
        block, rest = divmod(window, self._blocks.size)
        source_W, _ = self._sources(window - rest, window)
        n_K = self._blocks.counts_before(block) + np.bincount(source_W, minlength=len(self.streams))
        samples = zip(self.streams, n_K.tolist(), strict=True)
        return tuple(stream.samples_until(n)[0] for stream, n in samples)

    def _sources(self, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Source of each window, and which of the source's own windows it is."""
        source_W, number_W = np.empty((2, stop - start), np.int64)
        first_block, last_block = start // self._blocks.size, -(-stop // self._blocks.size)
        for block in range(first_block, last_block):
            offset = block * self._blocks.size
            inside = slice(max(start - offset, 0), min(stop - offset, self._blocks.size))
            place_W = self._blocks.order(block)
            stop_K = np.cumsum(self._blocks.counts(block))
            block_source_W = np.searchsorted(stop_K, place_W, "right")
            # A source's windows come in the order of their numbers.
            rank_W = np.empty_like(place_W)
            for k in range(len(self.streams)):
                is_own_W = block_source_W == k
                rank_W[is_own_W] = np.arange(is_own_W.sum()) + self._blocks.counts_before(block)[k]
            outside = slice(offset + inside.start - start, offset + inside.stop - start)
            source_W[outside], number_W[outside] = block_source_W[inside], rank_W[inside]
        return source_W, number_W


class MixedBiographies:
    """Segments of a fixed number of biographies, of all sources in random order."""

    def __init__(self, rows: Sequence[Exposures], weights: Sequence[float], *, seed: int) -> None:
        """`weights`: tokens of each source for each token of the first one."""
        self.rows = rows
        per_token = [row.source.mean_tokens for row in rows]
        shares = [weight / tokens for weight, tokens in zip(weights, per_token, strict=True)]
        self._blocks = _Blocks(shares, size=_BLOCK_BIOGRAPHIES, seed=seed)
        self._starts = [[0] for _ in rows]

    def n_tokens(self, segment: int) -> int:
        """Tokens of one segment."""
        return int(self.lengths(segment).sum())

    def lengths(self, segment: int) -> NDArray[np.int64]:
        """Tokens of each of its biographies [P]."""
        return self._lengths_at(segment, self._blocks.order(segment))

    def tokens(self, segment: int, first: int, last: int) -> NDArray[np.uint16]:
        """Its biographies first..last-1, one after another [L]."""
        place_P = self._blocks.order(segment)[first:last]
        length_P = self._lengths_at(segment, place_P)
        start_P = np.cumsum(length_P) - length_P
        tokens_L = np.empty(int(length_P.sum()), np.uint16)
        for row, exposure, index_P, inside_P in self._parts(segment, place_P):
            places_L = ragged_places(start_P[index_P], length_P[index_P])
            tokens_L[places_L] = row.tokens_at(exposure, inside_P)
        return tokens_L

    def samples_before(self, segment: int, place: int) -> tuple[int, ...]:
        """Samples up to a place of a segment, by source."""
        stop_K = np.cumsum(self._blocks.counts(segment))
        source_P = np.searchsorted(stop_K, self._blocks.order(segment)[:place], "right")
        n_K = np.bincount(source_P, minlength=len(self.rows))
        return tuple((self._blocks.counts_before(segment) + n_K).tolist())

    def _lengths_at(self, segment: int, place_P: NDArray[np.int64]) -> NDArray[np.int64]:
        length_P = np.empty(len(place_P), np.int64)
        for row, exposure, index_P, inside_P in self._parts(segment, place_P):
            length_P[index_P] = row.lengths_at(exposure, inside_P)
        return length_P

    def _parts(
        self, segment: int, place_P: NDArray[np.int64]
    ) -> list[tuple[Exposures, int, NDArray[np.int64], NDArray[np.int64]]]:
        """The places of a segment by source and exposure: its stream, the exposure, which of
        `place_P` these are, and their places in the exposure.
        """
        parts = []
        stop_K = np.cumsum(self._blocks.counts(segment))
        before_K = self._blocks.counts_before(segment)
        for k, row in enumerate(self.rows):
            first, last = (int(stop_K[k - 1]) if k else 0), int(stop_K[k])
            index_P = np.flatnonzero((place_P >= first) & (place_P < last))
            number_P = place_P[index_P] - first + int(before_K[k])
            if not len(number_P):
                continue
            starts = self._starts_until(k, int(number_P.max()))
            exposure_P = np.searchsorted(starts, number_P, "right") - 1
            for exposure in np.unique(exposure_P).tolist():
                is_in_P = exposure_P == exposure
                inside_P = number_P[is_in_P] - starts[exposure]
                parts.append((row, exposure, index_P[is_in_P], inside_P))
        return parts

    def _starts_until(self, k: int, number: int) -> list[int]:
        """Biographies of source k before each of its exposures, up to that of this number."""
        starts = self._starts[k]
        while starts[-1] <= number:
            starts.append(starts[-1] + self.rows[k].n_samples(len(starts) - 1))
        return starts

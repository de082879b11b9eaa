"""The training stream: one endless row of tokens, of which any part can be made at any time.

Exposure 0, exposure 1, ... follow one another. In each, every person has one biography; the order
of the people and the wording are functions of (seed, exposure). Window i holds the tokens i*T ..
i*T+T of that row, inputs and next-token targets, so consecutive windows share one token. Shape
letters: P people, T tokens, W windows.
"""

from collections import OrderedDict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kcap_ray.knowledge.randomness import Purpose, permutation, stream_key
from kcap_ray.text.corpus import Corpus
from kcap_ray.text.render import render_tokens

_KEPT_EXPOSURES = 2  # a block of windows may span the end of one and the start of the next
_BLOCK = 1 << 13  # people counted at a time, so that the arrays stay in the cache


class _Exposure(NamedTuple):
    order_P: NDArray[np.int64]
    """People in the order of their biographies."""
    stop_P: NDArray[np.int64]
    """Tokens of the exposure up to the end of each biography."""


class BiographyStream:
    """Random access to the training stream of a corpus; equal arguments give equal streams.

    The only state is a cache of counts, which grows by one number per exposure.
    """

    def __init__(self, corpus: Corpus, *, seed: int, window_tokens: int) -> None:
        assert window_tokens >= 1, "a window has at least one token to predict"
        self.corpus = corpus
        self.seed = seed
        self.window_tokens = window_tokens
        self._starts = [0]
        self._recent: OrderedDict[int, _Exposure] = OrderedDict()

    def windows(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Windows start..stop-1 [W, T+1]."""
        assert 0 <= start <= stop, "windows are numbered from 0 and counted upwards"
        n_windows, width = stop - start, self.window_tokens
        if n_windows == 0:
            return np.empty((0, width + 1), np.uint16)
        row = self._tokens(start * width, stop * width + 1)
        windows_WT = np.empty((n_windows, width + 1), np.uint16)
        windows_WT[:, :-1] = row[:-1].reshape(n_windows, width)
        windows_WT[:, -1] = row[width::width]
        return windows_WT

    def exposure_start(self, exposure: int) -> int:
        """Tokens of all exposures before this one."""
        while len(self._starts) <= exposure:
            self._starts.append(self._starts[-1] + self._count_tokens(len(self._starts) - 1))
        return self._starts[exposure]

    def exposures_until(self, window: int) -> float:
        """Biographies seen to their end in windows 0..window-1, per person."""
        n_tokens = window * self.window_tokens + 1 if window else 0
        exposure = self._exposure_at(n_tokens)
        finished = np.searchsorted(
            self._exposure(exposure).stop_P, n_tokens - self.exposure_start(exposure), "right"
        )
        return exposure + int(finished) / self.corpus.n_people

    def _tokens(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Tokens start..stop-1 of the row."""
        row = np.empty(stop - start, np.uint16)
        exposure = self._exposure_at(start)
        filled = 0
        while filled < len(row):
            offset = self.exposure_start(exposure)
            first = start + filled - offset
            part = self._tokens_of_exposure(exposure, first, stop - offset)
            row[filled : filled + len(part)] = part
            filled += len(part)
            exposure += 1
        return row

    def _tokens_of_exposure(self, exposure: int, start: int, stop: int) -> NDArray[np.uint16]:
        """Tokens start..stop-1 of one exposure, or up to its end."""
        order_P, stop_P = self._exposure(exposure)
        first = int(np.searchsorted(stop_P, start, "right"))
        last = min(int(np.searchsorted(stop_P, stop, "left")), len(order_P) - 1)
        key = self.corpus.wording_key(self.seed, exposure)
        tokens = render_tokens(self.corpus, order_P[first : last + 1], key)
        skipped = start - (int(stop_P[first - 1]) if first else 0)
        return tokens[skipped : skipped + stop - start]

    def _exposure_at(self, token: int) -> int:
        """Exposure that a token of the row belongs to."""
        while self._starts[-1] <= token:
            self.exposure_start(len(self._starts))
        return int(np.searchsorted(self._starts, token, "right")) - 1

    def _exposure(self, exposure: int) -> _Exposure:
        if exposure in self._recent:
            self._recent.move_to_end(exposure)
            return self._recent[exposure]
        key = stream_key(self.seed, Purpose.PEOPLE_ORDER, exposure)
        order_P = permutation(key, self.corpus.n_people)
        stop_P = np.cumsum(self._lengths(exposure, order_P))
        while len(self._recent) >= _KEPT_EXPOSURES:
            self._recent.popitem(last=False)
        self._recent[exposure] = _Exposure(order_P, stop_P)
        return self._recent[exposure]

    def _lengths(self, exposure: int, people_P: NDArray[np.int64]) -> NDArray[np.int64]:
        key = self.corpus.wording_key(self.seed, exposure)
        lengths_P = np.empty(len(people_P), np.int64)
        for start in range(0, len(people_P), _BLOCK):
            people = people_P[start : start + _BLOCK]
            lengths_P[start : start + _BLOCK] = self.corpus.biography_tokens(people, key)
        return lengths_P

    def _count_tokens(self, exposure: int) -> int:
        """Tokens of one exposure."""
        if exposure in self._recent:
            return int(self._recent[exposure].stop_P[-1])
        key = self.corpus.wording_key(self.seed, exposure)
        if exposure > 0 and key == self.corpus.wording_key(self.seed, exposure - 1):
            return self._starts[exposure] - self._starts[exposure - 1]
        people_P = np.arange(self.corpus.n_people)
        return int(self._lengths(exposure, people_P).sum())

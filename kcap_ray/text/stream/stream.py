"""The training stream: an endless token stream, of which any part can be made at any time.

It is made of segments of biographies: the exposures of one source, or blocks in which several
sources are mixed. Window i holds the tokens i*T .. i*T+T of the stream, inputs and next-token
targets, so consecutive windows share one token. Shape letters: P biographies of a segment, T
tokens, W windows, L tokens of a part of the stream.
"""

from collections import OrderedDict
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_CACHED_SEGMENTS = 2  # a block of windows may span the end of one and the start of the next


class Segments(Protocol):
    """Biographies in training order, segment after segment without end."""

    def n_tokens(self, segment: int, /) -> int:
        """Tokens of one segment."""
        ...

    def lengths(self, segment: int, /) -> NDArray[np.int64]:
        """Tokens of each of its biographies [P]."""
        ...

    def tokens(self, segment: int, /, first: int, last: int) -> NDArray[np.uint16]:
        """Its biographies first..last-1, one after another."""
        ...

    def samples_before(self, segment: int, /, place: int) -> tuple[int, ...]:
        """Samples up to a place of a segment, by source."""
        ...


class TrainingStream(Protocol):
    """What a cell is trained on."""

    def windows(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Windows start..stop-1 [W, T+1]."""
        ...

    def samples_until(self, window: int) -> tuple[int, ...]:
        """Biographies seen to their end in windows 0..window-1, by source."""
        ...


class BiographyStream:
    """Random access to the token stream that segments make.

    The only state is a cache of counts, which grows by one number per segment.
    """

    def __init__(self, segments: Segments, *, window_tokens: int) -> None:
        assert window_tokens >= 1, "a window has at least one token to predict"
        self.segments = segments
        self.window_tokens = window_tokens
        self._starts = [0]
        self._stops: OrderedDict[int, NDArray[np.int64]] = OrderedDict()

    def windows(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Windows start..stop-1 [W, T+1]."""
        assert 0 <= start <= stop, "windows are numbered from 0 and counted upwards"
        n_windows, width = stop - start, self.window_tokens
        if n_windows == 0:
            return np.empty((0, width + 1), np.uint16)
        tokens_L = self._tokens(start * width, stop * width + 1)
        windows_WT = np.empty((n_windows, width + 1), np.uint16)
        windows_WT[:, :-1] = tokens_L[:-1].reshape(n_windows, width)
        windows_WT[:, -1] = tokens_L[width::width]
        return windows_WT

    def samples_until(self, window: int) -> tuple[int, ...]:
        """Biographies seen to their end in windows 0..window-1, by source."""
        n_tokens = window * self.window_tokens + 1 if window else 0
        segment = self._segment_at(n_tokens)
        seen = n_tokens - self.segment_start(segment)
        place = int(np.searchsorted(self._stops_of(segment), seen, "right"))
        return self.segments.samples_before(segment, place)

    def segment_start(self, segment: int) -> int:
        """Tokens of all segments before this one."""
        while len(self._starts) <= segment:
            last = len(self._starts) - 1
            known = self._stops.get(last)
            n_tokens = self.segments.n_tokens(last) if known is None else int(known[-1])
            self._starts.append(self._starts[-1] + n_tokens)
        return self._starts[segment]

    def _tokens(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Tokens start..stop-1 of the stream."""
        tokens_L = np.empty(stop - start, np.uint16)
        segment = self._segment_at(start)
        filled = 0
        while filled < len(tokens_L):
            offset = self.segment_start(segment)
            part = self._tokens_of_segment(segment, start + filled - offset, stop - offset)
            tokens_L[filled : filled + len(part)] = part
            filled += len(part)
            segment += 1
        return tokens_L

    def _tokens_of_segment(self, segment: int, start: int, stop: int) -> NDArray[np.uint16]:
        """Tokens start..stop-1 of one segment, or up to its end."""
        stop_P = self._stops_of(segment)
        first = int(np.searchsorted(stop_P, start, "right"))
        last = min(int(np.searchsorted(stop_P, stop, "left")), len(stop_P) - 1)
        tokens = self.segments.tokens(segment, first, last + 1)
        skipped = start - (int(stop_P[first - 1]) if first else 0)
        return tokens[skipped : skipped + stop - start]

    def _segment_at(self, token: int) -> int:
        """Segment that a token of the stream belongs to."""
        while self._starts[-1] <= token:
            self.segment_start(len(self._starts))
        return int(np.searchsorted(self._starts, token, "right")) - 1

    def _stops_of(self, segment: int) -> NDArray[np.int64]:
        """Tokens of a segment up to the end of each of its biographies [P]."""
        if segment in self._stops:
            self._stops.move_to_end(segment)
            return self._stops[segment]
        stop_P = np.cumsum(self.segments.lengths(segment))
        while len(self._stops) >= _CACHED_SEGMENTS:
            self._stops.popitem(last=False)
        self._stops[segment] = stop_P
        return stop_P

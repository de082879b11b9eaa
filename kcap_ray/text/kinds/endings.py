"""Where a name or value ends though a longer one would go on there: `York` and `York City`.

The loss on the tokens of `York` leaves out the choice between the two. So its end counts too: at
the token behind it what is charged is -ln(1 - the probability of all tokens that would go on with a
longer value), whatever words of the sentence come instead. With it the probabilities of the values
of a pool add up to at most 1, and a model that knows the pool and nobody stores nothing.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kcap_ray.text.tokenizer.pieces import Pieces

PieceRange = tuple[int, int]
"""Pieces of the values of a pool: the first, and how many."""


class Endings(NamedTuple):
    """What would go on behind each piece."""

    number_of_piece: NDArray[np.int16]
    """1 + the number in `continuations`; 0 where nothing goes on."""
    value_tokens_of_piece: NDArray[np.int64]
    """Tokens up to the end of the value of the piece."""
    continuations: tuple[NDArray[np.integer], ...]
    """Tokens that go on with a longer value."""


def endings(pieces: Pieces, alike: Sequence[Sequence[PieceRange]]) -> Endings:
    """`alike`: for each place of a biography the pools that may stand there, each behind the same
    words; the same pool comes once for each text that may touch it from behind.
    """
    number_of_piece = np.zeros(len(pieces), np.int16)
    stop_of_piece = _value_tokens(pieces)
    continuations: dict[frozenset[int], int] = {}
    for ranges in alike:
        pieces_of_value: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        for first, size in ranges:
            for piece in range(first, first + size):
                start = int(pieces.starts[piece])
                value = pieces.tokens[start : start + int(stop_of_piece[piece])]
                pieces_of_value[tuple(value.tolist())].append(piece)
        for value, following in longer_values(list(pieces_of_value)).items():
            number = continuations.setdefault(frozenset(following), 1 + len(continuations))
            number_of_piece[pieces_of_value[value]] = number
    tokens = tuple(np.array(sorted(following), np.int64) for following in continuations)
    return Endings(number_of_piece, stop_of_piece, tokens)


def _value_tokens(pieces: Pieces) -> NDArray[np.int64]:
    """Tokens of each piece up to the end of its value; 0 without one."""
    stop_of_piece = np.zeros(len(pieces), np.int64)
    has_tokens = pieces.lengths > 0
    place = np.arange(len(pieces.tokens)) - np.repeat(pieces.starts, pieces.lengths) + 1
    reached = np.where(pieces.is_value, place, 0)
    stop_of_piece[has_tokens] = np.maximum.reduceat(reached, pieces.starts[has_tokens])
    return stop_of_piece


def longer_values(values: list[tuple[int, ...]]) -> dict[tuple[int, ...], set[int]]:
    """Of the values that begin others, the tokens that these have next.

    For instance [(1,), (1, 2), (1, 3, 4), (5,)] gives {(1,): {2, 3}}.
    """
    values.sort()
    following: defaultdict[tuple[int, ...], set[int]] = defaultdict(set)
    open_values: list[tuple[int, ...]] = []
    for value in values:
        while open_values and value[: len(open_values[-1])] != open_values[-1]:
            open_values.pop()
        for shorter in open_values:
            following[shorter].add(value[len(shorter)])
        open_values.append(value)
    return following

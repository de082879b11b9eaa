"""Pieces: the fragments that biographies are put together from, each tokenized once.

Two pieces may stand next to each other where GPT-2 would split the text there in any case, so that
the tokens of the pieces are the tokens of the whole text. GPT-2 splits a text into runs of letters,
of digits and of other signs, each with at most one space in front, before it merges anything inside
a run.

A value is tokenized together with the signs that touch it, because a merge may reach across: in
`Acme Inc..` the last two periods are one token. Such a token counts as the value's.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kcap_ray.text.bpe import bytes_per_token, encode

_NEWLINE = 198  # GPT-2's token for a line break between two pieces


@dataclass(frozen=True)
class Fragment:
    """Text of a piece, and which of its characters are the value."""

    text: str
    start: int = 0
    """First character of the value."""
    stop: int = 0
    """Character after the value; equal to `start` where the piece holds no value."""


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """Tokenized pieces, one after another in flat arrays.

    Piece i has the tokens `tokens[starts[i] : starts[i] + lengths[i]]`.
    """

    tokens: NDArray[np.uint16]
    is_value: NDArray[np.bool_]
    """For each token: whether it holds a part of the value."""
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    value_starts: NDArray[np.int32]
    """Character of the piece at which its value starts."""
    value_stops: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.starts)

    def renumbered(self, new_id: NDArray[np.uint16]) -> "Pieces":
        """The same pieces with token t written as `new_id[t]`."""
        return replace(self, tokens=new_id[self.tokens])

    def followed_by(self, other: "Pieces") -> "Pieces":
        """These pieces and then the others, which are numbered on."""
        return Pieces(
            tokens=np.concatenate((self.tokens, other.tokens)),
            is_value=np.concatenate((self.is_value, other.is_value)),
            starts=np.concatenate((self.starts, other.starts + len(self.tokens))),
            lengths=np.concatenate((self.lengths, other.lengths)),
            value_starts=np.concatenate((self.value_starts, other.value_starts)),
            value_stops=np.concatenate((self.value_stops, other.value_stops)),
        )


def tokenize(fragments: Sequence[Fragment]) -> Pieces:
    """Pieces of the given texts, in GPT-2 ids.

    All texts are encoded in one call, a line each: a line break is always a token of its own here,
    because no piece holds one, ends in a space, or is encoded when empty.
    """
    texts = [fragment.text.encode() for fragment in fragments]
    bytes_P = np.array([len(text) for text in texts], dtype=np.int64)
    filled = np.flatnonzero(bytes_P)
    ids = np.array(encode("\n".join(f.text for f in fragments if f.text)), dtype=np.int64)
    breaks = np.flatnonzero(ids == _NEWLINE)
    assert len(breaks) == max(len(filled) - 1, 0), "a piece holds a line break or ends in a space"
    lengths = np.zeros(len(texts), np.int64)
    lengths[filled] = np.diff(np.concatenate(([-1], breaks, [len(ids)]))) - 1
    tokens = np.delete(ids, breaks)

    # Byte positions of tokens and values in the text of all pieces, without line breaks.
    token_stop = np.cumsum(bytes_per_token()[tokens])
    token_start = token_stop - bytes_per_token()[tokens]
    piece_start = np.cumsum(bytes_P) - bytes_P
    value_start, value_stop = _value_bytes(fragments) + piece_start
    is_value = (token_stop > np.repeat(value_start, lengths)) & (
        token_start < np.repeat(value_stop, lengths)
    )
    return Pieces(
        tokens=tokens.astype(np.uint16),
        is_value=is_value,
        starts=np.cumsum(lengths) - lengths,
        lengths=lengths,
        value_starts=np.array([f.start for f in fragments], np.int32),
        value_stops=np.array([f.stop for f in fragments], np.int32),
    )


def pieces_of_tokens(
    tokens_PL: NDArray[np.int64],
    is_value_L: NDArray[np.bool_] | bool = False,
    value_start: int = 0,
    value_stop_P: NDArray[np.int64] | int = 0,
) -> Pieces:
    """Pieces of equally many tokens, given in GPT-2 ids."""
    n_pieces, n_tokens = tokens_PL.shape
    return Pieces(
        tokens=tokens_PL.ravel().astype(np.uint16),
        is_value=np.broadcast_to(is_value_L, (n_pieces, n_tokens)).ravel(),
        starts=np.arange(n_pieces) * n_tokens,
        lengths=np.full(n_pieces, n_tokens),
        value_starts=np.full(n_pieces, value_start, np.int32),
        value_stops=np.broadcast_to(value_stop_P, n_pieces).astype(np.int32),
    )


def _value_bytes(fragments: Sequence[Fragment]) -> NDArray[np.int64]:
    """Byte at which each value starts and stops inside its piece [2, P]."""
    spans = [
        (f.start, f.stop)
        if f.text.isascii()
        else (len(f.text[: f.start].encode()), len(f.text[: f.stop].encode()))
        for f in fragments
    ]
    return np.array(spans, dtype=np.int64).reshape(-1, 2).T


def splits_between(left: str, right: str) -> bool:
    """Whether GPT-2 always splits a text between `left` and `right`, whatever else is around them.

    It does before a space, and where a letter, a digit or another sign meets one of a different
    kind. The exception is an apostrophe before a letter, which may be a contraction such as 's.
    """
    if not left or not right:
        return True
    if left[-1].isspace():
        return False
    if right[0].isspace():
        return True
    if left[-1] == "'" and _kind(right[0]) == "L":
        return False
    return _kind(left[-1]) != _kind(right[0])


def _kind(character: str) -> str:
    category = unicodedata.category(character)[0]
    return category if category in "LN" else "other"

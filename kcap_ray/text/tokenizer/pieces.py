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

from kcap_ray.text.tokenizer.bpe import bytes_per_token, encode

_NEWLINE = 198  # GPT-2's token for a line break


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

    def token_places(self, piece_PS: NDArray[np.integer]) -> NDArray[np.int64]:
        """Places in `tokens` of all tokens of the given pieces, in order [T]."""
        piece = piece_PS.ravel()
        return ragged_places(self.starts[piece], self.lengths[piece])

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
    """Pieces of the given texts, in GPT-2 ids; no text may end in a space or hold two in a row.

    GPT-2 splits before every single space, so the texts are cut into words there and each distinct
    word is encoded once.
    """
    texts = [fragment.text for fragment in fragments]
    n_words_P = np.array([text.count(" ") + (text[:1] not in ("", " ")) for text in texts])
    words = [word for word in "\n".join(texts).replace(" ", "\n ").split("\n") if word]
    assert len(words) == n_words_P.sum(), "a text holds a line break"
    number_of_word = {word: i for i, word in enumerate(dict.fromkeys(words))}
    word_W = np.array([number_of_word[word] for word in words], dtype=np.int64)
    word_tokens, word_lengths = _encode_words(list(number_of_word))
    word_starts = np.cumsum(word_lengths) - word_lengths
    tokens = word_tokens[ragged_places(word_starts[word_W], word_lengths[word_W])]
    tokens_before_W = np.concatenate(([0], np.cumsum(word_lengths[word_W])))
    words_before_P = np.concatenate(([0], np.cumsum(n_words_P)))
    lengths = np.diff(tokens_before_W[words_before_P])
    return Pieces(
        tokens=tokens.astype(np.uint16),
        is_value=_is_value(fragments, tokens, lengths),
        starts=np.cumsum(lengths) - lengths,
        lengths=lengths,
        value_starts=np.array([f.start for f in fragments], np.int32),
        value_stops=np.array([f.stop for f in fragments], np.int32),
    )


def _encode_words(words: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tokens of all words in a row, and how many each has.

    They are encoded in one call, a line each; the line breaks come out as tokens of their own.
    """
    ids = np.array(encode("\n".join(words)), dtype=np.int64)
    breaks = np.flatnonzero(ids == _NEWLINE)
    assert len(breaks) == max(len(words) - 1, 0), "a text ends in a space or holds two in a row"
    lengths = np.diff(np.concatenate(([-1], breaks, [len(ids)]))) - 1
    return np.delete(ids, breaks), lengths[: len(words)]


def _is_value(
    fragments: Sequence[Fragment], tokens: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether each token shares a byte with the value of its piece."""
    token_stop = np.cumsum(bytes_per_token()[tokens])
    token_start = token_stop - bytes_per_token()[tokens]
    bytes_P = np.array([len(f.text.encode()) for f in fragments], dtype=np.int64)
    value_start, value_stop = _value_bytes(fragments) + np.cumsum(bytes_P) - bytes_P
    starts_before_end = token_start < np.repeat(value_stop, lengths)
    return starts_before_end & (token_stop > np.repeat(value_start, lengths))


def ragged_places(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places of all elements of rows that lie at `starts` with `lengths`, row after row.

    For instance starts [5, 9, 7] and lengths [2, 0, 1] give [5, 6, 7].
    """
    stops = np.cumsum(lengths)
    places = np.repeat(starts - (stops - lengths), lengths)
    places += np.arange(len(places))
    return places


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

"""bioD: people whose attributes have values made of chunks from small sets of random strings.

Shape letters: P people, C columns of the table of people, S slots, K attributes, D strings of a
set, L symbols.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kcap_ray.config.data import KnowledgeConfig
from kcap_ray.config.errors import UserError
from kcap_ray.knowledge.diversity import check_diversity, draw_diversity_sets
from kcap_ray.knowledge.pools import load_name_pools
from kcap_ray.knowledge.randomness import hash64
from kcap_ray.text.kinds.piece_renderer import Chosen, PieceRenderer
from kcap_ray.text.kinds.renderer import (
    FIRST_ATTRIBUTE_CODE,
    N_NAME_SLOTS,
    NAME_CODE,
    Samples,
    check_last_names,
    last_names_alike,
    name_fragments,
    name_offsets,
)
from kcap_ray.text.tokenizer.bpe import EOS, bytes_per_token, encode
from kcap_ray.text.tokenizer.pieces import Fragment, Pieces, pieces_of_tokens, tokenize
from kcap_ray.text.tokenizer.vocabulary import alphabet

_MAX_ATTRIBUTES = 100  # attribute codes are int8


@dataclass(frozen=True, kw_only=True)
class BioDRenderer(PieceRenderer):
    """bioD in sentences, or as bare names, keys and values.

    Pieces: names; openings of attribute k at 2k (after the name) and 2k + 1; end of text; chunks.
    Slots: name, then for each attribute its opening and its chunks, then the end of text.
    """

    data: KnowledgeConfig
    name_offsets: tuple[int, int, int]
    opening_offset: int
    eos_piece: int
    chunk_offset: int
    """Piece of string 0 of attribute 0 where another chunk follows; then come its other strings,
    the other attributes, and (if C > 1) all that once more for strings that end a sentence."""
    tokens_after_name: int
    """Tokens of a biography after the name, with the end of text: the same for everybody."""

    @property
    def mean_tokens(self) -> float:
        """Expected tokens of a biography, with the end of text."""
        sizes = load_name_pools(self.data.pools).sizes
        lengths = self.pieces.lengths
        spans = zip(self.name_offsets, sizes, strict=True)
        name_tokens = sum(float(lengths[start : start + size].mean()) for start, size in spans)
        return name_tokens + self.tokens_after_name

    @property
    def _shape(self) -> tuple[int, int, int]:
        """Attributes, chunks of a value, strings of a set."""
        assert self.data.K and self.data.C and self.data.D
        return self.data.K, self.data.C, self.data.D

    def choose(self, samples: Samples) -> Chosen:
        """Biographies in a random order of the attributes."""
        K, C, _ = self._shape
        values_PC = samples.values_PC
        n_people = len(values_PC)
        order_PK = _random_orders(samples.draw_P, K, samples.key)
        width = 1 + C
        slot_PS = np.empty((n_people, N_NAME_SLOTS + K * width + 1), np.int64)
        slot_PS[:, :N_NAME_SLOTS] = np.arange(N_NAME_SLOTS)
        sentence_slots = slot_PS[:, N_NAME_SLOTS:-1].reshape(n_people, K, width, copy=False)
        sentence_slots[:] = (N_NAME_SLOTS + order_PK * width)[:, :, None] + np.arange(width)
        slot_PS[:, -1] = N_NAME_SLOTS + K * width

        piece_PS = np.empty_like(slot_PS)
        piece_PS[:, :N_NAME_SLOTS] = values_PC[:, :N_NAME_SLOTS] + np.array(self.name_offsets)
        piece_PS[:, -1] = self.eos_piece
        sentence_pieces = piece_PS[:, N_NAME_SLOTS:-1].reshape(n_people, K, width, copy=False)
        sentence_pieces[:, :, 0] = self.opening_offset + 2 * order_PK + 1
        sentence_pieces[:, 0, 0] -= 1  # the first sentence has the name as its subject
        chunk_PKC = values_PC[:, N_NAME_SLOTS:].reshape(n_people, K, C)
        chunk_PKC = np.take_along_axis(chunk_PKC, order_PK[:, :, None], axis=1)
        sentence_pieces[:, :, 1:] = self._chunk_base_KC[order_PK] + chunk_PKC
        return Chosen(piece_PS, slot_PS)

    @property
    def _chunk_base_KC(self) -> NDArray[np.int64]:
        K, C, D = self._shape
        base_KC = self.chunk_offset + D * np.arange(K)[:, None] + np.zeros(C, np.int64)
        if C > 1:
            base_KC[:, -1] += K * D
        return base_KC

    def fixed_tokens(self, values_PC: NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
        """The whole length: only names differ in length, and no random choice changes it."""
        name_PS = values_PC[:, :N_NAME_SLOTS] + np.array(self.name_offsets)
        return self.pieces.lengths[name_PS].sum(axis=1) + self.tokens_after_name

    def chosen_tokens(self, samples: Samples) -> int:
        """Nothing: all orders are equally long."""
        return 0


@lru_cache(maxsize=2)
def biod_renderer(data: KnowledgeConfig) -> BioDRenderer:
    """The renderer of `data` in GPT-2's tokens; its number of people is of no account. The last two
    are kept.

    Only the symbols that the diversity sets use are among its tokens, which may be fewer than the T
    of the alphabet. UserError where the numbers of bioD are out of range.
    """
    _check_range(data)
    assert data.K and data.C and data.D and data.L and data.T
    names = load_name_pools(data.pools)
    fragments = name_fragments(names)
    opening_offset = len(fragments)
    openings = _openings(data)
    check_last_names(data.pools, names, (opening.text for opening in openings))
    fragments += openings
    pieces = tokenize(fragments).followed_by(pieces_of_tokens(np.array([[EOS]])))
    opening_lengths_K2 = pieces.lengths[opening_offset : len(fragments)].reshape(data.K, 2)
    first_excess_K = opening_lengths_K2[:, 0] - opening_lengths_K2[:, 1]
    assert (first_excess_K == first_excess_K[0]).all(), "a number is not one token of its own"
    symbols_KDL = alphabet()[: data.T][draw_diversity_sets(data)]
    symbols_PL = symbols_KDL.reshape(-1, symbols_KDL.shape[-1])
    marks = _marks(data)
    for mark in marks[-1:] if data.C == 1 else marks:
        pieces = pieces.followed_by(_chunk_pieces(symbols_PL, mark))
    value_tokens = data.C * data.L + len(marks[0]) * data.C
    return BioDRenderer(
        data=data,
        pieces=pieces,
        attributes=tuple(f"ID {k}" for k in range(1, data.K + 1)),
        slot_code_S=_slot_codes(data.K, data.C),
        slot_is_first_chunk_S=_slots_of_first_chunks(data.K, data.C),
        alike=(last_names_alike(names),),
        name_offsets=name_offsets(names),
        opening_offset=opening_offset,
        eos_piece=len(fragments),
        chunk_offset=len(fragments) + 1,
        tokens_after_name=int(
            opening_lengths_K2[:, 1].sum() + first_excess_K[0] + data.K * value_tokens + 1
        ),
    )


def _slot_codes(K: int, C: int) -> NDArray[np.int8]:
    code_KS = np.zeros((K, 1 + C), np.int8)
    code_KS[:, 1:] = FIRST_ATTRIBUTE_CODE + np.arange(K)[:, None]
    name = np.full(N_NAME_SLOTS, NAME_CODE, np.int8)
    return np.concatenate((name, code_KS.ravel(), np.zeros(1, np.int8)))


def _slots_of_first_chunks(K: int, C: int) -> NDArray[np.bool_]:
    """The slot after each opening."""
    is_first_S = np.zeros(N_NAME_SLOTS + K * (1 + C) + 1, np.bool_)
    is_first_S[N_NAME_SLOTS + 1 : -1 : 1 + C] = True
    return is_first_S


def _check_range(data: KnowledgeConfig) -> None:
    check_diversity(data)
    assert data.K and data.T
    n_symbols = len(alphabet())
    if n_symbols < data.T:
        raise UserError(
            f"data.T: {data.T} symbols, but GPT-2 has {n_symbols} tokens of a space and a word; "
            f"write at most {n_symbols}"
        )
    if data.K > _MAX_ATTRIBUTES:
        raise UserError(f"data.K: got {data.K}; at most {_MAX_ATTRIBUTES} attributes are supported")


def _openings(data: KnowledgeConfig) -> list[Fragment]:
    """Words before the value of each attribute: after the name, and in a sentence of their own."""
    assert data.K
    numbers = range(1, data.K + 1)
    if data.style == "compact":
        return [Fragment(f" {k}") for k in numbers for _ in range(2)]
    # bioD has no gender, so the paper's "Her" is "Their".
    return [Fragment(f"{owner} ID {k} is") for k in numbers for owner in ("'s", " Their")]


def _marks(data: KnowledgeConfig) -> list[NDArray[np.int64]]:
    """Tokens after a chunk that another chunk follows, and after the last chunk of a value."""
    if data.style == "compact":
        return [np.array([], np.int64), np.array([], np.int64)]
    return [np.array(encode(","), np.int64), np.array(encode("."), np.int64)]


def _chunk_pieces(symbols_PL: NDArray[np.int64], mark: NDArray[np.int64]) -> Pieces:
    """Pieces of the strings, with the mark behind; the value is the string without its space."""
    marks_PM = np.broadcast_to(mark, (len(symbols_PL), len(mark)))
    is_value_T = np.arange(symbols_PL.shape[1] + len(mark)) < symbols_PL.shape[1]
    chars_P = bytes_per_token()[symbols_PL].sum(axis=1)
    return pieces_of_tokens(np.hstack((symbols_PL, marks_PM)), is_value_T, 1, chars_P)


def _random_orders(draw_P: NDArray[np.integer], n: int, key: int) -> NDArray[np.int64]:
    """A random order of 0..n-1 for each person [P, n]: hashes sorted, number in the low bits."""
    n_hashes = -(-n // 2)
    first_P = draw_P.astype(np.uint64)[:, None] * np.uint64(n_hashes)
    hash_PH = hash64(key, first_P + np.arange(n_hashes, dtype=np.uint64))
    mask = np.uint32((1 << (n - 1).bit_length()) - 1)
    keys = (hash_PH.view(np.uint32)[:, :n] & ~mask) | np.arange(n, dtype=np.uint32)
    keys.sort(axis=1)
    return (keys & mask).astype(np.int64)

"""Biographies put together from pieces.

A biography is a row of slots (first name, opening words of a sentence, its value, ...), and each
slot is filled with one piece. Shape letters: P people, S slots, L tokens.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from kcap_ray.text.kinds.endings import Endings, PieceRange, endings
from kcap_ray.text.kinds.renderer import (
    FIRST_ATTRIBUTE_CODE,
    NAME_CODE,
    BiographyText,
    Rendered,
    Samples,
    Span,
)
from kcap_ray.text.tokenizer import bpe
from kcap_ray.text.tokenizer.pieces import Pieces
from kcap_ray.text.tokenizer.vocabulary import CompactVocabulary

# Pieces that are put together at a time: their arrays stay in the cache of a core.
_BLOCK_PIECES = 1 << 15


class Chosen(NamedTuple):
    """Biographies as rows of pieces; the last piece of each is the end of text."""

    piece_PS: NDArray[np.integer]
    """Piece in each place, in reading order."""
    slot_PS: NDArray[np.integer]
    """Slot that each place belongs to."""


@dataclass(frozen=True, kw_only=True)
class PieceRenderer(ABC):
    """A `Renderer` whose biographies are rows of pieces; kinds differ in how they choose these."""

    pieces: Pieces
    """All pieces, in GPT-2's tokens or in those of a vocabulary."""
    vocab: CompactVocabulary | None = None
    """Vocabulary that the tokens are of; None: GPT-2's own."""

    attributes: tuple[str, ...]
    uncounted: tuple[str, ...] = ()
    slot_code_S: NDArray[np.int8]
    """What each slot holds: nothing, the name, or an attribute."""
    slot_is_first_chunk_S: NDArray[np.bool_]
    """Whether the slot holds the first chunk of a value of bioD."""
    alike: tuple[tuple[PieceRange, ...], ...] = ()
    """Pools of names and values of which one may begin another; see `endings`."""

    @abstractmethod
    def choose(self, samples: Samples) -> Chosen:
        """The biographies; random choices are a function of (key, draw)."""

    @property
    def used_ids(self) -> NDArray[np.integer]:
        """All tokens of all pieces."""
        return self.pieces.tokens

    def in_vocabulary(self, vocab: CompactVocabulary) -> Self:
        """The same renderer for the tokens of `vocab`."""
        assert self.vocab is None, "a renderer is renumbered once"
        return replace(self, vocab=vocab, pieces=self.pieces.renumbered(vocab.token_of_gpt2_id))

    def tokens(self, samples: Samples) -> NDArray[np.uint16]:
        """The biographies one after another, each with the end of text behind it [L]."""
        blocks = []
        for block in self._blocks(samples):
            blocks.append(self.pieces.tokens[self.pieces.token_places(self.choose(block).piece_PS)])
        return np.concatenate(blocks) if blocks else np.empty(0, np.uint16)

    @cached_property
    def _endings(self) -> Endings:
        return endings(self.pieces, self.alike)

    def rendered(self, samples: Samples) -> Rendered:
        """The same with what each token holds; where a name or value begins a longer one, the token
        behind it holds it too.
        """
        chosen = self.choose(samples)
        places_L = self.pieces.token_places(chosen.piece_PS)
        lengths_PS = self.pieces.lengths[chosen.piece_PS]
        slot_L = np.repeat(chosen.slot_PS.ravel(), lengths_PS.ravel())
        is_value_L = self.pieces.is_value[places_L]
        rendered = Rendered(
            length_P=lengths_PS.sum(axis=1),
            tokens_L=self.pieces.tokens[places_L],
            code_L=np.where(is_value_L, self.slot_code_S[slot_L], 0).astype(np.int8),
            first_chunk_L=is_value_L & self.slot_is_first_chunk_S[slot_L],
        )
        return self._with_ends(rendered, chosen) if self._endings.continuations else rendered

    def _with_ends(self, rendered: Rendered, chosen: Chosen) -> Rendered:
        piece_F, slot_F = chosen.piece_PS.ravel(), chosen.slot_PS.ravel()
        lengths_F = self.pieces.lengths[piece_F]
        number_F = self._endings.number_of_piece[piece_F]
        stop_F = np.cumsum(lengths_F) - lengths_F + self._endings.value_tokens_of_piece[piece_F]
        ends = np.flatnonzero(number_F)
        end_L = np.zeros(len(rendered.tokens_L), np.int16)
        end_L[stop_F[ends]] = number_F[ends]
        code_L = rendered.code_L.copy()
        code_L[stop_F[ends]] = self.slot_code_S[slot_F[ends]]
        continuations = self._endings.continuations
        return rendered._replace(code_L=code_L, end_L=end_L, continuations=continuations)

    def as_text(self, samples: Samples) -> Iterator[BiographyText]:
        """The same as text, one by one."""
        labels = {NAME_CODE: "name"}
        labels |= dict(enumerate((*self.attributes, *self.uncounted), FIRST_ATTRIBUTE_CODE))
        for block in self._blocks(samples):
            for piece_S, slot_S in zip(*self.choose(block), strict=True):
                yield self._as_biography(piece_S[:-1], slot_S[:-1], labels)

    def _blocks(self, samples: Samples) -> Iterator[Samples]:
        """Consecutive parts, small enough to be put together in the cache of a core."""
        step = max(_BLOCK_PIECES // len(self.slot_code_S), 1)
        for start in range(0, len(samples.people_P), step):
            yield samples.part(start, start + step)

    def _as_biography(
        self, piece_S: NDArray[np.integer], slot_S: NDArray[np.integer], labels: dict[int, str]
    ) -> BiographyText:
        text, ids = "", []
        spans: dict[str, Span] = {}
        for piece, slot in zip(piece_S.tolist(), slot_S.tolist(), strict=True):
            start = int(self.pieces.starts[piece])
            tokens = self.pieces.tokens[start : start + int(self.pieces.lengths[piece])]
            piece_ids = (tokens if self.vocab is None else self.vocab.gpt2_ids[tokens]).tolist()
            first, stop = int(self.pieces.value_starts[piece]), int(self.pieces.value_stops[piece])
            label = labels.get(int(self.slot_code_S[slot]))
            if stop > first and label is not None:
                span = Span(label, len(text) + first, len(text) + stop)
                if label not in spans:
                    spans[label] = span
                elif label != "pronoun":
                    # A value of several pieces; of the pronouns the first alone counts.
                    spans[label] = spans[label]._replace(end=span.end)
            text += bpe.decode(piece_ids)
            ids += piece_ids
        return BiographyText(text, ids, list(spans.values()))

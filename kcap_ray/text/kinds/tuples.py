"""Biographies of the user's own facts: one sentence for each fact that a person has.

Shape letters: P people, C columns of the table of people, A attributes, T templates of an
attribute, G templates of all attributes in a row, S slots.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kcap_ray.knowledge.randomness import hash64
from kcap_ray.text.kinds.piece_renderer import Chosen, PieceRenderer
from kcap_ray.text.kinds.renderer import Samples

NO_PIECE = 0
"""Piece without any token, which stands where a person lacks a fact."""
EOS_PIECE = 1
SENTENCE_SLOTS = 4
"""Name, words behind it, value, words behind that; each with what touches it."""

_INDEX_BITS = 7  # there are at most 100 attributes
_ABSENT = np.uint64(1) << np.uint64(32 + _INDEX_BITS)  # sorts behind every hash of 32 bits


@dataclass(frozen=True, kw_only=True)
class TupleRenderer(PieceRenderer):
    """The user's own facts.

    Slots: for each attribute those of its sentence; end of text; the name where it stands for the
    first time, which alone is counted.
    """

    n_templates_A: NDArray[np.int64]
    first_template_A: NDArray[np.int64]
    """Number of template 0 of each attribute among those of all."""
    name_base_G: NDArray[np.int64]
    """Piece of name 0 as it stands in each template; the other names follow."""
    opening_piece_G: NDArray[np.int64]
    value_base_G: NDArray[np.int64]
    """Piece before that of value 0, which the table of people calls 1."""
    rest_piece_G: NDArray[np.int64]
    mean_tokens: float
    """Expected tokens of a biography over people and templates, with the end of text."""

    def choose(self, samples: Samples) -> Chosen:
        """Biographies with a random template for each fact, and the facts in random order."""
        values_PA = samples.values_PC[:, 1:].astype(np.int64)
        n_people, n_attributes = values_PA.shape
        hash_PA = self._hashes(samples)
        order_PA = _random_orders(hash_PA, values_PA == 0)
        piece_PA4 = self._sentences(
            samples.values_PC[:, :1].astype(np.int64), values_PA, self._templates(hash_PA)
        )
        n_places = n_attributes * SENTENCE_SLOTS
        eos_slot = n_places
        piece_PS = np.empty((n_people, n_places + 1), np.int64)
        slot_PS = np.empty_like(piece_PS)
        sentences = piece_PS[:, :-1].reshape(*piece_PA4.shape, copy=False)
        sentences[:] = np.take_along_axis(piece_PA4, order_PA[:, :, None], axis=1)
        slots = slot_PS[:, :-1].reshape(*piece_PA4.shape, copy=False)
        slots[:] = order_PA[:, :, None] * SENTENCE_SLOTS + np.arange(SENTENCE_SLOTS)
        slot_PS[:, 0] = eos_slot + 1
        piece_PS[:, -1], slot_PS[:, -1] = EOS_PIECE, eos_slot
        return Chosen(piece_PS, slot_PS)

    def fixed_tokens(self, values_PC: NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
        """The whole length as it is where each fact has the first template of its attribute."""
        tokens_P = np.ones(len(values_PC), np.int64)  # the end of text
        for a, template in enumerate(self.first_template_A):
            tokens_P += self.sentence_tokens(values_PC, a, int(template))
        return tokens_P

    def chosen_tokens(self, samples: Samples) -> NDArray[np.int64] | int:
        """What the chosen templates add to, or take from, that."""
        if (self.n_templates_A == 1).all():
            return 0
        name_P1 = samples.values_PC[:, :1].astype(np.int64)
        values_PA = samples.values_PC[:, 1:].astype(np.int64)
        templates_PA = self._templates(self._hashes(samples))
        chosen_PA4 = self._sentences(name_P1, values_PA, templates_PA)
        first_PA4 = self._sentences(name_P1, values_PA, self.first_template_A)
        lengths = self.pieces.lengths
        return (lengths[chosen_PA4] - lengths[first_PA4]).sum(axis=(1, 2))

    def sentence_tokens(
        self, values_PC: NDArray[np.unsignedinteger], attribute: int, template: int
    ) -> NDArray[np.int64]:
        """Tokens of each person's sentence on an attribute; 0 where the person lacks it [P]."""
        column = [0, 1 + attribute]
        name_P1, value_P1 = np.hsplit(values_PC[:, column].astype(np.int64), 2)
        pieces_P14 = self._sentences(name_P1, value_P1, np.array([template]))
        return self.pieces.lengths[pieces_P14].sum(axis=(1, 2))

    def _hashes(self, samples: Samples) -> NDArray[np.uint64]:
        n_attributes = len(self.n_templates_A)
        first_P = samples.draw_P.astype(np.uint64) * np.uint64(n_attributes)
        return hash64(samples.key, first_P[:, None] + np.arange(n_attributes, dtype=np.uint64))

    def _templates(self, hash_PA: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Template of each fact, from the upper halves of the hashes; no template of n is more
        likely than another by a factor of more than 1 + n / 2^32.
        """
        upper_PA = (hash_PA >> np.uint64(32)).astype(np.int64)
        return self.first_template_A + ((upper_PA * self.n_templates_A) >> 32)

    def _sentences(
        self,
        name_P1: NDArray[np.int64],
        values_PA: NDArray[np.int64],
        template_PA: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Pieces of the sentences of people, in the order of the attributes [P, A, 4]."""
        piece_PA4 = np.empty((*values_PA.shape, SENTENCE_SLOTS), np.int64)
        piece_PA4[..., 0] = self.name_base_G[template_PA] + name_P1
        piece_PA4[..., 1] = self.opening_piece_G[template_PA]
        piece_PA4[..., 2] = self.value_base_G[template_PA] + values_PA
        piece_PA4[..., 3] = self.rest_piece_G[template_PA]
        piece_PA4[values_PA == 0] = NO_PIECE
        return piece_PA4


def _random_orders(
    hash_PA: NDArray[np.uint64], is_absent_PA: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """A random order of the attributes of each person, those that the person lacks behind: the
    lower halves of the hashes sorted, with the number of the attribute in the low bits.
    """
    n_attributes = hash_PA.shape[1]
    keys_PA = (hash_PA & np.uint64((1 << 32) - 1)) << np.uint64(_INDEX_BITS)
    keys_PA |= np.arange(n_attributes, dtype=np.uint64)
    keys_PA[is_absent_PA] |= _ABSENT
    keys_PA.sort(axis=1)
    return (keys_PA & np.uint64((1 << _INDEX_BITS) - 1)).astype(np.int64)

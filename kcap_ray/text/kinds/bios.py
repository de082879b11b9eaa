"""bioS: biographies of six sentences, each from one of many templates, in random order.

Shape letters: P people, C columns of the table of people, S slots, A sentences, T templates of a
sentence, V values, O orders of the sentences.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from kcap_ray.knowledge.randomness import hash64
from kcap_ray.text.kinds.piece_renderer import Chosen, PieceRenderer
from kcap_ray.text.kinds.renderer import FIRST_ATTRIBUTE_CODE, Rendered, Samples
from kcap_ray.text.kinds.templates import SENTENCES

ATTRIBUTES = ("birth_date", "birth_city", "university", "major", "employer", "pronoun")
"""Counted attributes: the factors of S0 (arXiv 2404.05405, definition 4.3 and footnote 12)."""
PRONOUNS = ("He", "She")
N_OPENINGS = 1 + len(PRONOUNS)
"""Openings of each template: after the name, and with each pronoun in front."""
ORDERS = tuple(permutations(range(len(SENTENCES))))
"""All orders of the sentences."""
_FIRST_SENTENCE_O = np.array([order[0] for order in ORDERS])
_EMPLOYER_CODE = FIRST_ATTRIBUTE_CODE + ATTRIBUTES.index("employer")
_WORK_CITY_CODE = FIRST_ATTRIBUTE_CODE + len(ATTRIBUTES)


def _orders_with_employer_first() -> NDArray[np.int64]:
    """Number of each order; where the work city is before the employer, of the order swapped."""
    employer, work_city = SENTENCES.index("employer"), SENTENCES.index("work_city")
    swap = {employer: work_city, work_city: employer}
    number = {order: i for i, order in enumerate(ORDERS)}
    numbers_O = np.arange(len(ORDERS))
    for i, order in enumerate(ORDERS):
        if order.index(work_city) < order.index(employer):
            numbers_O[i] = number[tuple(swap.get(a, a) for a in order)]
    return numbers_O


_EMPLOYER_FIRST_O = _orders_with_employer_first()


@dataclass(frozen=True, kw_only=True)
class ValueSlot:
    """One slot of a value: a birth date has three, for month, day and year."""

    column: int
    """Column of the table of people that holds the number of the value."""
    slot: int
    first_piece_T: NDArray[np.int64]
    """Piece of value 0 in the context of each template of the sentence."""
    value_of_number_V: NDArray[np.int64]
    """Value of each number of the column: the same number, or the work city of each employer."""
    lengths_TV: NDArray[np.int64]
    """Tokens of the piece, by template and by number of the column."""

    @cached_property
    def added_tokens_T(self) -> NDArray[np.int64]:
        """Tokens that each template adds to the length under the first template."""
        return self.lengths_TV[:, 0] - self.lengths_TV[0, 0]

    @cached_property
    def excess_TV(self) -> NDArray[np.int64] | None:
        """Tokens beyond the sum of a share of the number and one of the template; None if all 0.

        They arise where a merge reaches from some values, but not from others, into the words of a
        template.
        """
        excess_TV = self.lengths_TV - self.lengths_TV[0] - self.added_tokens_T[:, None]
        return excess_TV if excess_TV.any() else None


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """One kind of sentence: slots for its opening, its values and the rest."""

    n_templates: int
    opening_slot: int
    opening_piece: int
    """Opening of template 0 after the name; N_OPENINGS for each template, one after another."""
    values: tuple[ValueSlot, ...]
    rest_slot: int
    rest_piece: int
    """Rest of template 0; the other templates follow."""
    added_tokens_T: NDArray[np.int64]
    """Tokens that each template adds to a biography, apart from `ValueSlot.excess_TV`."""


@dataclass(frozen=True, kw_only=True)
class BioSRenderer(PieceRenderer):
    """bioS with the templates of the package."""

    name_offsets: tuple[int, int, int]
    eos_piece: int
    sentences: tuple[Sentence, ...]
    slot_order_OS: NDArray[np.int64]
    """Slots in reading order, for each order of the sentences."""
    mean_tokens: float
    """Expected tokens of a biography over pools and templates, with the end of text."""

    def choose(self, samples: Samples) -> Chosen:
        """Biographies with a random template per sentence, and the sentences in random order.

        In an evaluation the sentence on the work city never comes before the one on the employer,
        which it gives away.
        """
        template_AP, order_P = self._draw(samples.draw_P, samples.key)
        if samples.is_evaluation:
            order_P = _EMPLOYER_FIRST_O[order_P]
        values_CP = np.ascontiguousarray(samples.values_PC.T).astype(np.int64)
        piece_SP = self._fill_slots(values_CP, template_AP, _FIRST_SENTENCE_O[order_P])
        n_people = len(order_P)
        slot_PS = self.slot_order_OS[order_P]
        piece_PS = piece_SP.ravel()[slot_PS * n_people + np.arange(n_people)[:, None]]
        return Chosen(piece_PS, slot_PS)

    def rendered(self, samples: Samples) -> Rendered:
        """The same with what each token holds.

        A work city that comes before its employer holds a part of it: the chance of the city times
        that of the employer behind it is the chance of the employer.
        """
        rendered = super().rendered(samples)
        code_L = rendered.code_L
        person_L = np.repeat(np.arange(len(rendered.length_P)), rendered.length_P)
        place_L = np.arange(len(code_L))
        first_employer_P = np.full(len(rendered.length_P), len(code_L))
        is_employer_L = code_L == _EMPLOYER_CODE
        np.minimum.at(first_employer_P, person_L[is_employer_L], place_L[is_employer_L])
        is_before_L = (code_L == _WORK_CITY_CODE) & (place_L < first_employer_P[person_L])
        if not is_before_L.any():
            return rendered
        joint_L = np.where(is_before_L, np.int8(_EMPLOYER_CODE), code_L)
        return rendered._replace(code_L=joint_L)

    def _draw(
        self, draw_P: NDArray[np.integer], key: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Template of each sentence [A, P] and number of the order of the sentences [P].

        Two hashes give eight lanes of 16 bits: six choose templates, two together the order. By
        multiply and shift, no choice among n is more likely than another by a factor of more than
        1 + n / 2^16.
        """
        position_PH = draw_P.astype(np.uint64)[:, None] * np.uint64(2) + np.arange(2).astype(
            np.uint64
        )
        lane_HP = hash64(key, position_PH).view(np.uint16).T.astype(np.int64)
        n_templates_A = np.array([sentence.n_templates for sentence in self.sentences])
        template_AP = (lane_HP[: len(SENTENCES)] * n_templates_A[:, None]) >> 16
        random_P = (lane_HP[-2] << 16) | lane_HP[-1]
        return template_AP, (random_P * len(ORDERS)) >> 32

    def _fill_slots(
        self,
        values_CP: NDArray[np.int64],
        template_AP: NDArray[np.int64],
        first_sentence_P: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Piece of each slot [S, P], slots in the order of their numbers."""
        piece_SP = np.empty((len(self.slot_code_S), values_CP.shape[1]), np.int64)
        for slot, offset in enumerate(self.name_offsets):
            np.add(values_CP[slot], offset, out=piece_SP[slot])
        pronoun_P = values_CP[-1] + 1
        for a, sentence in enumerate(self.sentences):
            template_P = template_AP[a]
            opening_P = piece_SP[sentence.opening_slot]
            np.multiply(template_P, N_OPENINGS, out=opening_P)
            opening_P += sentence.opening_piece
            opening_P += pronoun_P * (first_sentence_P != a)
            for value in sentence.values:
                np.take(value.first_piece_T, template_P, out=piece_SP[value.slot])
                piece_SP[value.slot] += value.value_of_number_V[values_CP[value.column]]
            np.add(template_P, sentence.rest_piece, out=piece_SP[sentence.rest_slot])
        piece_SP[-1] = self.eos_piece
        return piece_SP

    def fixed_tokens(self, values_PC: NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
        """Name, values in the context of their first templates, pronouns and end of text."""
        name_PS = values_PC[:, : len(self.name_offsets)] + np.array(self.name_offsets)
        tokens_P = self.pieces.lengths[name_PS].sum(axis=1)
        for sentence in self.sentences:
            for value in sentence.values:
                tokens_P += value.lengths_TV[0][values_PC[:, value.column]]
        return tokens_P + len(SENTENCES)  # a pronoun in all sentences but one, and the end of text

    def chosen_tokens(self, samples: Samples) -> NDArray[np.int64]:
        """Words of the templates, and what merges with values make of them."""
        template_AP, _ = self._draw(samples.draw_P, samples.key)
        tokens_P = np.zeros(len(samples.draw_P), np.int64)
        for a, sentence in enumerate(self.sentences):
            tokens_P += sentence.added_tokens_T[template_AP[a]]
            for value in sentence.values:
                excess_TV = value.excess_TV
                if excess_TV is not None:
                    tokens_P += excess_TV[template_AP[a], samples.values_PC[:, value.column]]
        return tokens_P

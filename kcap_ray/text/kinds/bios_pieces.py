"""Building the renderer of bioS: tokenize names, templates and values, and lay out the slots.

Shape letters as in `text/kinds/bios.py`.
"""

from collections.abc import Sequence
from functools import cache
from itertools import permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kcap_ray.config.bios import attributes_of
from kcap_ray.config.contents import FileState, text_files_state
from kcap_ray.config.data import KnowledgeConfig
from kcap_ray.knowledge.people import BIOS_COLUMNS
from kcap_ray.knowledge.pools import (
    NamePools,
    ValuePools,
    load_name_pools,
    load_value_pools,
    pools_state,
)
from kcap_ray.text.kinds.bios import (
    N_OPENINGS,
    PRONOUNS,
    BioSRenderer,
    Sentence,
    ValueSlot,
)
from kcap_ray.text.kinds.endings import PieceRange
from kcap_ray.text.kinds.renderer import (
    FIRST_ATTRIBUTE_CODE,
    N_NAME_SLOTS,
    NAME_CODE,
    check_last_names,
    last_names_alike,
    name_fragments,
    name_offsets,
)
from kcap_ray.text.kinds.templates import Template, load_templates
from kcap_ray.text.tokenizer.bpe import EOS
from kcap_ray.text.tokenizer.pieces import Fragment, Pieces, pieces_of_tokens, tokenize


class _ValuePart(NamedTuple):
    """A part of a value with a pool of its own, and the text that ties it to its neighbours."""

    column: str
    pool: tuple[str, ...]
    number_to_value: Sequence[int] | None = None
    """Value of each number of the column, where it is not the number itself."""
    left: str | None = None
    """Text in front; None where the template decides."""
    right: str | None = None


class _Draft(NamedTuple):
    """A sentence before anything is tokenized: numbers of its fragments."""

    templates: tuple[Template, ...]
    opening: int
    parts: tuple[_ValuePart, ...]
    first_fragment_by_part: list[NDArray[np.int64]]
    """For each part: fragment of value 0 in the context of each template."""
    rest: int

    def alike(self) -> list[tuple[PieceRange, ...]]:
        """Pieces of each part, those that stand behind the same text together."""
        groups = []
        for part, first_T in zip(self.parts, self.first_fragment_by_part, strict=True):
            by_left: dict[str, dict[int, None]] = {}
            for template, first in zip(self.templates, first_T.tolist(), strict=True):
                left = template.left if part.left is None else part.left
                by_left.setdefault(left, {})[first] = None
            groups += [tuple((f, len(part.pool)) for f in firsts) for firsts in by_left.values()]
        return groups


def bios_renderer(data: KnowledgeConfig) -> BioSRenderer:
    """The renderer of bioS in GPT-2's tokens, with the templates of a directory or in those of the
    package; UserError where a name of the pools does not fit the templates.
    """
    pools = _Pools(data.pools, data.max_names, data.max_values)
    of_templates = () if data.templates is None else text_files_state(data.templates)
    states = pools_state(data.pools), of_templates
    return _bios_renderer(pools, data.templates, data.sentences, states)


class _Pools(NamedTuple):
    """Pools, and how much is kept of each."""

    pools: str
    max_names: int | None
    max_values: int | None


@cache
def _bios_renderer(
    kept: _Pools,
    templates: str | None,
    kinds: tuple[str, ...],
    _states: tuple[FileState, FileState],
) -> BioSRenderer:
    pools = kept.pools
    names = load_name_pools(pools, kept.max_names)
    values = load_value_pools(pools, kept.max_values)
    fragments = name_fragments(names)
    drafts = [
        _draft(fragments, load_templates(sentence, templates), _value_parts(sentence, values))
        for sentence in kinds
    ]
    all_templates = [template for draft in drafts for template in draft.templates]
    check_last_names(pools, names, [t.opening or t.left for t in all_templates])
    pieces = tokenize(fragments).followed_by(pieces_of_tokens(np.array([[EOS]])))
    sentences, slot = [], N_NAME_SLOTS
    for draft in drafts:
        sentences.append(_sentence(draft, pieces, slot))
        slot = sentences[-1].rest_slot + 1
    offsets = name_offsets(names)
    return BioSRenderer(
        pieces=pieces,
        kinds=kinds,
        attributes=attributes_of(kinds),
        uncounted=("work_city",),
        name_offsets=offsets,
        eos_piece=len(fragments),
        sentences=tuple(sentences),
        slot_code_S=_slot_codes(kinds, sentences, n_slots=slot + 1),
        slot_is_first_chunk_S=np.zeros(slot + 1, np.bool_),  # only bioD has chunks
        slot_order_OS=_slot_orders(sentences, n_slots=slot + 1),
        alike=(last_names_alike(names), *(group for draft in drafts for group in draft.alike())),
        mean_tokens=_mean_tokens(pieces, names, offsets, sentences),
    )


def _value_parts(sentence: str, pools: ValuePools) -> tuple[_ValuePart, ...]:
    parts = {
        "birth_date": (
            _ValuePart("birth_month", pools.months, right=""),
            _ValuePart("birth_day", pools.days, left=" ", right=","),
            _ValuePart("birth_year", pools.years, left=" "),
        ),
        "birth_city": (_ValuePart("birth_city", pools.cities),),
        "university": (_ValuePart("university", pools.universities),),
        "major": (_ValuePart("major", pools.majors),),
        "employer": (_ValuePart("employer", pools.employers),),
        "work_city": (_ValuePart("employer", pools.work_cities, pools.city_of_employer),),
    }
    return parts[sentence]


def _draft(
    fragments: list[Fragment], templates: tuple[Template, ...], parts: tuple[_ValuePart, ...]
) -> _Draft:
    """Append the fragments of one kind of sentence to the list of all."""
    opening = len(fragments)
    for template in templates:
        fragments.append(Fragment(template.opening))
        fragments += [Fragment(f" {he}{template.opening}", 1, 1 + len(he)) for he in PRONOUNS]
    rest = len(fragments)
    fragments += [Fragment(template.rest) for template in templates]
    first_fragments = [_append_values(fragments, templates, part) for part in parts]
    return _Draft(templates, opening, parts, first_fragments, rest)


def _append_values(
    fragments: list[Fragment], templates: tuple[Template, ...], part: _ValuePart
) -> NDArray[np.int64]:
    """Append the values once for each context in which templates put them; value 0 by template."""
    first_fragment: dict[tuple[str, str], int] = {}
    first_fragment_T = []
    for template in templates:
        left = template.left if part.left is None else part.left
        right = template.right if part.right is None else part.right
        if (left, right) not in first_fragment:
            first_fragment[left, right] = len(fragments)
            fragments += [_value_fragment(left, value, right) for value in part.pool]
        first_fragment_T.append(first_fragment[left, right])
    return np.array(first_fragment_T)


def _value_fragment(left: str, value: str, right: str) -> Fragment:
    return Fragment(left + value + right, len(left), len(left) + len(value))


def _sentence(draft: _Draft, pieces: Pieces, first_slot: int) -> Sentence:
    """Slots of a sentence, from `first_slot` on: opening, values, rest."""
    values = []
    parts = zip(draft.parts, draft.first_fragment_by_part, strict=True)
    for slot, (part, first_piece_T) in enumerate(parts, start=first_slot + 1):
        numbers = range(len(part.pool)) if part.number_to_value is None else part.number_to_value
        value_of_number_V = np.array(numbers)
        values.append(
            ValueSlot(
                column=BIOS_COLUMNS.index(part.column),
                slot=slot,
                first_piece_T=first_piece_T,
                value_of_number_V=value_of_number_V,
                lengths_TV=pieces.lengths[first_piece_T[:, None] + value_of_number_V],
            )
        )
    n_templates = len(draft.templates)
    opening_lengths_T = pieces.lengths[draft.opening :][: n_templates * N_OPENINGS : N_OPENINGS]
    rest_lengths_T = pieces.lengths[draft.rest :][:n_templates]
    return Sentence(
        n_templates=n_templates,
        opening_slot=first_slot,
        opening_piece=draft.opening,
        values=tuple(values),
        rest_slot=first_slot + 1 + len(values),
        rest_piece=draft.rest,
        added_tokens_T=opening_lengths_T
        + rest_lengths_T
        + sum(value.added_tokens_T for value in values),
    )


def _slot_codes(
    kinds: tuple[str, ...], sentences: Sequence[Sentence], n_slots: int
) -> NDArray[np.int8]:
    labels = (*attributes_of(kinds), "work_city")
    code_S = np.zeros(n_slots, np.int8)
    code_S[:N_NAME_SLOTS] = NAME_CODE
    for label, sentence in zip(kinds, sentences, strict=True):
        if "pronoun" in labels:
            code_S[sentence.opening_slot] = FIRST_ATTRIBUTE_CODE + labels.index("pronoun")
        for value in sentence.values:
            code_S[value.slot] = FIRST_ATTRIBUTE_CODE + labels.index(label)
    return code_S


def _slot_orders(sentences: Sequence[Sentence], n_slots: int) -> NDArray[np.int64]:
    """Slots in reading order for each order of the sentences: name, sentences, end of text."""
    slots_A = [list(range(s.opening_slot, s.rest_slot + 1)) for s in sentences]
    name = list(range(N_NAME_SLOTS))
    return np.array(
        [
            [*name, *(slot for a in order for slot in slots_A[a]), n_slots - 1]
            for order in permutations(range(len(sentences)))
        ]
    )


def _mean_tokens(
    pieces: Pieces, names: NamePools, offsets: Sequence[int], sentences: Sequence[Sentence]
) -> float:
    name_tokens = [
        pieces.lengths[start : start + size].mean()
        for start, size in zip(offsets, names.sizes, strict=True)
    ]
    template_tokens = []
    for s in sentences:
        template_T = np.arange(s.n_templates)
        template_tokens.append(
            pieces.lengths[s.opening_piece + template_T * N_OPENINGS].mean()
            + pieces.lengths[s.rest_piece + template_T].mean()
        )
    value_tokens = [value.lengths_TV.mean() for s in sentences for value in s.values]
    # A pronoun in all sentences but one, and the end of text.
    return float(sum((*name_tokens, *template_tokens, *value_tokens))) + len(sentences)

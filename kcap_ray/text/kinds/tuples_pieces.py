"""Building the renderer of the user's own facts: tokenize names, templates and values.

Where a name or value begins with the tokens of another one ("Washington", "Washington, D.C."), the
loss on its own tokens would leave out the choice between the two. There the token behind it counts
too, so that what is counted of one never begins what is counted of another. This token must
tell nothing else, so all sentences that may follow have to go on alike.

Shape letters as in `text/kinds/tuples.py`; N texts of a list of names or values.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kcap_ray.config.data import KnowledgeConfig
from kcap_ray.config.errors import UserError
from kcap_ray.knowledge.tuples import FactTable, load_tuples
from kcap_ray.text.kinds.renderer import FIRST_ATTRIBUTE_CODE, NAME_CODE
from kcap_ray.text.kinds.tuples import EOS_PIECE, SENTENCE_SLOTS, TupleRenderer
from kcap_ray.text.kinds.tuples_templates import FactTemplate, fact_templates
from kcap_ray.text.tokenizer.bpe import EOS
from kcap_ray.text.tokenizer.pieces import (
    Fragment,
    Pieces,
    pieces_of_tokens,
    ragged_places,
    splits_between,
    tokenize,
)


class _Listing(NamedTuple):
    """Names, or values of an attribute, and the texts that may follow them in the same place."""

    what: str
    """For messages: `name`, or `value of employer`."""
    texts: tuple[str, ...]
    left: str
    """What touches them in front."""
    rights: tuple[str, ...]
    """What touches them behind, or is tokenized with them: different ones."""


@dataclass
class _Draft:
    """Fragments, each with a number from `pieces_before` on."""

    fragments: list[Fragment]
    checks: list[tuple[_Listing, int]]
    """Each list, and the piece of its first text with its first right."""

    def add(self, text: str) -> int:
        """Number of a new piece without a value."""
        self.fragments.append(Fragment(text))
        return EOS_PIECE + len(self.fragments)

    def add_all(self, listing: _Listing) -> dict[str, int]:
        """Number of the piece of the first text, for each right; the other texts follow it."""
        first = {}
        left, size = listing.left, len(listing.left)
        for right in listing.rights:
            first[right] = EOS_PIECE + 1 + len(self.fragments)
            self.fragments += [
                Fragment(left + text + right, size, size + len(text)) for text in listing.texts
            ]
        self.checks.append((listing, first[listing.rights[0]]))
        return first


def tuples_renderer(data: KnowledgeConfig) -> TupleRenderer:
    """The renderer of the facts of `data`, in GPT-2's tokens.

    Kept until one of the files changes. Raises `UserError` where a file is missing or wrong, and
    where the sentences do not go with the names and values.
    """
    table = load_tuples(data)
    return _renderer(table, fact_templates(data.templates, table))


@lru_cache(maxsize=2)
def _renderer(table: FactTable, templates: tuple[tuple[FactTemplate, ...], ...]) -> TupleRenderer:
    flat = [template for same in templates for template in same]
    draft = _Draft([], [])
    name_base_G, openings = _add_names(draft, table, flat)
    opening_piece_G = [draft.add(opening) for opening in openings]
    value_base_G: list[int] = []
    rest_piece_G: list[int] = []
    for attribute, values, same in zip(table.attributes, table.values, templates, strict=True):
        bases, rests = _add_values(draft, attribute, values, same)
        value_base_G += bases
        rest_piece_G += rests
    # NO_PIECE and EOS_PIECE come first.
    special = tokenize([Fragment("")]).followed_by(pieces_of_tokens(np.array([[EOS]])))
    pieces = special.followed_by(tokenize(draft.fragments))
    n_templates_A = np.array([len(same) for same in templates])
    n_slots = SENTENCE_SLOTS * len(templates) + 2
    renderer = TupleRenderer(
        pieces=_counted_to_the_end(pieces, draft.checks),
        attributes=table.attributes,
        slot_code_S=_slot_codes(len(templates)),
        slot_is_first_chunk_S=np.zeros(n_slots, np.bool_),  # only bioD has chunks
        n_templates_A=n_templates_A,
        first_template_A=np.cumsum(n_templates_A) - n_templates_A,
        name_base_G=np.array(name_base_G),
        opening_piece_G=np.array(opening_piece_G),
        value_base_G=np.array(value_base_G),
        rest_piece_G=np.array(rest_piece_G),
        mean_tokens=0.0,
    )
    return replace(renderer, mean_tokens=_mean_tokens(renderer, table))


def _add_names(
    draft: _Draft, table: FactTable, templates: Sequence[FactTemplate]
) -> tuple[list[int], list[str]]:
    """Piece of name 0 in each template, and the words between name and value that are left."""
    before_values = [t.middle[: t.middle.rfind(" ")] for t in templates]
    rights = _rights(table.names, before_values)
    listing = _Listing("name", table.names, " ", tuple(dict.fromkeys(rights)))
    first = draft.add_all(listing)
    openings = [text.removeprefix(right) for text, right in zip(before_values, rights, strict=True)]
    return [first[right] for right in rights], openings


def _add_values(
    draft: _Draft, attribute: str, values: tuple[str, ...], templates: Sequence[FactTemplate]
) -> tuple[list[int], list[int]]:
    """Piece before that of value 0 in each template, and piece of the words behind the value."""
    what = f"value of {attribute}"
    base_of: dict[tuple[str, str], int] = {}
    right_of: dict[FactTemplate, str] = {}
    for middle in dict.fromkeys(template.middle for template in templates):
        # Which of these templates it is shows only behind the value.
        alike = [template for template in templates if template.middle == middle]
        rights = _rights(values, [template.after for template in alike])
        right_of |= zip(alike, rights, strict=True)
        left = middle[middle.rfind(" ") :]
        first = draft.add_all(_Listing(what, values, left, tuple(dict.fromkeys(rights))))
        base_of |= {(middle, right): piece - 1 for right, piece in first.items()}
    bases = [base_of[template.middle, right_of[template]] for template in templates]
    rests = [draft.add(template.after.removeprefix(right_of[template])) for template in templates]
    return bases, rests


def _rights(texts: Sequence[str], followers: Sequence[str]) -> list[str]:
    """The part of each follower that is tokenized together with the texts: what touches them.

    Where one text begins another one and all followers have the same first word, it is that word,
    which then can be counted.
    """
    touching = [follower.partition(" ")[0] for follower in followers]
    words = [
        right or " " + f[1:].partition(" ")[0] for right, f in zip(touching, followers, strict=True)
    ]
    in_order = sorted(texts)
    is_begun = any(longer.startswith(shorter) for shorter, longer in pairwise(in_order))
    if is_begun and len(set(words)) == 1 and words[0] != " ":
        return words
    return touching


def _counted_to_the_end(pieces: Pieces, checks: Sequence[tuple[_Listing, int]]) -> Pieces:
    """The pieces with the tokens counted that end a text, where another text goes on there.

    Raises `UserError` where sentences do not go with the texts.
    """
    is_value = pieces.is_value.copy()
    for listing, first in checks:
        _check_touching(listing)
        is_value[_ends_to_count(listing, pieces, first)] = True
    return replace(pieces, is_value=is_value)


def _check_touching(listing: _Listing) -> None:
    """UserError if the tokens of a text depend on which of several texts touches it."""
    left = listing.left.strip()
    rights = listing.rights if len(listing.rights) > 1 else ()
    starts, ends = ({text[i] for text in listing.texts} for i in (0, -1))
    if all(splits_between(left, start) for start in starts) and all(
        splits_between(end, right) for end in ends for right in rights
    ):
        return
    for text in listing.texts:
        near = [left] * (not splits_between(left, text))
        near += [right for right in rights if not splits_between(text, right)]
        if near:
            raise UserError(
                f"data.templates: the {listing.what} {text!r} runs into {near[0]!r}, which touches "
                "it in some sentences; write a space between the two"
            )


def _ends_to_count(listing: _Listing, pieces: Pieces, first: int) -> NDArray[np.int64]:
    """Places of the tokens behind texts that have to be counted for no text to begin another one.

    They are behind few texts, and hardly ever more than one each.
    """
    listed = slice(first, first + len(listing.texts))
    offset = int(pieces.starts[first])
    starts_N = pieces.starts[listed] - offset
    ends_N = starts_N + pieces.lengths[listed]
    span = slice(offset, offset + int(ends_N[-1]))
    places = np.arange(span.stop - span.start)
    own_N = 1 + np.maximum.reduceat(np.where(pieces.is_value[span], places, -1), starts_N)
    stops_N = own_N.copy()
    data = pieces.tokens[span].astype(">u2").tobytes()  # bytes in this order sort as tokens do
    counted = [data[2 * start : 2 * stop] for start, stop in zip(starts_N, stops_N, strict=True)]
    can_count = len(listing.rights) == 1
    while True:
        order = sorted(range(len(counted)), key=counted.__getitem__)
        begun = [(i, j) for i, j in pairwise(order) if counted[j].startswith(counted[i])]
        if not begun:
            return offset + ragged_places(own_N, stops_N - own_N)
        for i, j in begun:
            if not can_count or stops_N[i] == ends_N[i]:
                raise UserError(_not_told_apart(listing, i, j))
            stops_N[i] += 1
            counted[i] = data[2 * starts_N[i] : 2 * stops_N[i]]


def _not_told_apart(listing: _Listing, shorter: int, longer: int) -> str:
    place = "{name}" if listing.what == "name" else "{value}"
    return (
        f"data.templates: the {listing.what} {listing.texts[shorter]!r} begins "
        f"{listing.texts[longer]!r}, and the sentences do not tell where it ends; write them so "
        f"that all that begin alike go on behind {place} with a space and the same word"
    )


def _slot_codes(n_attributes: int) -> NDArray[np.int8]:
    code_A4 = np.zeros((n_attributes, SENTENCE_SLOTS), np.int8)
    code_A4[:, 2] = FIRST_ATTRIBUTE_CODE + np.arange(n_attributes)
    return np.concatenate((code_A4.ravel(), np.array([0, NAME_CODE], np.int8)))


def _mean_tokens(renderer: TupleRenderer, table: FactTable) -> float:
    templates = zip(renderer.first_template_A, renderer.n_templates_A, strict=True)
    means = [
        renderer.sentence_tokens(table.values_PC, a, template).mean() / n
        for a, (first, n) in enumerate(templates)
        for template in range(first, first + n)
    ]
    return float(sum(means)) + 1  # the end of text

"""What every kind of data has in common: how a biography is chosen from pieces.

A biography is a row of slots (first name, opening words of a sentence, its value, ...), and each
slot is filled with one piece. Shape letters: P people, C columns of the table of people, S slots.
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from kcap_ray.knowledge.pools import NamePools
from kcap_ray.text.pieces import Fragment, Pieces, splits_between
from kcap_ray.text.vocabulary import CompactVocabulary
from kcap_ray.user_error import UserError

N_NAME_SLOTS = 3
NAME_CODE = 1
"""Code of the slots that hold the name; 0 is for slots that hold no knowledge."""
FIRST_ATTRIBUTE_CODE = 2
"""Code of attribute 0; attribute i has FIRST_ATTRIBUTE_CODE + i."""


class Chosen(NamedTuple):
    """Biographies as rows of pieces; the last piece of each is the end of text."""

    piece_PS: NDArray[np.integer]
    """Piece in each place, in reading order."""
    slot_PS: NDArray[np.integer]
    """Slot that each place belongs to."""


class Wording(Protocol):
    """How the people of one data set are put into words."""

    @property
    def attributes(self) -> tuple[str, ...]:
        """Counted attributes, in the order of their codes."""
        ...

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Attributes that follow from others; their codes come after the counted ones."""
        ...

    @property
    def pieces(self) -> Pieces:
        """All pieces, in the tokens of `vocab`."""
        ...

    @property
    def vocab(self) -> CompactVocabulary:
        """Vocabulary of everything that the data set can say."""
        ...

    @property
    def mean_tokens(self) -> float:
        """Expected tokens of a biography over pools and templates, with the end of text."""
        ...

    @property
    def slot_code_S(self) -> NDArray[np.int8]:
        """What each slot holds: nothing, the name, or an attribute."""
        ...

    @property
    def slot_is_first_chunk_S(self) -> NDArray[np.bool_]:
        """Whether the slot holds the first chunk of a value of bioD."""
        ...

    def choose(
        self,
        values_PC: NDArray[np.unsignedinteger],
        people_P: NDArray[np.integer],
        key: int,
        *,
        employer_first: bool = False,
    ) -> Chosen:
        """Biographies of people with these values; random choices are a function of (key, person).

        With `employer_first` the sentence on the work city never comes before the one on the
        employer.
        """
        ...

    def fixed_tokens(self, values_PC: NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
        """The part of the length of each biography, in tokens, that no random choice changes."""
        ...

    def chosen_tokens(
        self, table_PC: NDArray[np.unsignedinteger], people_P: NDArray[np.integer], key: int
    ) -> NDArray[np.int64] | int:
        """The rest of the lengths; `table_PC` is the table of all people."""
        ...


def name_fragments(names: NamePools) -> list[Fragment]:
    """First, middle and last names, each with a space in front, in this order."""
    parts = (*names.first, *names.middle, *names.last)
    return [Fragment(f" {name}", 1, 1 + len(name)) for name in parts]


def check_last_names(pools: str, names: NamePools, followers: Iterable[str]) -> None:
    """UserError if a last name would merge with one of the texts that may follow it."""
    starts = {text[0] for text in followers}
    for name in names.last:
        for start in starts:
            if not splits_between(name, start):
                raise UserError(
                    f"data.pools: {pools}: last name {name!r} runs into {start!r}, which follows; "
                    "write last names that end in a letter"
                )


def name_offsets(names: NamePools) -> tuple[int, int, int]:
    """Piece of the first first, middle and last name, in the list of `name_fragments`."""
    return 0, len(names.first), len(names.first) + len(names.middle)

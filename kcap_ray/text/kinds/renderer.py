"""What every kind of knowledge has in common: people of a table become biographies in tokens.

Shape letters: P people, C columns of the table of people, L tokens of all biographies together.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from kcap_ray.config.errors import UserError
from kcap_ray.knowledge.pools import NamePools
from kcap_ray.text.tokenizer.pieces import Fragment, splits_between
from kcap_ray.text.tokenizer.vocabulary import CompactVocabulary

N_NAME_SLOTS = 3
NAME_CODE = 1
"""Code of the slots that hold the name; 0 is for slots that hold no knowledge."""
FIRST_ATTRIBUTE_CODE = 2
"""Code of attribute 0; attribute i has FIRST_ATTRIBUTE_CODE + i."""


class Samples(NamedTuple):
    """Which biographies to render: of whom, and which random choices."""

    people_P: NDArray[np.int64]
    """Numbers of the people in their table."""
    values_PC: NDArray[np.unsignedinteger]
    """Value numbers of these people; see `knowledge/people.py`."""
    draw_P: NDArray[np.int64]
    """Position of each one's random choices in the stream of random numbers of `key`."""
    time_P: NDArray[np.int64]
    """How many samples of each person came before; unused in an evaluation."""
    key: int
    """Key of the random choices."""
    is_evaluation: bool = False
    """Whether knowledge is measured on them."""

    def part(self, start: int, stop: int) -> "Samples":
        """The samples start..stop-1."""
        part = slice(start, stop)
        return self._replace(
            people_P=self.people_P[part],
            values_PC=self.values_PC[part],
            draw_P=self.draw_P[part],
            time_P=self.time_P[part],
        )


class Rendered(NamedTuple):
    """Biographies one after another, each with the end of text behind it; L tokens in all."""

    length_P: NDArray[np.int64]
    """Tokens of each biography, with the end of text."""
    tokens_L: NDArray[np.integer]
    code_L: NDArray[np.int8]
    """What each token holds: 0 nothing, NAME_CODE, FIRST_ATTRIBUTE_CODE + i for attribute i; the
    uncounted attributes come after the counted ones.
    """
    first_chunk_L: NDArray[np.bool_]
    """Whether the token belongs to the first chunk of a value of bioD."""
    end_L: NDArray[np.int16] | None = None
    """1 + a number in `continuations` at a token behind a name or value that begins a longer one:
    what counts there is that none of these tokens comes; 0 elsewhere. None: 0 everywhere.
    """
    continuations: tuple[NDArray[np.integer], ...] = ()
    """Tokens that go on with a longer name or value."""


class Span(NamedTuple):
    """Where a text holds a name or value; end is the character after it."""

    attribute: str
    start: int
    end: int


class BiographyText(NamedTuple):
    """A biography as text."""

    text: str
    gpt2_ids: list[int]
    """Without the end of text."""
    spans: list[Span]


class Renderer(Protocol):
    """Renders the people of one table as text and tokens."""

    @property
    def attributes(self) -> tuple[str, ...]:
        """Counted attributes, in the order of their codes."""
        ...

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Attributes that follow from others; their codes come after the counted ones."""
        ...

    @property
    def used_ids(self) -> NDArray[np.integer]:
        """GPT-2 ids that a biography may hold, each once or more often."""
        ...

    @property
    def mean_tokens(self) -> float:
        """Expected tokens of a biography, with the end of text."""
        ...

    def in_vocabulary(self, vocab: CompactVocabulary) -> "Renderer":
        """The same renderer for the tokens of `vocab`; as it is made, it is in GPT-2's."""
        ...

    def fixed_tokens(self, values_PC: NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
        """The part of the length of each biography, in tokens, that no choice changes."""
        ...

    def chosen_tokens(self, samples: Samples) -> NDArray[np.int64] | int:
        """The rest of the lengths."""
        ...

    def tokens(self, samples: Samples) -> NDArray[np.uint16]:
        """The biographies one after another, each with the end of text behind it [L]."""
        ...

    def rendered(self, samples: Samples) -> Rendered:
        """The same with what each token holds."""
        ...

    def as_text(self, samples: Samples) -> Iterator[BiographyText]:
        """The same as text, one by one."""
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


def last_names_alike(names: NamePools) -> tuple[tuple[int, int], ...]:
    """Pieces of the last names: of these one may begin another, and nothing counted comes behind.
    Where a first or middle name ends, the next part of the name counts.
    """
    return ((name_offsets(names)[2], len(names.last)),)

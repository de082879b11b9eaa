"""One source of biographies: a table of people, the schedule of their samples, and a renderer.

Shape letters: P people or samples, C columns of the table of people, L tokens.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kcap_ray.config.data import KnowledgeConfig
from kcap_ray.knowledge.entropy import Entropy
from kcap_ray.knowledge.people import people_rows
from kcap_ray.knowledge.randomness import Purpose, stream_key
from kcap_ray.text.kinds.renderer import BiographyText, Rendered, Renderer, Samples
from kcap_ray.text.stream.schedule import Everybody, Occurrences, Schedule, bands_of

_BLOCK = 1 << 18  # people whose lengths are added up at a time


class Materialized(NamedTuple):
    """What is stored of every person of a materialized table."""

    values_PC: NDArray[np.unsignedinteger]
    """Value numbers; see `knowledge/people.py`."""
    fixed_tokens_P: NDArray[np.int32]
    """Length of each biography as far as no choice changes it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A table of people and how it becomes training text."""

    knowledge: KnowledgeConfig
    renderer: Renderer
    schedule: Schedule
    weight: float
    """Tokens of this source for each token of the main one."""
    entropy: Entropy | None = None
    """Entropy of the data, for the demand; None for junk, which is not measured."""
    materialized: Materialized | None = None
    """None where the people are too many: rows are made as they are needed."""
    frequency_P: NDArray[np.float64] | None = None
    """Samples per exposure of each person; None: one each."""
    value_bits_P: NDArray[np.float64] | None = None
    """Entropy of each person's values in bits, where people differ in it."""
    marker: int | None = None
    """Token in front of every biography; None for none."""
    behind: "Source | None" = None
    """Whose biographies stand in front of these when knowledge is measured; None: its own."""

    @property
    def n_people(self) -> int:
        """People of the table."""
        return self.knowledge.n_people

    @property
    def label(self) -> str:
        """Name of the table, without its number of people."""
        return self.knowledge.table_label

    @property
    def attributes(self) -> tuple[str, ...]:
        """Counted attributes, in the order of their codes."""
        return self.renderer.attributes

    @cached_property
    def bands_P(self) -> NDArray[np.int64]:
        """Frequency band of each person, 0 for the least frequent; all 0 where all are alike."""
        if self.frequency_P is None or self.knowledge.frequency is None:
            return np.zeros(self.n_people, np.int64)
        return bands_of(self.frequency_P, self.knowledge.frequency.bands)

    @property
    def mean_tokens(self) -> float:
        """Expected tokens of a biography, with marker and end of text."""
        return self.renderer.mean_tokens + (self.marker is not None)

    def training(self, exposure: int, sample_P: NDArray[np.int64], *, seed: int) -> Samples:
        """Samples of an exposure, by their numbers."""
        return self._samples_of(self.schedule.occurrences(exposure, sample_P), exposure, seed)

    def _samples_of(self, occurrences: Occurrences, exposure: int, seed: int) -> Samples:
        key, draw_P = stream_key(seed, Purpose.TEMPLATES, exposure), occurrences.draw_P
        if self.knowledge.kind == "bioS_simple":
            key, draw_P = self._fixed_templates_key(), occurrences.people_P
        return Samples(
            occurrences.people_P,
            self._values(occurrences.people_P),
            draw_P,
            occurrences.time_P,
            key,
        )

    def once_each(self, people_P: NDArray[np.int64], exposure: int, *, seed: int) -> Samples:
        """The biographies of these people, one sample each, in this exposure."""
        return self._samples_of(
            Everybody(self.n_people).occurrences(exposure, people_P), exposure, seed
        )

    def evaluation(self, people_P: NDArray[np.int64], *, seed: int) -> Samples:
        """Biographies of people for measurement, rendered as in no exposure of training.

        bioS_simple has one biography per person, which belongs to the data as its facts do: it is
        the same, word by word, in training and in measurement.
        """
        is_fixed = self.knowledge.kind == "bioS_simple"
        key = self._fixed_templates_key() if is_fixed else stream_key(seed, Purpose.EVALUATION)
        times_P = np.zeros_like(people_P)
        return Samples(people_P, self._values(people_P), people_P, times_P, key, not is_fixed)

    def _fixed_templates_key(self) -> int:
        return stream_key(self.knowledge.seed, Purpose.TEMPLATES, 0)

    def _values(self, people_P: NDArray[np.int64]) -> NDArray[np.unsignedinteger]:
        if self.materialized is None:
            return people_rows(self.knowledge, people_P)
        return self.materialized.values_PC[people_P]

    def lengths(self, samples: Samples) -> NDArray[np.int64]:
        """Tokens of biographies, with the end of text, without rendering them [P]."""
        if self.materialized is None:
            fixed_P = self.renderer.fixed_tokens(samples.values_PC)
        else:
            fixed_P = self.materialized.fixed_tokens_P[samples.people_P].astype(np.int64)
        return fixed_P + self.renderer.chosen_tokens(samples) + (self.marker is not None)

    def tokens(self, samples: Samples) -> NDArray[np.uint16]:
        """Biographies one after another, each with the end of text behind it [L]."""
        tokens_L = self.renderer.tokens(samples)
        if self.marker is None:
            return tokens_L
        return np.insert(tokens_L, self._starts(samples), self.marker)

    def rendered(self, samples: Samples) -> Rendered:
        """The same with what each token holds; the marker holds nothing."""
        rendered = self.renderer.rendered(samples)
        if self.marker is None:
            return rendered
        starts_P = np.cumsum(rendered.length_P) - rendered.length_P
        return Rendered(
            length_P=rendered.length_P + 1,
            tokens_L=np.insert(rendered.tokens_L, starts_P, self.marker),
            code_L=np.insert(rendered.code_L, starts_P, 0),
            first_chunk_L=np.insert(rendered.first_chunk_L, starts_P, False),
            end_L=None if rendered.end_L is None else np.insert(rendered.end_L, starts_P, 0),
            continuations=rendered.continuations,
        )

    def as_text(self, samples: Samples) -> list[BiographyText]:
        """The same as text, without the marker, which has none."""
        return list(self.renderer.as_text(samples))

    def _starts(self, samples: Samples) -> NDArray[np.int64]:
        """Where the biographies begin in the renderer's tokens."""
        lengths_P = self.lengths(samples) - 1
        return np.cumsum(lengths_P) - lengths_P


def materialize(renderer: Renderer, values_PC: NDArray[np.unsignedinteger]) -> Materialized:
    """The materialized people of a table, with the lengths of their biographies."""
    blocks = [values_PC[start : start + _BLOCK] for start in range(0, len(values_PC), _BLOCK)]
    fixed_tokens = [renderer.fixed_tokens(block).astype(np.int32) for block in blocks]
    return Materialized(values_PC, np.concatenate(fixed_tokens))

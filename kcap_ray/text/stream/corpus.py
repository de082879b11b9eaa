"""A data set ready to be rendered: its tables of people, one vocabulary, and junk around them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kcap_ray.config.contents import check_unchanged
from kcap_ray.config.data import DataConfig, KnowledgeConfig, Vocab
from kcap_ray.knowledge.entropy import entropy_of
from kcap_ray.knowledge.people import check_name_space, column_sizes, draw_people
from kcap_ray.knowledge.tuples import fact_bits, load_tuples
from kcap_ray.text.kinds.biod import biod_renderer
from kcap_ray.text.kinds.bios_pieces import bios_renderer
from kcap_ray.text.kinds.renderer import Renderer
from kcap_ray.text.kinds.rewritten import rewritten_renderer
from kcap_ray.text.kinds.strings import strings_renderer
from kcap_ray.text.kinds.tuples_pieces import tuples_renderer
from kcap_ray.text.stream.schedule import AtRandom, ByFrequency, Everybody, Schedule, zipf_frequency
from kcap_ray.text.stream.source import Source, materialize
from kcap_ray.text.tokenizer.vocabulary import CompactVocabulary, vocabulary_of

JUNK_SAMPLES = 1 << 16
"""Junk biographies that are put in order together."""


@dataclass(frozen=True, kw_only=True)
class CorpusFacts:
    """Numbers of a data set that do not depend on which people are drawn."""

    vocab_size: int
    """Tokens of the vocabulary."""
    tokens_per_biography: float
    """Expected tokens of a biography of the main table with its end of text; all choices are
    random.
    """
    longest_biography: int
    """Tokens that some biography surely has, with its end of text, of the table where they are
    longest: of own facts the longest in the first templates, otherwise the mean.
    """
    stream_ratio: float
    """Tokens of all tables and of junk, for each token of the main table."""
    demand_bits: float
    """Demand of all tables, in bits."""
    demand_is_estimate: bool
    """Whether sizes of pools were estimated from the values found in a file."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Corpus:
    """Everything that the texts of a data set are made of; pickles as its `data` alone."""

    data: DataConfig
    vocab: CompactVocabulary
    """Vocabulary of every text of the data set."""
    sources: tuple[Source, ...]
    """The tables that are measured: that of `data`, then those of its parts."""
    junk: Source | None

    @property
    def main(self) -> Source:
        """The table of `data`, whose exposures are counted."""
        return self.sources[0]

    @property
    def all_sources(self) -> tuple[Source, ...]:
        """Everything that is trained on."""
        return self.sources if self.junk is None else (*self.sources, self.junk)

    @property
    def demand_bits(self) -> float:
        """Demand of all tables, in bits."""
        return _demand_bits(self.data)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return build_corpus, (self.data,)


@lru_cache(maxsize=2)
def build_corpus(data: DataConfig) -> Corpus:
    """The data set, with its people; UserError where pools or files are missing or too small, or
    are not what they were when the sweep was read.

    The last two data sets are kept in memory.
    """
    _check_junk_names(data)
    tables = _tables(data)
    renderers = [_renderer(table) for table in tables]
    vocab = _vocabulary(data, renderers)
    weights = (1.0, *(part.weight for part in data.parts))
    sources = [
        _source(table, renderer.in_vocabulary(vocab), weight, data.vocab)
        for table, renderer, weight in zip(tables, renderers, weights, strict=True)
    ]
    sources[0] = replace(sources[0], marker=vocab.marker)
    junk = None if data.junk is None else _junk(data, sources[0].renderer)
    if data.junk is not None and data.junk.behind == "junk":
        sources[0] = replace(sources[0], behind=junk)
    check_unchanged(data)  # now that all is read
    return Corpus(data=data, vocab=vocab, sources=tuple(sources), junk=junk)


def _source(table: KnowledgeConfig, renderer: Renderer, weight: float, vocab: Vocab) -> Source:
    frequency_P = frequency_of(table)
    schedule: Schedule = Everybody(table.n_people)
    if frequency_P is not None:
        schedule = ByFrequency(frequency_P, table.seed)
    return Source(
        knowledge=table,
        renderer=renderer,
        schedule=schedule,
        weight=weight,
        entropy=entropy_of(table, vocab),
        materialized=materialize(renderer, draw_people(table)),
        frequency_P=frequency_P,
        value_bits_P=fact_bits(table).bits_P if table.kind == "tuples" else None,
    )


def _junk(data: DataConfig, renderer: Renderer) -> Source:
    """People of the same table beyond its last one: so no name is useful and junk."""
    assert data.junk is not None
    schedule = AtRandom(
        first_person=data.n_people,
        n_people=data.junk.n_people,
        samples_per_exposure=JUNK_SAMPLES,
        seed=data.seed,
    )
    return Source(
        knowledge=data, renderer=renderer, schedule=schedule, weight=data.junk.ratio, entropy=None
    )


def frequency_of(table: KnowledgeConfig) -> NDArray[np.float64] | None:
    """Samples per exposure of each person, mean 1; None where all are alike."""
    if table.frequency is None:
        return None
    if table.frequency.zipf is None:
        frequency_P = load_tuples(table).frequency_P
        assert frequency_P is not None, "KnowledgeConfig checks that the file is one of tuples"
        return frequency_P / frequency_P.mean()
    return zipf_frequency(table.n_people, table.frequency.zipf, table.seed)


@cache
def facts_of(data: DataConfig) -> CorpusFacts:
    """Vocabulary, lengths and entropy, without drawing people; UserError as `build_corpus`."""
    _check_junk_names(data)
    vocab_size, tokens_per_biography, longest = _sizes(_without_people(data))
    check_unchanged(data)
    junk_ratio = 0.0 if data.junk is None else data.junk.ratio
    return CorpusFacts(
        vocab_size=vocab_size,
        tokens_per_biography=tokens_per_biography,
        longest_biography=longest,
        stream_ratio=1.0 + sum(part.weight for part in data.parts) + junk_ratio,
        demand_bits=_demand_bits(data),
        demand_is_estimate=any(
            entropy_of(table, data.vocab).is_estimate for table in _tables(data)
        ),
    )


def _demand_bits(data: DataConfig) -> float:
    return sum(entropy_of(table, data.vocab).demand_bits for table in _tables(data))


def _tables(data: DataConfig) -> Sequence[KnowledgeConfig]:
    return (data, *data.parts)


def _check_junk_names(data: DataConfig) -> None:
    """UserError if there are not names enough for useful and junk people, who share none."""
    if data.junk is not None and data.kind != "random":
        first, middle, last = column_sizes(data)[:3]
        check_name_space(data.n_people + data.junk.n_people, first * middle * last)


def _renderer(table: KnowledgeConfig) -> Renderer:
    if table.kind == "tuples":
        return tuples_renderer(table)
    if table.kind == "random":
        return strings_renderer(table)
    if table.kind == "bioR":
        return rewritten_renderer(table)
    table = _without_people(table)
    if table.kind == "bioD":
        return biod_renderer(table)
    return bios_renderer(table)


def _without_people(table: Any) -> Any:
    """The same for one person, where the number does not matter: so that it is looked up once."""
    return replace(table, n_people=1) if table.file is None else table


def _vocabulary(data: DataConfig, renderers: Sequence[Renderer]) -> CompactVocabulary:
    is_marked = data.junk is not None and data.junk.token
    used = [renderer.used_ids for renderer in renderers]
    return vocabulary_of(used, data.vocab, with_marker=is_marked)


@cache
def _sizes(data: DataConfig) -> tuple[int, float, int]:
    """Of the vocabulary; of a biography on average; and of one that is surely as long as that."""
    tables = _tables(data)
    renderers = [_renderer(table) for table in tables]
    vocab = _vocabulary(data, renderers)
    n_marks = int(vocab.marker is not None)
    longest = max(map(_surely_as_long, tables, renderers))
    return vocab.size, renderers[0].mean_tokens + n_marks, longest + n_marks


def _surely_as_long(table: KnowledgeConfig, renderer: Renderer) -> int:
    if table.kind == "tuples":
        return int(renderer.fixed_tokens(load_tuples(table).values_PC).max())
    return math.ceil(renderer.mean_tokens)

"""A data set ready to be said: who knows what, and how it is put into words."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kcap_ray.data_config import DataConfig
from kcap_ray.knowledge.entropy import Entropy, entropy_of
from kcap_ray.knowledge.people import draw_people
from kcap_ray.knowledge.randomness import Purpose, stream_key
from kcap_ray.text.biod import biod_wording
from kcap_ray.text.bios_pieces import bios_wording
from kcap_ray.text.vocabulary import CompactVocabulary
from kcap_ray.text.wording import Wording

_BLOCK = 1 << 18  # people whose lengths are added up at a time


@dataclass(frozen=True, kw_only=True)
class CorpusFacts:
    """What can be said of a data set without drawing its people."""

    vocab_size: int
    """Tokens of the vocabulary."""
    tokens_per_biography: float
    """Expected tokens of a biography with its end of text; all choices are random."""
    entropy: Entropy


@dataclass(frozen=True, kw_only=True, eq=False)
class Corpus:
    """The people of a data set and how they are put into words; pickles as its `data` alone."""

    data: DataConfig
    entropy: Entropy
    wording: Wording
    table_PC: NDArray[np.unsignedinteger]
    """Value numbers of people P in columns C; see `knowledge/people.py`."""
    fixed_tokens_P: NDArray[np.int32]
    """Length of each biography as far as no random choice changes it."""

    @property
    def vocab(self) -> CompactVocabulary:
        """Vocabulary of everything that the data set can say."""
        return self.wording.vocab

    @property
    def n_people(self) -> int:
        """People in the table."""
        return len(self.table_PC)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Counted attributes, in counting order."""
        return self.wording.attributes

    def wording_key(self, seed: int, exposure: int | None) -> int:
        """Key of the random choices of an exposure; None stands for the evaluation.

        bioS_simple has one biography per person, which belongs to the data as its facts do. It is
        the same in all exposures and in the evaluation.
        """
        if self.data.kind == "bioS_simple":
            return stream_key(self.data.seed, Purpose.WORDING, 0)
        if exposure is None:
            return stream_key(seed, Purpose.EVALUATION)
        return stream_key(seed, Purpose.WORDING, exposure)

    def biography_tokens(self, people_P: NDArray[np.integer], key: int) -> NDArray[np.int64]:
        """Length of the biographies of people, with the end of text, without rendering them."""
        fixed_P = self.fixed_tokens_P[people_P].astype(np.int64)
        return fixed_P + self.wording.chosen_tokens(self.table_PC, people_P, key)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return build_corpus, (self.data,)


@lru_cache(maxsize=2)
def build_corpus(data: DataConfig) -> Corpus:
    """The data set, with its people; UserError where pools are missing or too small.

    The last two data sets are kept in memory.
    """
    entropy = entropy_of(data)
    wording = _wording(replace(data, n_people=1))
    table_PC = draw_people(data)
    blocks = [table_PC[start : start + _BLOCK] for start in range(0, len(table_PC), _BLOCK)]
    fixed_tokens = [wording.fixed_tokens(block).astype(np.int32) for block in blocks]
    return Corpus(
        data=data,
        entropy=entropy,
        wording=wording,
        table_PC=table_PC,
        fixed_tokens_P=np.concatenate(fixed_tokens),
    )


def facts_of(data: DataConfig) -> CorpusFacts:
    """Vocabulary, mean length and entropy, without drawing people; UserError as `build_corpus`."""
    vocab_size, tokens_per_biography = _size_and_length(replace(data, n_people=1))
    return CorpusFacts(
        vocab_size=vocab_size,
        tokens_per_biography=tokens_per_biography,
        entropy=entropy_of(data),
    )


def _wording(data: DataConfig) -> Wording:
    return biod_wording(data) if data.kind == "bioD" else bios_wording(data.pools, data.vocab)


@cache
def _size_and_length(data: DataConfig) -> tuple[int, float]:
    wording = _wording(data)
    return wording.vocab.size, wording.mean_tokens

"""bioR: biographies that a language model has written, several for each person (arXiv 2404.05405,
section 2.2).

Shape letters: P people or samples, R biographies of the file, A names and values, L tokens.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kcap_ray.config.contents import FileState
from kcap_ray.config.data import KnowledgeConfig
from kcap_ray.config.errors import UserError
from kcap_ray.knowledge.people import people_rows
from kcap_ray.knowledge.person import Person, person_of
from kcap_ray.knowledge.pools import load_name_pools, load_value_pools, pools_state
from kcap_ray.knowledge.randomness import Purpose, hash64, shuffled, stream_key
from kcap_ray.text.kinds.bios import ATTRIBUTES
from kcap_ray.text.kinds.renderer import NAME_CODE, BiographyText, Rendered, Samples, Span
from kcap_ray.text.kinds.rewritten_ends import PoolEnds, ends_in_texts, pool_ends
from kcap_ray.text.kinds.rewritten_file import HOW_TO_ANNOTATE, SPAN_ATTRIBUTES
from kcap_ray.text.kinds.token_cache import TokenCache, open_token_cache
from kcap_ray.text.tokenizer import bpe
from kcap_ray.text.tokenizer.pieces import ragged_places
from kcap_ray.text.tokenizer.vocabulary import CompactVocabulary

_BLOCK = 1 << 11  # biographies put together at a time: about as many tokens as a cache holds
_N_PROBED = 64  # people whose names are compared with the table's


@dataclass(frozen=True, kw_only=True, eq=False)
class RewrittenRenderer:
    """A `Renderer` that reads its biographies from a file.

    In training, the samples of a person go through all variants before any comes again: pass t //
    V is a random order of the V variants, so 1000 exposures of 40 are 25 passes. Knowledge is
    measured on the texts that are kept for it, or else on the first one for training that will do.
    """

    cache: TokenCache
    seed: int
    """Seed of the orders of the variants."""
    pools: str
    """Pools that the values are from."""
    vocab: CompactVocabulary | None = None
    """Vocabulary that the tokens are of; None: GPT-2's own."""
    attributes: tuple[str, ...] = ATTRIBUTES
    uncounted: tuple[str, ...] = ("work_city",)

    @property
    def used_ids(self) -> NDArray[np.integer]:
        """All tokens of the file, those of people beyond the last of the table too, and those of
        the pools: of few people the texts hold a part of these, while the demand counts all.
        """
        return np.union1d(self.cache.used_ids, _pool_ids(self.pools, pools_state(self.pools)))

    @property
    def mean_tokens(self) -> float:
        """Mean over the people and variants of the file, with the end of text."""
        return self.cache.mean_tokens

    @cached_property
    def _token_of_gpt2_id(self) -> NDArray[np.uint16]:
        if self.vocab is None:
            return np.arange(bpe.VOCAB_SIZE, dtype=np.uint16)
        return self.vocab.token_of_gpt2_id

    def in_vocabulary(self, vocab: CompactVocabulary) -> "RewrittenRenderer":
        """The same renderer for the tokens of `vocab`, renumbered as they are read."""
        assert self.vocab is None, "a renderer is renumbered once"
        return replace(self, vocab=vocab)

    def fixed_tokens(self, values_PC: NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
        """None: the text that is chosen decides the whole length."""
        return np.zeros(len(values_PC), np.int64)

    def chosen_tokens(self, samples: Samples) -> NDArray[np.int64]:
        """Lengths of the chosen texts."""
        return self.cache.length_R[self.rows(samples)].astype(np.int64)

    def rows(self, samples: Samples) -> NDArray[np.int64]:
        """Which biography of the file each sample is [P]."""
        people_P = samples.people_P
        first_P = self.cache.first_train_P[people_P]
        n_P = self.cache.first_train_P[people_P + 1] - first_P
        if not samples.is_evaluation:
            pass_P, place_P = np.divmod(samples.time_P, n_P)
            person_key_P = hash64(stream_key(self.seed, Purpose.VARIANTS), people_P)
            key_P = hash64(person_key_P, pass_P)
            return first_P + shuffled(key_P, place_P, n_P)
        first_eval_P = self.cache.first_eval_P[people_P]
        n_eval_P = self.cache.first_eval_P[people_P + 1] - first_eval_P
        draws_P = hash64(samples.key, samples.draw_P) >> np.uint64(32)
        chosen_P = first_eval_P + (draws_P % np.maximum(n_eval_P, 1).astype(np.uint64)).astype(int)
        return np.where(n_eval_P > 0, chosen_P, self._first_measurable_P[people_P])

    @cached_property
    def _first_measurable_P(self) -> NDArray[np.int64]:
        """Of each person of the file the first text for training that knowledge can be measured on;
        the first of all where none will do.
        """
        first_P = self.cache.first_train_P[:-1]
        n_train = int(self.cache.first_train_P[-1])
        places = np.flatnonzero(self.cache.can_measure_R[:n_train])
        found_P = np.append(places, n_train)[np.searchsorted(places, first_P)]
        return np.where(found_P < self.cache.first_train_P[1:], found_P, first_P)

    def tokens(self, samples: Samples) -> NDArray[np.uint16]:
        """The biographies one after another, each with the end of text behind it [L]."""
        rows_P = self.rows(samples)
        blocks = [
            self._token_of_gpt2_id[self._gpt2_ids(rows_P[start : start + _BLOCK])]
            for start in range(0, len(rows_P), _BLOCK)
        ]
        return np.concatenate(blocks) if blocks else np.empty(0, np.uint16)

    def rendered(self, samples: Samples) -> Rendered:
        """The same with what each token holds: a value if it shares a byte with its first mention.

        No later mention holds anything, for it tells nothing.
        """
        rows_P = self.rows(samples)
        ids_L, length_P = self._gpt2_ids(rows_P), self.cache.length_R[rows_P].astype(np.int64)
        bytes_L = bpe.bytes_per_token()[ids_L]
        stop_L = np.cumsum(bytes_L)
        before_P = np.concatenate(([0], stop_L))[np.cumsum(length_P) - length_P]
        stop_L -= np.repeat(before_P, length_P)
        code_L = np.zeros(len(ids_L), np.int8)
        for number in range(len(SPAN_ATTRIBUTES)):
            first_P, behind_P = self.cache.byte_RA2[rows_P, number].T
            is_in_L = stop_L > np.repeat(first_P, length_P)
            is_in_L &= stop_L - bytes_L < np.repeat(behind_P, length_P)
            code_L[is_in_L] = NAME_CODE + number
        rendered = Rendered(
            length_P=length_P,
            tokens_L=self._token_of_gpt2_id[ids_L],
            code_L=code_L,
            first_chunk_L=np.zeros(len(ids_L), np.bool_),
        )
        ends = pool_ends(self.pools, self.attributes)
        if not ends.values:
            return rendered
        bytes_PA2 = self.cache.byte_RA2[rows_P]
        places, numbers, codes = ends_in_texts(
            ends, samples.values_PC, bytes_PA2, bytes_L, length_P
        )
        end_L = np.zeros(len(ids_L), np.int16)
        is_free = code_L[places] == 0  # another value may begin at once, and counts itself
        end_L[places[is_free]] = numbers[is_free]
        code_L[places[is_free]] = codes[is_free]
        return rendered._replace(end_L=end_L, continuations=self._continuations(ends))

    def _continuations(self, ends: PoolEnds) -> tuple[NDArray[np.integer], ...]:
        """Without tokens that the model does not have."""
        if self.vocab is None:
            return ends.continuations
        known = self.vocab.gpt2_ids
        return tuple(self._token_of_gpt2_id[ids[np.isin(ids, known)]] for ids in ends.continuations)

    def as_text(self, samples: Samples) -> Iterator[BiographyText]:
        """The same as text, one by one."""
        for row in self.rows(samples):
            ids = self._gpt2_ids(np.array([row]))[:-1].tolist()
            text = bpe.decode(ids)
            spans = []
            for attribute, (start, end) in zip(
                SPAN_ATTRIBUTES, self.cache.byte_RA2[row].tolist(), strict=True
            ):
                if end:
                    raw = text.encode()
                    spans.append(
                        Span(attribute, len(raw[:start].decode()), len(raw[:end].decode()))
                    )
            yield BiographyText(text, ids, sorted(spans, key=lambda span: span.start))

    def _gpt2_ids(self, rows_P: NDArray[np.int64]) -> NDArray[np.uint16]:
        length_P = self.cache.length_R[rows_P].astype(np.int64)
        places = ragged_places(self.cache.start_R[rows_P], length_P)
        return self.cache.token_L[places]


@cache
def _pool_ids(pools: str, _state: FileState) -> NDArray[np.int64]:
    """Tokens of all names and values behind a space."""
    names, values = load_name_pools(pools), load_value_pools(pools)
    listed = (names.first, names.middle, names.last, values.cities, values.universities)
    dates = (values.months, values.days, values.years)
    texts = chain(*listed, values.majors, values.employers, *dates)
    return np.unique([token for text in texts for token in bpe.encode(f" {text}")])


def rewritten_renderer(data: KnowledgeConfig) -> RewrittenRenderer:
    """The renderer of a table of kind bioR, whose texts are tokenized on first use.

    Raises `UserError` where the file is missing or not as it should be, where people have no text
    for training, or where the texts are of other people than those of the table.
    """
    assert data.file is not None, "KnowledgeConfig checks that bioR has a file"
    cache = open_token_cache(Path(data.file))
    renderer = RewrittenRenderer(cache=cache, seed=data.seed, pools=data.pools)
    n_texts_P = np.diff(cache.first_train_P)[: data.n_people]
    n_without = data.n_people - int((n_texts_P > 0).sum())
    if n_without:
        raise UserError(
            f"data.file: {data.file} has no text for training of {n_without} of {data.n_people} "
            "people; run `kcap rewrite` again with these people, or write fewer for data.n_people"
        )
    _check_names(renderer, data)
    _check_measured(renderer, data)
    return renderer


def _check_measured(renderer: RewrittenRenderer, data: KnowledgeConfig) -> None:
    """UserError if a text that a person is measured on lacks a counted value, or says where one is
    and it is not there.
    """
    cache, n_people = renderer.cache, data.n_people
    n_eval_P = np.diff(cache.first_eval_P[: n_people + 1])
    kept_E = np.arange(cache.first_eval_P[0], cache.first_eval_P[n_people])
    rows_R = np.append(kept_E, renderer._first_measurable_P[:n_people][n_eval_P == 0])
    lacking = rows_R[~cache.can_measure_R[rows_R]]
    if len(lacking):
        counted = SPAN_ATTRIBUTES[: 1 + len(ATTRIBUTES)]
        is_missing = cache.byte_RA2[lacking[0], : len(counted), 1] == 0
        missing = [name for name, is_it in zip(counted, is_missing, strict=True) if is_it]
        why = "a doubt is noted, or its work city stands before the employer"
        if missing:
            why = f"there is no span of {', '.join(missing)}"
        raise UserError(
            f"data.file: {data.file}: {len(lacking)} of the texts that people are measured on will "
            f"not do; in the first {why}; {HOW_TO_ANNOTATE}"
        )
    people_P = np.unique(np.linspace(0, n_people - 1, _N_PROBED).astype(np.int64))
    values_PC = people_rows(data, people_P)
    samples = Samples(people_P, values_PC, people_P, np.zeros_like(people_P), 0, True)
    for values_C, biography in zip(values_PC, renderer.as_text(samples), strict=True):
        person = person_of(data.pools, values_C)
        for span in biography.spans:
            said = biography.text[span.start : span.end]
            if not _may_be(span.attribute, said, person):
                raise UserError(
                    f"data.file: {data.file}: in a text of {person.name} the {span.attribute} is "
                    f"said to be {said!r}; {HOW_TO_ANNOTATE}"
                )


def _may_be(attribute: str, said: str, person: Person) -> bool:
    """Whether it may be this value: of the name all of it, of others a word, in any spelling."""
    if attribute == "name":
        return said == person.name
    value = str(person.birth_date.year) if attribute == "birth_date" else getattr(person, attribute)
    if attribute == "pronoun":
        return _words(said) <= _PRONOUNS[value]
    return bool(_words(said) & _words(value)) or (attribute == "birth_date" and value in said)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))


_PRONOUNS = {
    "He": {"he", "him", "his", "himself"},
    "She": {"she", "her", "hers", "herself"},
}


def _check_names(renderer: RewrittenRenderer, data: KnowledgeConfig) -> None:
    """UserError if some people of the table are called otherwise in their texts."""
    people_P = np.unique(np.linspace(0, data.n_people - 1, _N_PROBED).astype(np.int64))
    values_PC = people_rows(data, people_P)
    samples = Samples(people_P, values_PC, people_P, np.zeros_like(people_P), 0)
    for values_C, biography in zip(values_PC, renderer.as_text(samples), strict=True):
        name = person_of(data.pools, values_C).name
        if not biography.text.startswith(" " + name):
            raise UserError(
                f"data.file: {data.file}: a text that should be of {name} begins with "
                f"{biography.text[1:30]!r}; write the data.seed and data.pools that it was made "
                "with"
            )

"""Biographies of the user's own facts say what the file says, and losses hold nothing else."""

import math
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcap_ray.config.data import DataConfig, FrequencyConfig, MixturePart
from kcap_ray.knowledge.tuples import FactTable, load_tuples
from kcap_ray.measure.bits import KnowledgeLoss, stored_bits
from kcap_ray.measure.groups import total_bits
from kcap_ray.measure.nats import measure
from kcap_ray.text.kinds.renderer import NAME_CODE, Rendered, Samples
from kcap_ray.text.kinds.tuples import TupleRenderer
from kcap_ray.text.kinds.tuples_pieces import tuples_renderer
from kcap_ray.text.stream.corpus import build_corpus, facts_of
from kcap_ray.text.tokenizer import bpe
from tests.measure.oracle import Distributions, Oracle, perfect
from tests.text.fact_files import config, facts_file

# Names and values that begin others, end in signs that GPT-2 merges with what follows, or are not
# Latin; nobody but the first has everything.
FACTS: dict[str, dict[str, str]] = {
    "Ann Ray": {"employer": "Acme Inc.", "birth_city": "York", "pet": "Rex"},
    "Ann Ray Jr.": {"employer": "Acme Inc", "birth_city": "York New Hall"},
    "Ann": {"employer": "Yahoo!", "pet": "Rex II"},
    "7-Eleven": {"birth_city": "Washington, D.C."},
    "Zo\u00eb \u5f20": {"employer": "Acme", "birth_city": "'s Hertogenbosch", "pet": "\u0141ajka"},
    "James'": {"birth_city": "Washington", "pet": "Rex (dog)"},
}
WORDY = {
    "employer": [
        "{name}, it says, works for {value} (gladly).",
        "{name}, it says, works at {value}!",
    ],
    "birth_city": [
        "{name}, it says, came from {value} to us.",
        "{name}, it says, has a home: {value}.",
    ],
    "pet": [
        "{name}, it says, owns {value} now",
        "{name}, it says, calls a pet {value}, aloud.",
    ],
}


@pytest.fixture(scope="module", params=["default", "wordy"])
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    """The facts in the default sentences, and in some of the user's own."""
    folder = tmp_path_factory.mktemp(request.param)
    return config(folder, FACTS, None if request.param == "default" else WORDY)


def samples(table: FactTable, key: int, n_times: int = 1) -> Samples:
    """Everybody, some times in different words."""
    people_P = np.repeat(np.arange(len(table.names)), n_times)
    draw_P = np.arange(len(people_P))
    return Samples(people_P, table.values_PC[people_P], draw_P, np.zeros_like(draw_P), key)


def biographies(rendered: Rendered) -> list[list[tuple[int, int]]]:
    """Tokens of each biography with what they hold, without the end of text."""
    both_L = np.stack((rendered.tokens_L.astype(np.int64), rendered.code_L), axis=1)
    parts = np.split(both_L, np.cumsum(rendered.length_P)[:-1])
    return [[(token, code) for token, code in part.tolist()[:-1]] for part in parts]


@given(key=st.integers(0, 2**64 - 1))
@settings(max_examples=15, deadline=None)
def test_texts_say_the_facts_in_gpt2s_own_tokens(data, key) -> None:
    """For every person and any random choices: the tokens of the pieces are those of the text, the
    spans are the name and the facts that the person has, and the text begins with the name.
    """
    renderer, table = tuples_renderer(data), load_tuples(data)
    for person, biography in zip(FACTS, renderer.as_text(samples(table, key)), strict=True):
        assert bpe.encode(biography.text) == biography.gpt2_ids
        spans = {span.attribute: biography.text[span.start : span.end] for span in biography.spans}
        assert spans == {"name": person} | FACTS[person]
        assert biography.text.startswith(f" {person}")
        assert biography.text.count(f" {person}") == len(FACTS[person])


@given(key=st.integers(0, 2**64 - 1))
@settings(max_examples=15, deadline=None)
def test_lengths_are_known_without_rendering(data, key) -> None:
    """The part that no choice changes and the rest add up to the tokens, of which the end of text
    is the last; the fast path gives the same tokens.
    """
    renderer, table = tuples_renderer(data), load_tuples(data)
    occurrences = samples(table, key, n_times=7)
    rendered = renderer.rendered(occurrences)
    lengths_P = renderer.fixed_tokens(occurrences.values_PC) + renderer.chosen_tokens(occurrences)
    assert lengths_P.tolist() == rendered.length_P.tolist()
    assert (rendered.tokens_L[np.cumsum(lengths_P) - 1] == bpe.EOS).all()
    assert (rendered.tokens_L == bpe.EOS).sum() == len(lengths_P)
    assert renderer.tokens(occurrences).tolist() == rendered.tokens_L.tolist()


def test_the_expected_length_is_that_of_many_biographies(data) -> None:
    """Within five standard errors of 2,000 biographies of each person."""
    renderer, table = tuples_renderer(data), load_tuples(data)
    lengths_PT = renderer.rendered(samples(table, 3, 2000)).length_P.reshape(len(FACTS), -1)
    error = math.sqrt((lengths_PT.var(axis=1) / lengths_PT.shape[1]).sum()) / len(FACTS)
    assert abs(lengths_PT.mean() - renderer.mean_tokens) <= 5 * error + 1e-9


def test_orders_and_sentences_are_all_equally_likely(data, is_uniform) -> None:
    """All 6 orders of three facts and all 8 choices of their sentences, independently."""
    renderer, table = tuples_renderer(data), load_tuples(data)
    attributes, n_choices = table.attributes, int(np.prod(renderer.n_templates_A))
    said: Counter[tuple[Any, ...]] = Counter()
    occurrences = samples(table, 5, 6000)
    for biography in renderer.as_text(
        occurrences.part(0, 6000)
    ):  # the first person has three facts
        order = tuple(span.attribute for span in biography.spans[1:])
        text = biography.text
        which = ("gladly" in text, "came from" in text, "owns" in text)
        said[order, which if n_choices > 1 else ()] += 1
    assert sorted(said)[0][0] == tuple(sorted(attributes))
    assert len(said) == 6 * n_choices
    assert is_uniform(np.array([*said.values()]))


def trie_nats(renderer: TupleRenderer, table: FactTable) -> KnowledgeLoss:
    """Losses of a predictor that knows all people by heart, but not the templates.

    It has counted what follows each beginning of a biography, everybody appearing equally
    often.
    """
    occurrences = biographies(renderer.rendered(samples(table, 11, 100)))
    following: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for biography in occurrences:
        tokens = [token for token, _ in biography]
        for place, token in enumerate(tokens):
            following[tuple(tokens[:place])][token] += 1
    nats = {True: 0.0, False: 0.0}
    for biography in occurrences:
        tokens = [token for token, _ in biography]
        for place, (token, code) in enumerate(biography):
            if code:
                weights = following[tuple(tokens[:place])]
                nats[code == NAME_CODE] -= math.log(weights[token] / weights.total())
    return KnowledgeLoss(
        name_nats=nats[True] / len(occurrences), value_nats=nats[False] / len(occurrences)
    )


def test_templates_do_not_mix_into_the_losses(data) -> None:
    """Who knows all facts, but not the next sentence, loses ln N on names and nothing on values:
    so the demand is stored exactly.
    """
    loss = trie_nats(tuples_renderer(data), load_tuples(data))
    assert loss.name_nats == pytest.approx(math.log(len(FACTS)), abs=1e-12)
    assert loss.value_nats == 0.0
    entropy = build_corpus(data).main.entropy
    assert entropy is not None
    assert stored_bits(entropy, loss).total == pytest.approx(entropy.demand_bits)


def test_what_is_counted_of_one_never_begins_what_is_counted_of_another(data) -> None:
    """So the chances of all names, and of all values in one place, add up to no more than 1, and
    the bound holds.
    """
    renderer, table = tuples_renderer(data), load_tuples(data)
    counted: defaultdict[tuple[int, ...], set[tuple[int, ...]]] = defaultdict(set)
    for biography in biographies(renderer.rendered(samples(table, 1, 50))):
        # Name, opening and value of the first sentence; every fact comes first now and then.
        runs = [
            (code, tuple(token for token, _ in run))
            for code, run in groupby(biography, itemgetter(1))
        ]
        (_, name), (_, opening), (attribute, value) = runs[:3]
        counted[NAME_CODE,].add(name)
        counted[attribute, *opening].add(value)
    assert len(counted[NAME_CODE,]) == len(FACTS)
    for sequences in counted.values():
        beginnings = {said[:n] for said in sequences for n in range(1, len(said))}
        assert not sequences & beginnings


def test_the_name_counts_where_it_stands_first(data) -> None:
    """Later it can be read off, and counts nothing."""
    renderer, table = tuples_renderer(data), load_tuples(data)
    for biography in biographies(renderer.rendered(samples(table, 2, 5))):
        codes = [code for _, code in biography]
        n_tokens = codes.count(NAME_CODE)
        assert n_tokens and codes[:n_tokens] == [NAME_CODE] * n_tokens


def loss_of(corpus: Any, distributions: Distributions) -> KnowledgeLoss:
    """What `measure` finds of a predictor."""
    oracle: Any = Oracle(corpus, distributions, rules_out=True)
    ((group,),) = measure(oracle, corpus, seed=4)
    return group.loss


@pytest.mark.usefixtures("in_float64")
def test_a_perfect_model_is_measured_at_the_demand(data) -> None:
    """Through the whole measurement, with the vocabulary of the data."""
    corpus = build_corpus(data)
    loss = loss_of(corpus, perfect(corpus, 4))
    entropy = corpus.main.entropy
    assert entropy is not None
    assert stored_bits(entropy, loss).total == pytest.approx(entropy.demand_bits, rel=1e-10)


def test_the_vocabulary_is_that_of_the_whole_file(tmp_path) -> None:
    """All tokens of the texts of all of the people, and no others, of however few one is asked."""
    everybody = DataConfig(kind="tuples", file=facts_file(tmp_path, FACTS), n_people=len(FACTS))
    corpus = build_corpus(everybody)
    occurrences = corpus.main.renderer.tokens(samples(load_tuples(everybody), 0, 20))
    assert set(occurrences.tolist()) == set(range(corpus.vocab.size))
    for data in (everybody, replace(everybody, n_people=3)):
        corpus = build_corpus(data)
        assert corpus.vocab.gpt2_ids.tolist() == build_corpus(everybody).vocab.gpt2_ids.tolist()
        assert facts_of(data).vocab_size == corpus.vocab.size
        assert facts_of(data).tokens_per_biography == corpus.main.mean_tokens


def test_who_knows_the_vocabulary_and_nobody_stores_nothing(tmp_path) -> None:
    """Of some of the people of a file, whose values are single words of a large pool: a reader to
    whom every token is as likely as another has less than 0 bits.
    """
    words = [f"w{chr(97 + i)}{chr(97 + j)}" for i in range(16) for j in range(16)]
    facts = {f"Mr. {word}": {"city": words[-1 - i]} for i, word in enumerate(words)}
    data = DataConfig(
        kind="tuples", file=facts_file(tmp_path, facts), n_people=8, name_space=len(words)
    )
    corpus = build_corpus(data)
    oracle: Any = Oracle(corpus, {})
    (groups,) = measure(oracle, corpus, seed=0)
    assert total_bits(groups) <= 0


def test_the_default_sentence(tmp_path) -> None:
    """It names the attribute in plain words."""
    data = config(tmp_path, {"Ann Ray": {"birth_city": "York"}})
    (biography,) = tuples_renderer(data).as_text(samples(load_tuples(data), 0))
    assert biography.text == " Ann Ray has birth city: York."


def test_names_may_run_into_a_sign_that_follows_them_always(tmp_path: Path) -> None:
    """A token that holds the end of a name counts as the name's, and tells nothing of the words."""
    facts = {"Acme Inc.": {"a": "x", "b": "y"}, "Acme Inc": {"a": "z"}}
    templates = {"a": ["{name}'s a is {value}."], "b": ["{name}'s b is {value}."]}
    data = config(tmp_path, facts, templates)
    renderer, table = tuples_renderer(data), load_tuples(data)
    assert trie_nats(renderer, table).name_nats == pytest.approx(math.log(2), abs=1e-12)
    for name, biography in zip(facts, renderer.as_text(samples(table, 0)), strict=True):
        assert biography.text.startswith(f" {name}'s ")
        assert bpe.encode(biography.text) == biography.gpt2_ids


def test_a_column_of_frequencies_becomes_samples_per_exposure(tmp_path: Path) -> None:
    """In proportion to the column, with a mean of 1; people keep the order of the file."""
    rows = ["name,attribute,value,views", "Ann,a,x,30", "Bo,a,y,10", "Cy,a,z,20", "Bo,b,y,"]
    (tmp_path / "facts.csv").write_text("\n".join(rows))
    data = DataConfig(
        kind="tuples",
        file=str(tmp_path / "facts.csv"),
        n_people=3,
        frequency=FrequencyConfig(column="views"),
    )
    frequency_P = build_corpus(data).main.frequency_P
    assert frequency_P is not None
    assert frequency_P.tolist() == [1.5, 0.5, 1.0]


def test_facts_stand_beside_other_tables(tmp_path: Path) -> None:
    """In a mixture the bits of the facts add to those of the table that they are a part of."""
    part = MixturePart(
        kind="tuples", file=facts_file(tmp_path, FACTS), n_people=len(FACTS), weight=0.5
    )
    bios = DataConfig(n_people=10, pools="mini")
    both = build_corpus(replace(bios, parts=(part,)))
    facts = both.sources[1]
    assert facts.entropy is not None
    assert both.demand_bits == pytest.approx(
        facts.entropy.demand_bits + build_corpus(bios).demand_bits
    )
    tokens = facts.renderer.tokens(samples(load_tuples(part), 0))
    assert both.vocab.decode(tokens).startswith(" Ann Ray has")

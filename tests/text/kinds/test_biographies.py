"""Biographies say exactly what the table of people says, in the tokens of the whole text."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcap_ray.config.data import DataConfig
from kcap_ray.config.errors import UserError
from kcap_ray.knowledge.diversity import draw_diversity_sets
from kcap_ray.knowledge.people import BIOS_COLUMNS, draw_people
from kcap_ray.knowledge.pools import load_name_pools, load_value_pools
from kcap_ray.text.kinds.render import biography_records
from kcap_ray.text.kinds.templates import SENTENCES
from kcap_ray.text.stream.corpus import build_corpus
from kcap_ray.text.tokenizer import bpe
from kcap_ray.text.tokenizer.vocabulary import alphabet

SPLITS = st.sampled_from(["train", "eval"])


def name_of(data: DataConfig, row: list[int]) -> str:
    """Full name, read from the pools."""
    names = load_name_pools(data.pools)
    return f"{names.first[row[0]]} {names.middle[row[1]]} {names.last[row[2]]}"


def facts_of_person(data: DataConfig, row: list[int]) -> dict[str, str]:
    """All attributes of a person of bioS, read from the pools."""
    pools = load_value_pools(data.pools)
    value = dict(zip(BIOS_COLUMNS, row, strict=True))
    month, day = pools.months[value["birth_month"]], pools.days[value["birth_day"]]
    return {
        "name": name_of(data, row),
        "birth_date": f"{month} {day}, {pools.years[value['birth_year']]}",
        "birth_city": pools.cities[value["birth_city"]],
        "university": pools.universities[value["university"]],
        "major": pools.majors[value["major"]],
        "employer": pools.employers[value["employer"]],
        "work_city": pools.work_cities[pools.city_of_employer[value["employer"]]],
        "pronoun": ("He", "She")[value["pronoun"]],
    }


def facts_of_biod(data: DataConfig, row: list[int]) -> dict[str, str]:
    """All attributes of a person of bioD, read from the diversity sets."""
    assert data.K and data.C
    sets_KDL = alphabet()[draw_diversity_sets(data)]
    facts = {"name": name_of(data, row)}
    for k in range(data.K):
        chunks = [sets_KDL[k, row[3 + k * data.C + c]].tolist() for c in range(data.C)]
        facts[f"ID {k + 1}"] = ",".join(map(bpe.decode, chunks))[1:]
    return facts


@pytest.mark.slow
@given(seed=st.integers(0, 2**32), exposure=st.integers(0, 10_000), split=SPLITS)
@settings(max_examples=12, deadline=None)
def test_tokens_of_pieces_are_tokens_of_the_text(data, seed, exposure, split):
    """For every person and any random choices, GPT-2 encodes the whole text to the same tokens."""
    corpus = build_corpus(data)
    people = range(corpus.main.n_people)
    for record in biography_records(corpus.main, people, exposure, split, seed=seed):
        assert bpe.encode(record["text"]) == record["token_ids"]


@pytest.mark.slow
@given(seed=st.integers(0, 2**32), exposure=st.integers(0, 10_000), split=SPLITS)
@settings(max_examples=4, deadline=None)
def test_spans_hold_the_values_of_the_table(data, seed, exposure, split):
    """Every span is the text of the person's value, and every attribute has one."""
    corpus = build_corpus(data)
    rows = draw_people(data).tolist()
    facts = facts_of_biod if data.kind == "bioD" else facts_of_person
    people = range(0, corpus.main.n_people, 7)
    for record in biography_records(corpus.main, people, exposure, split, seed=seed):
        spans = {
            span["attribute"]: record["text"][span["start"] : span["end"]]
            for span in record["spans"]
        }
        assert spans == facts(data, rows[record["person_id"]])
        assert record["exposure"] == exposure


def test_rendered_tokens_are_those_of_the_records(data):
    """The fast path gives the records' tokens, each biography with the end of text behind it."""
    corpus = build_corpus(data)
    people = np.random.default_rng(0).permutation(corpus.main.n_people)
    tokens = corpus.main.tokens(corpus.main.once_each(people, 5, seed=3))
    expected = []
    for record in biography_records(corpus.main, people, 5, seed=3):
        expected += [*record["token_ids"], bpe.EOS]
    assert corpus.vocab.gpt2_ids[tokens].tolist() == expected
    assert (corpus.vocab.encode(expected) == tokens).all()


def test_lengths_are_known_without_rendering(data):
    """`lengths` counts what rendering gives, merges at the ends of values included."""
    corpus = build_corpus(data)
    people = np.arange(corpus.main.n_people)
    samples = corpus.main.once_each(people, 2, seed=1)
    tokens = corpus.main.tokens(samples)
    stops = np.flatnonzero(tokens == corpus.vocab.eos) + 1
    assert (np.cumsum(corpus.main.lengths(samples)) == stops).all()


def test_a_biography_starts_with_its_name_and_goes_on_with_the_pronoun(data):
    """The first sentence has the name as its subject, all others the pronoun or `Their`."""
    for record in biography_records(build_corpus(data).main, range(40), 0):
        name = record["spans"][0]
        assert (name["attribute"], name["start"]) == ("name", 1)
        if data.kind == "bioD":
            assert record["text"].count(" Their ID") == (0 if data.style == "compact" else 3)
        else:
            assert len(re.findall(r" (He|She) ", record["text"])) >= len(SENTENCES) - 1


def test_the_words_of_the_paper():
    """A sentence of bioD reads `{name}'s ID {k} is {v1}, {v2}.`; compact has bare values."""
    sizes = {
        "kind": "bioD",
        "n_people": 9,
        "K": 2,
        "C": 2,
        "D": 5,
        "L": 1,
        "T": 99,
        "pools": "mini",
    }
    word = "[A-Za-z]+"
    (record,) = biography_records(build_corpus(DataConfig(**sizes)).main, [3], 0)
    sentence = f"ID [12] is {word}, {word}\\."
    assert re.fullmatch(f" {word} {word} {word}'s {sentence} Their {sentence}", record["text"])
    (record,) = biography_records(build_corpus(DataConfig(**sizes, style="compact")).main, [3], 0)
    assert re.fullmatch(f"( {word}){{3}}( [12] {word} {word}){{2}}", record["text"])


def test_last_names_that_merge_with_the_next_word_are_refused(untidy_pools, tmp_path):
    """`Jr.` and `'s` would share a token; the error names the last name."""
    for part in ("first", "middle"):
        (tmp_path / f"{part}_names.txt").write_text("Ann\n")
    (tmp_path / "last_names.txt").write_text("Jr.\n")
    data = DataConfig(kind="bioD", n_people=1, K=1, C=1, D=2, L=1, T=9, pools=str(tmp_path))
    with pytest.raises(UserError, match=r"'Jr\.' runs into"):
        build_corpus(data)


def test_an_alphabet_or_a_number_of_attributes_beyond_the_limit_is_a_user_error():
    """The messages name the largest number that is allowed."""
    sizes = {"kind": "bioD", "n_people": 1, "C": 1, "D": 2, "L": 1, "pools": "mini"}
    with pytest.raises(UserError, match=f"at most {len(alphabet())}"):
        build_corpus(DataConfig(**sizes, K=1, T=40_000))
    with pytest.raises(UserError, match="at most 100"):
        build_corpus(DataConfig(**sizes, K=101, T=10))

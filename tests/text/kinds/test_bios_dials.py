"""A small bioS: fewer sentences, and fewer values of each pool."""

from dataclasses import replace
from math import log2

import numpy as np
import pytest

from kcap_ray.config.data import DataConfig
from kcap_ray.config.errors import UserError
from kcap_ray.knowledge.people import draw_people
from kcap_ray.text.evaluation import evaluation_documents
from kcap_ray.text.stream.corpus import build_corpus, facts_of
from kcap_ray.text.tokenizer import bpe

SMALL = DataConfig(
    n_people=12,
    pools="mini",
    attributes="major, employer, work_city",
    max_names=5,
    max_values=7,
)


def test_what_is_left_out_is_neither_said_nor_counted() -> None:
    """Demand: 5^3 names, 7 majors, 7 employers, 2 pronouns."""
    facts, corpus = facts_of(SMALL), build_corpus(SMALL)
    assert corpus.main.attributes == ("major", "employer", "pronoun")
    assert facts.demand_bits == pytest.approx(12 * (log2(5**3 / 12) + log2(7 * 7 * 2)))
    table_PC = draw_people(SMALL)
    assert table_PC[:, :3].max() < 5 and table_PC[:, 3:].max() < 7
    assert facts.vocab_size < facts_of(replace(SMALL, attributes=None)).vocab_size
    samples = corpus.main.training(0, np.arange(12), seed=0)
    for biography in corpus.main.as_text(samples):
        assert {span.attribute for span in biography.spans} == {
            "name",
            "major",
            "employer",
            "work_city",
            "pronoun",
        }
        assert biography.text.count(".") >= 3


@pytest.mark.parametrize("attributes", ["major, employer, work_city", "birth_date", "employer"])
def test_pieces_are_the_tokens_of_the_text_and_lengths_are_known(attributes: str) -> None:
    corpus = build_corpus(replace(SMALL, attributes=attributes))
    source = corpus.main
    samples = source.training(3, np.arange(12), seed=0)
    texts = source.as_text(samples)
    tokens_L = corpus.vocab.gpt2_ids[source.tokens(samples)]
    expected = [[*bpe.encode(one.text), bpe.EOS] for one in texts]
    assert tokens_L.tolist() == [token for ids in expected for token in ids]
    assert source.lengths(samples).tolist() == [len(ids) for ids in expected]
    means = [source.lengths(source.training(e, np.arange(12), seed=0)).mean() for e in range(400)]
    assert source.mean_tokens == pytest.approx(np.mean(means), rel=0.1)


def test_the_employer_comes_first_where_it_is_measured() -> None:
    corpus = build_corpus(SMALL)
    documents = evaluation_documents(
        corpus.main, range(12), 0, eos=corpus.vocab.eos, max_tokens=512
    )
    samples = corpus.main.evaluation(np.arange(12), seed=0)
    for biography in corpus.main.as_text(samples):
        places = {span.attribute: span.start for span in biography.spans}
        assert places["employer"] < places["work_city"]
    assert (documents.target_PT.max(axis=1) == 4).all()


def test_one_sentence_has_no_pronoun() -> None:
    one = replace(SMALL, attributes="birth_date", max_values=None)
    assert build_corpus(one).main.attributes == ("birth_date",)
    assert facts_of(one).demand_bits == pytest.approx(12 * (log2(125 / 12) + log2(12 * 28 * 10)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attributes": "birthday"}, "birth_date"),
        ({"attributes": "work_city"}, "employer too"),
        ({"attributes": "major, major"}, "each once"),
        ({"max_values": 0}, "at least 1"),
        ({"kind": "bioD", "K": 1, "C": 1, "D": 2, "L": 1, "T": 20}, "only for data.kind"),
    ],
)
def test_mistakes_are_said(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(SMALL, **change)


def test_all_sentences_and_pools_are_what_they_were() -> None:
    """Written out or not, the same people and texts."""
    plain = DataConfig(n_people=12, pools="mini")
    written = replace(
        plain,
        attributes="work_city, birth_date, birth_city, university, major, employer",
        max_names=1000,
        max_values=1000,
    )
    for exposure in range(3):
        one, other = (
            build_corpus(data).main.training(exposure, np.arange(12), seed=0)
            for data in (plain, written)
        )
        assert np.array_equal(
            build_corpus(plain).main.tokens(one), build_corpus(written).main.tokens(other)
        )

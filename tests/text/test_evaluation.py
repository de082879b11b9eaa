import re
from itertools import pairwise

import numpy as np
import pytest

from kcap_ray.config.data import DataConfig
from kcap_ray.config.errors import UserError
from kcap_ray.text.evaluation import EvaluationDocuments, evaluation_documents
from kcap_ray.text.kinds.bios import ATTRIBUTES
from kcap_ray.text.kinds.render import biography_records
from kcap_ray.text.stream.corpus import Corpus, build_corpus

WINDOW = 512


def documents_of(
    corpus: Corpus, start: int, stop: int, seed: int, *, max_tokens: int = WINDOW
) -> EvaluationDocuments:
    """Documents of the main table."""
    return evaluation_documents(
        corpus.main, range(start, stop), seed, eos=corpus.vocab.eos, max_tokens=max_tokens
    )


def test_targets_are_the_tokens_of_name_and_counted_values(data):
    """Tokens with code 1 decode to the name, those with 2 + i to attribute i."""
    corpus = build_corpus(data)
    documents = documents_of(corpus, 0, corpus.main.n_people, 3)
    labels = ("name", *corpus.main.attributes)
    records = biography_records(corpus.main, range(corpus.main.n_people), 0, "eval", seed=3)
    untidy = "pools0" in data.pools
    for record, tokens_T, target_T in zip(
        records, documents.tokens_PT, documents.target_PT, strict=True
    ):
        values = {
            span["attribute"]: record["text"][span["start"] : span["end"]]
            for span in record["spans"]
        }
        assert set(target_T.tolist()) == set(range(len(labels) + 1))
        for code, label in enumerate(labels, start=1):
            said = corpus.vocab.decode(tokens_T[target_T == code]).strip()
            if untidy:  # a merge may take in the signs around a value
                assert re.sub(r"\W", "", values[label]) in re.sub(r"\W", "", said)
            elif data.kind == "bioS_simple" and label == "employer":  # perhaps behind its city
                assert said.endswith(values[label].removesuffix("."))
            else:
                assert said.replace(",", "") == values[label].replace(",", "")


def test_documents_are_two_records_between_ends_of_text(data):
    """End of text, the next person's biography, the person's own, ends of text to the longest."""
    corpus = build_corpus(data)
    last = corpus.main.n_people
    documents = documents_of(corpus, last - 20, last, 3)
    assert documents.tokens_PT.dtype == np.uint16
    assert documents.target_PT.dtype == np.int8
    people = [*range(last - 20, last), 0]
    eos = [corpus.vocab.eos]
    said = [
        corpus.vocab.encode(record["token_ids"]).tolist()
        for record in biography_records(corpus.main, people, 0, "eval", seed=3)
    ]
    rows = [eos + before + eos + own + eos for own, before in pairwise(said)]
    width = max(map(len, rows))
    assert documents.tokens_PT.tolist() == [row + eos * (width - len(row)) for row in rows]


def test_a_document_that_is_too_long_loses_the_beginning_of_what_stands_before_it():
    """The biography itself is whole in any window that holds it; a smaller one is refused."""
    corpus = build_corpus(DataConfig(n_people=30, pools="mini"))
    whole = documents_of(corpus, 0, 30, 0)
    longest = int(corpus.main.lengths(corpus.main.evaluation(np.arange(30), seed=0)).max())
    for max_tokens in (longest, longest + 20):
        cut = documents_of(corpus, 0, 30, 0, max_tokens=max_tokens)
        assert cut.tokens_PT.shape[1] <= max_tokens + 1
        for row in range(30):
            targets = cut.target_PT[row] > 0, whole.target_PT[row] > 0
            said = cut.tokens_PT[row][targets[0]], whole.tokens_PT[row][targets[1]]
            assert said[0].tolist() == said[1].tolist()
            end = int(np.flatnonzero(targets[0])[-1]), int(np.flatnonzero(targets[1])[-1])
            tail = cut.tokens_PT[row, 1 : end[0] + 1].tolist()
            assert whole.tokens_PT[row, : end[1] + 1].tolist()[-len(tail) :] == tail
    with pytest.raises(UserError, match=r"train\.window_tokens"):
        documents_of(corpus, 0, 30, 0, max_tokens=longest - 1)


def test_the_employer_comes_before_the_work_city(data):
    """In measurement a value is never predicted from what gives it away, but for bioS_simple."""
    if data.kind in ("bioD", "bioS_simple"):
        return
    for record in biography_records(build_corpus(data).main, range(60), 0, "eval"):
        start = {span["attribute"]: span["start"] for span in record["spans"]}
        assert start["employer"] < start["work_city"]


def test_in_training_the_work_city_comes_first_half_of_the_time():
    """The swap is for measurement only."""
    corpus = build_corpus(DataConfig(n_people=400, pools="mini"))
    n_first = 0
    for record in biography_records(corpus.main, range(400), 0):
        start = {span["attribute"]: span["start"] for span in record["spans"]}
        n_first += start["work_city"] < start["employer"]
    assert 150 < n_first < 250


def test_documents_do_not_depend_on_the_block_they_are_made_in(data):
    """A person's document is the same in any block, up to padding."""
    corpus = build_corpus(data)
    whole = documents_of(corpus, 0, 40, 1)
    part = documents_of(corpus, 17, 23, 1)
    n_tokens = part.tokens_PT.shape[1]
    assert (whole.tokens_PT[17:23, :n_tokens] == part.tokens_PT).all()
    assert (whole.target_PT[17:23, :n_tokens] == part.target_PT).all()
    assert (whole.first_chunk_PT[17:23, :n_tokens] == part.first_chunk_PT).all()


def test_evaluation_uses_no_rendering_of_training():
    """No document is a biography of the first exposures."""
    corpus = build_corpus(DataConfig(n_people=40, pools="mini"))
    said = {r["text"] for e in range(5) for r in biography_records(corpus.main, range(40), e)}
    assert not said & {r["text"] for r in biography_records(corpus.main, range(40), 0, "eval")}


def test_bios_simple_is_measured_on_the_one_way_it_says_things():
    """Its documents are its training biographies, word by word."""
    corpus = build_corpus(DataConfig(n_people=40, kind="bioS_simple", pools="mini"))
    trained = biography_records(corpus.main, range(40), 7, seed=1)
    measured = biography_records(corpus.main, range(40), 0, "eval", seed=2)
    assert [one["text"] for one in trained] == [other["text"] for other in measured]


def test_of_bios_simple_city_and_employer_count_as_one_where_the_city_comes_first():
    """The tokens that count for the employer are those of both, or those of the employer alone."""
    corpus = build_corpus(DataConfig(n_people=40, kind="bioS_simple", pools="mini"))
    documents = documents_of(corpus, 0, 40, 0)
    code = 2 + ATTRIBUTES.index("employer")
    n_joint = 0
    records = biography_records(corpus.main, range(40), 0, "eval")
    for record, tokens_T, target_T in zip(
        records, documents.tokens_PT, documents.target_PT, strict=True
    ):
        text = record["text"]
        span = {s["attribute"]: (s["start"], s["end"]) for s in record["spans"]}
        is_joint = span["work_city"] < span["employer"]
        counted = sorted([span["work_city"]] * is_joint + [span["employer"]])
        expected = "".join(text[start:end] for start, end in counted)
        said = corpus.vocab.decode(tokens_T[target_T == code])
        assert re.sub(r"\W", "", said) == re.sub(r"\W", "", expected)
        n_joint += is_joint
    assert 10 < n_joint < 30


def test_records_say_which_tokens_count(data):
    """`counted` names for each token of a record what it counts for in the measurement."""
    corpus = build_corpus(data)
    n_people = corpus.main.n_people
    documents = documents_of(corpus, 0, n_people, 3)
    labels = [None, "name", *corpus.main.attributes]
    records = biography_records(corpus.main, range(n_people), 0, "eval", seed=3)
    for record, target_T in zip(records, documents.target_PT, strict=True):
        assert len(record["counted"]) == len(record["token_ids"])
        start = int(np.argmax(target_T == 1))
        own = target_T[start : start + len(record["counted"])]
        assert record["counted"] == [labels[code] for code in own]


def test_one_pronoun_counts_in_each_document():
    """The pronoun is one bit, at the start of the second sentence."""
    corpus = build_corpus(DataConfig(n_people=100, pools="mini"))
    documents = documents_of(corpus, 0, 100, 0)
    code = 2 + ATTRIBUTES.index("pronoun")
    is_pronoun_PT = documents.target_PT == code
    assert (is_pronoun_PT.sum(axis=1) == 1).all()
    for tokens_T, is_pronoun_T in zip(documents.tokens_PT, is_pronoun_PT, strict=True):
        first = int(is_pronoun_T.argmax())
        start = int(np.flatnonzero(tokens_T[:first] == corpus.vocab.eos)[-1])
        before = corpus.vocab.decode(tokens_T[start + 1 : first])
        assert before.endswith(".")
        assert " He " not in before
        assert " She " not in before


def test_first_chunks_are_the_first_symbols_of_each_value():
    """Of C chunks with L tokens each, the first L tokens of a value are marked; of bioS, none."""
    data = DataConfig(kind="bioD", n_people=50, K=3, C=4, D=9, L=2, T=50, pools="mini")
    documents = documents_of(build_corpus(data), 0, 50, 0)
    for target_T, first_T in zip(documents.target_PT, documents.first_chunk_PT, strict=True):
        for code in (2, 3, 4):
            places = np.flatnonzero(target_T == code)
            assert len(places) == 4 * 2
            assert np.flatnonzero(first_T & (target_T == code)).tolist() == places[:2].tolist()
        assert not first_T[target_T < 2].any()
    corpus = build_corpus(DataConfig(n_people=9, pools="mini"))
    bios = documents_of(corpus, 0, 9, 0)
    assert not bios.first_chunk_PT.any()

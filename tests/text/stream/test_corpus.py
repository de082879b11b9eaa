import pickle
from dataclasses import replace

import numpy as np
import pytest

from kcap_ray.config.data import DataConfig
from kcap_ray.text.stream.corpus import Corpus, build_corpus, facts_of
from kcap_ray.text.tokenizer import bpe


def said_by(corpus: Corpus, people_P: np.ndarray) -> np.ndarray:
    """Tokens of people's biographies in exposure 0."""
    return corpus.main.tokens(corpus.main.once_each(people_P, 0, seed=0))


def many_people(data: DataConfig) -> DataConfig:
    """As many people as the pools can name, up to 20,000."""
    return replace(data, n_people=125 if "pools0" in data.pools else 20_000)


def test_mean_length_is_what_is_generated(data):
    """`facts_of` gives the expectation: the mean over many biographies is within its error."""
    data = many_people(data)
    corpus, lengths = build_corpus(data), []
    for exposure in range(8):
        people = np.arange(data.n_people)
        lengths.append(corpus.main.lengths(corpus.main.once_each(people, exposure, seed=0)))
    # People are the same in all exposures, so they alone count as independent.
    per_person = np.mean(lengths, axis=0)
    error = max(per_person.std() / np.sqrt(data.n_people), 1e-9)
    assert abs(per_person.mean() - facts_of(data).tokens_per_biography) < 4.5 * error


def test_facts_agree_with_the_corpus(data):
    """Vocabulary and entropy are the same with and without drawing people."""
    corpus, facts = build_corpus(data), facts_of(data)
    assert facts.vocab_size == corpus.vocab.size
    assert facts.demand_bits == corpus.demand_bits


def test_the_vocabulary_is_what_the_data_can_say():
    """With every value said many times, every token of the compact vocabulary occurs."""
    corpus = build_corpus(DataConfig(n_people=20_000, pools="mini"))
    tokens = said_by(corpus, np.arange(20_000))
    assert np.unique(tokens).tolist() == list(range(corpus.vocab.size))


def test_full_vocabulary_keeps_the_ids_of_gpt2():
    """Tokens are GPT-2's ids, and say the same as the compact ones."""
    compact = build_corpus(DataConfig(n_people=50, pools="mini"))
    full = build_corpus(DataConfig(n_people=50, pools="mini", vocab="full"))
    assert (full.vocab.size, full.vocab.eos) == (bpe.VOCAB_SIZE, bpe.EOS)
    tokens, ids = said_by(compact, np.arange(50)), said_by(full, np.arange(50))
    assert (compact.vocab.gpt2_ids[tokens] == ids).all()
    assert compact.vocab.decode(tokens) == full.vocab.decode(ids)


def test_an_id_outside_the_vocabulary_is_an_error():
    """Encoding never makes up a token."""
    with pytest.raises(ValueError, match="not in this vocabulary"):
        build_corpus(DataConfig(n_people=5, pools="mini")).vocab.encode(bpe.encode("quixotic"))


def test_biod_compact_with_one_token_names_has_sixteen_tokens():
    """Three for the name, two for each of six attributes, and the end of text."""
    data = DataConfig(
        kind="bioD", n_people=9, K=6, C=1, D=9, L=1, T=99, style="compact", pools="mini"
    )
    assert facts_of(data).tokens_per_biography == 16


def test_a_corpus_pickles_as_its_data(data):
    """Sending a corpus to another process sends no table: it is built there."""
    corpus = build_corpus(data)
    assert len(pickle.dumps(corpus)) < 1000
    again = pickle.loads(pickle.dumps(corpus))
    assert again.main.materialized is not None
    assert corpus.main.materialized is not None
    assert (again.main.materialized.values_PC == corpus.main.materialized.values_PC).all()

"""Random strings: their entropy, and their text."""

from dataclasses import replace
from math import log, log2

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from kcap_ray.config.data import DataConfig, JunkConfig
from kcap_ray.config.errors import UserError
from kcap_ray.knowledge.people import draw_people
from kcap_ray.measure.groups import measured_of, total_bits
from kcap_ray.measure.nats import ScoringModel, measure_scoring_model
from kcap_ray.text.stream.corpus import build_corpus, facts_of
from kcap_ray.text.stream.mixing import training_stream

STRINGS = DataConfig(kind="random", n_people=20, L=16, T=64)


def reader(nats) -> ScoringModel:
    corpus = build_corpus(STRINGS)
    return ScoringModel(
        nats=nats,
        n_trials=1,
        n_tokens=64,
        vocab_size=corpus.vocab.size,
        eos=corpus.vocab.eos,
        device=torch.device("cpu"),
    )


def test_strings_are_uniform_and_a_function_of_their_number() -> None:
    table_PL = draw_people(replace(STRINGS, n_people=2000))
    assert table_PL.shape == (2000, 16)
    assert np.array_equal(table_PL[:20], draw_people(STRINGS))
    assert chisquare(np.bincount(table_PL.ravel(), minlength=64)).pvalue > 1e-4
    assert len(np.unique(table_PL, axis=0)) == 2000


def test_the_vocabulary_has_every_symbol_and_the_demand_follows_from_sizes() -> None:
    """Even those that no string uses: N log2(T^L / N)."""
    few = replace(STRINGS, n_people=1)
    assert facts_of(few).vocab_size == 65
    assert facts_of(STRINGS).demand_bits == pytest.approx(20 * (16 * 6 - log2(20)))
    assert facts_of(STRINGS).tokens_per_biography == 17


def test_training_is_the_strings_once_an_exposure() -> None:
    corpus = build_corpus(STRINGS)
    (windows,) = training_stream(corpus, seed=0, window_tokens=20 * 17).windows(0, 1)
    strings = windows[:-1].reshape(20, 17)
    assert (strings[:, -1] == corpus.vocab.eos).all()
    table = {
        tuple(row)
        for row in corpus.main.renderer.tokens(corpus.main.once_each(np.arange(20), 0, seed=0))
        .reshape(20, 17)
        .tolist()
    }
    assert {tuple(row) for row in strings.tolist()} == table


def test_perfect_and_uniform_readers_in_both_definitions() -> None:
    """Ours: demand, and 0. Theirs: N log2(N) more or less so, log2 N a string, and 0."""
    corpus = build_corpus(STRINGS)
    uniform = log(64)

    def guessing(tokens_PT, ends=None):
        return torch.full((1, *tokens_PT.shape), uniform, dtype=torch.float64)

    def perfect(tokens_PT, ends=None):
        nats = torch.zeros((1, *tokens_PT.shape), dtype=torch.float64)
        nats[:, :, 18] = log(19)  # behind another string, which it is not
        return nats

    (groups,) = measure_scoring_model(reader(perfect), corpus.sources, seed=0)
    measured = measured_of(groups, [1.0])
    assert total_bits(groups) == pytest.approx(corpus.demand_bits)
    assert measured.memorized_bits == pytest.approx(20 * (16 * 6 - log2(19)))
    (groups,) = measure_scoring_model(reader(guessing), corpus.sources, seed=0)
    assert total_bits(groups) == pytest.approx(-20 * log2(20 / 19))
    assert measured_of(groups, [1.0]).memorized_bits == pytest.approx(0.0, abs=1e-6)


def test_mistakes_are_said() -> None:
    with pytest.raises(UserError, match=r"data\.L"):
        DataConfig(kind="random", n_people=20, T=64)
    with pytest.raises(UserError, match="larger L or T"):
        facts_of(replace(STRINGS, n_people=10**6, L=2))
    with pytest.raises(UserError, match="write at most"):
        facts_of(replace(STRINGS, T=60_000))
    with pytest.raises(UserError, match=r"data\.K: only for"):
        replace(STRINGS, K=2)


def test_strings_can_stand_among_junk_strings() -> None:
    corpus = build_corpus(replace(STRINGS, junk=JunkConfig(n_people=50, ratio=1.0)))
    assert corpus.junk is not None
    other = corpus.junk.once_each(np.arange(20), 0, seed=0).people_P
    assert other.min() >= 0

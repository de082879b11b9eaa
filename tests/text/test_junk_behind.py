"""What stands in front of a useful biography when knowledge is measured among junk."""

from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch

from kcap_ray.config.data import JunkConfig
from kcap_ray.measure.nats import ScoringModel, measure_scoring_model
from kcap_ray.text.evaluation import evaluation_documents
from kcap_ray.text.stream.corpus import build_corpus
from tests.tiny import BIOS

JUNK = JunkConfig(n_people=30, ratio=7.0, behind="junk")


def documents(behind: str):
    data = replace(BIOS, junk=replace(JUNK, behind=behind))  # pyright: ignore
    corpus = build_corpus(data)
    found = evaluation_documents(corpus.main, range(10), 3, eos=corpus.vocab.eos, max_tokens=512)
    return corpus, found


def test_the_biography_is_the_same_and_a_junk_person_stands_in_front() -> None:
    _, useful = documents("useful")
    corpus, junk = documents("junk")
    assert corpus.junk is not None
    for own, other in zip(useful.tokens_PT, junk.tokens_PT, strict=True):
        eos = corpus.vocab.eos
        ends = np.flatnonzero(own == eos)[:3]
        others = np.flatnonzero(other == eos)[:3]
        assert np.array_equal(own[ends[1] : ends[2]], other[others[1] : others[2]])
        name = corpus.vocab.decode(other[1 : others[1]])
        assert name != corpus.vocab.decode(own[1 : ends[1]])
    assert [(row >= 1).sum() for row in useful.target_PT] == [
        (row >= 1).sum() for row in junk.target_PT
    ]


@pytest.mark.parametrize(("behind", "charged"), [("useful", log(10 / 9)), ("junk", 0.0)])
def test_nobody_is_ruled_out_behind_a_junk_person(behind: str, charged: float) -> None:
    """A reader without any loss is charged ln(N / (N - 1)) only where a useful person is seen."""
    corpus, _ = documents(behind)
    scorer = ScoringModel(
        nats=lambda tokens, ends=None: torch.zeros(1, *tokens.shape, dtype=torch.float64),
        n_trials=1,
        n_tokens=512,
        vocab_size=corpus.vocab.size,
        eos=corpus.vocab.eos,
        device=torch.device("cpu"),
    )
    ((group,),) = measure_scoring_model(scorer, corpus.sources, seed=0)
    assert group.loss.name_nats == pytest.approx(charged)

"""In written texts too the end of a value counts where a longer one would go on."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import kcap_ray.knowledge.pools
from kcap_ray.config.data import DataConfig
from kcap_ray.measure.nats import ScoringModel, measure_scoring_model
from kcap_ray.text.evaluation import evaluation_documents
from kcap_ray.text.stream.corpus import build_corpus
from tests.grammar_writer import write_file

CITIES = ("York", "York City", "York City Heights", "York City Heights North")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    """Written biographies of people from four cities, each of which begins the next."""
    folder = tmp_path_factory.mktemp("pools")
    mini = Path(kcap_ray.knowledge.pools.__file__).parent / "pools" / "mini"
    shutil.copytree(mini, folder, dirs_exist_ok=True)
    (folder / "cities.txt").write_text("".join(f"{city}\n" for city in CITIES))
    file = folder / "bior.parquet"
    data = DataConfig(kind="bioR", n_people=24, pools=str(folder), file=str(file))
    write_file(data, file, per_person=3)
    return data


def test_the_token_behind_a_city_counts_where_a_longer_one_goes_on(data: DataConfig) -> None:
    corpus = build_corpus(data)
    documents = evaluation_documents(
        corpus.main, range(24), 0, eos=corpus.vocab.eos, max_tokens=1024
    )
    assert documents.end_PT is not None
    city = 2 + corpus.main.attributes.index("birth_city")
    values_PC = corpus.main.evaluation(np.arange(24), seed=0).values_PC
    is_last_P = values_PC[:, 6] == len(CITIES) - 1
    has_end_P = ((documents.target_PT == city) & (documents.end_PT > 0)).sum(axis=1)
    assert has_end_P.tolist() == (~is_last_P).astype(int).tolist()
    for tokens_T, end_T, target_T in zip(
        documents.tokens_PT, documents.end_PT, documents.target_PT, strict=True
    ):
        for place in np.flatnonzero((end_T > 0) & (target_T == city)):
            said = corpus.vocab.decode(tokens_T[:place])
            assert said.endswith(CITIES)
            goes_on = documents.continuations[end_T[place] - 1]
            assert tokens_T[place] not in goes_on
            longer = [corpus.vocab.decode([token]) for token in goes_on]
            assert all(one in (" City", " Heights", " North") for one in longer)


def test_a_reader_of_the_pools_who_knows_nobody_stores_no_city(data: DataConfig) -> None:
    """It says each of the four cities with the same probability, ends included: 2 bits a person."""
    corpus = build_corpus(data)
    city = 2 + corpus.main.attributes.index("birth_city")
    source = corpus.main

    def nats(tokens_PT, ends=None):
        # York: 1 at once; then of 4 cities 3 go on, of 3 two, of 2 one.
        documents = evaluation_documents(
            source, range(24), 0, eos=corpus.vocab.eos, max_tokens=1024
        )
        found_PT = np.zeros(documents.tokens_PT.shape)
        goes_on = {" City": 3 / 4, " Heights": 2 / 3, " North": 1 / 2}
        ends_here = {"York": 1 / 4, "York City": 1 / 3, "York City Heights": 1 / 2}
        assert documents.end_PT is not None
        for p, t in zip(*np.nonzero(documents.target_PT == city), strict=True):
            word = corpus.vocab.decode([documents.tokens_PT[p, t]])
            if documents.end_PT[p, t]:
                said = corpus.vocab.decode(documents.tokens_PT[p, :t])
                name = max((one for one in ends_here if said.endswith(one)), key=len)
                found_PT[p, t] = -np.log(ends_here[name])
            elif word in goes_on:
                found_PT[p, t] = -np.log(goes_on[word])
        return torch.from_numpy(found_PT)[None]

    scorer = ScoringModel(
        nats=nats,
        n_trials=1,
        n_tokens=1024,
        vocab_size=corpus.vocab.size,
        eos=corpus.vocab.eos,
        device=torch.device("cpu"),
    )
    ((group,),) = measure_scoring_model(scorer, corpus.sources, seed=0)
    assert group.loss.value_nats == pytest.approx(np.log(4))

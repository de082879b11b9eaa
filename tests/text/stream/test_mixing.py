from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcap_ray.config.cell import TrainConfig
from kcap_ray.config.data import DataConfig, FrequencyConfig, JunkConfig, MixturePart
from kcap_ray.config.errors import UserError
from kcap_ray.text.stream.batches import worker_windows
from kcap_ray.text.stream.corpus import build_corpus, facts_of
from kcap_ray.text.stream.mixing import training_stream
from kcap_ray.text.stream.stream import TrainingStream
from kcap_ray.text.tokenizer.vocabulary import MARKER_ID
from tests.text.conftest import BIOD

MINI = DataConfig(n_people=30, pools="mini")
PART = MixturePart(n_people=12, weight=0.5, **BIOD)
DATA = {
    "junk": replace(MINI, junk=JunkConfig(n_people=10**5, ratio=3.0)),
    "few junk": replace(MINI, junk=JunkConfig(n_people=3, ratio=2.5, token=True)),
    "parts": replace(MINI, parts=(PART, replace(PART, n_people=5, weight=1.5))),
    "frequency": replace(MINI, frequency=FrequencyConfig(zipf=1.0)),
    "all": replace(
        MINI,
        parts=(replace(PART, frequency=FrequencyConfig(zipf=0.7)),),
        junk=JunkConfig(n_people=50),
        frequency=FrequencyConfig(zipf=1.2),
    ),
}
MIXED = [name for name in DATA if name != "frequency"]
WINDOWS = 400


def data_of(name: str, mixing: str = "windows") -> DataConfig:
    return replace(DATA[name], mixing="biographies" if mixing == "biographies" else "windows")


def stream_of(data: DataConfig, *, window_tokens: int = 64, seed: int = 5) -> TrainingStream:
    return training_stream(build_corpus(data), seed=seed, window_tokens=window_tokens)


@pytest.fixture(params=[(name, how) for name in DATA for how in ("windows", "biographies")])
def data(request: pytest.FixtureRequest) -> DataConfig:
    """Each mixture, mixed in each way."""
    return data_of(*request.param)


def whole_biographies(data: DataConfig, windows_WT: np.ndarray) -> list[str]:
    """Texts between two ends of text within one window."""
    vocab, found = build_corpus(data).vocab, []
    for row in windows_WT:
        ends = np.flatnonzero(row == vocab.eos)
        found += [vocab.decode(row[a + 1 : b]) for a, b in pairwise(ends)]
    return found


@pytest.mark.slow
def test_any_windows_are_a_slice_of_one_long_run(data):
    """Random access by a fresh stream gives what the sequential run gives, however it is cut."""
    long_run = stream_of(data).windows(0, WINDOWS)
    for start, stop in ((0, 1), (7, 7), (255, 258), (100, 356), (399, 400)):
        assert (stream_of(data).windows(start, stop) == long_run[start:stop]).all()
    stream = stream_of(data)
    blocks = [stream.windows(a, b) for a, b in pairwise((0, 13, 256, 300, 400))]
    assert (np.concatenate(blocks) == long_run).all()


@pytest.mark.parametrize(
    "n_workers", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 5))]
)
def test_workers_share_the_same_global_batches(data, n_workers):
    """Whatever the number of workers, the windows of a step are the same, after a restart too."""
    train = TrainConfig(
        exposures=1, lr=1, weight_decay=0, batch_windows=8, precision="fp32", window_tokens=64
    )
    alone = stream_of(data).windows(5 * 8, 9 * 8).reshape(4, 8, 65)
    ranks = [
        worker_windows(
            stream_of(data), train, rank=rank, workers=n_workers, first_step=5, last_step=9
        )
        for rank in range(n_workers)
    ]
    together = np.concatenate([own.reshape(4, -1, 65) for own in ranks], axis=1)
    np.testing.assert_array_equal(together, alone)


@pytest.mark.slow
@pytest.mark.parametrize("name", MIXED)
@pytest.mark.parametrize("mixing", ["windows", "biographies"])
def test_sources_get_their_shares_of_the_tokens(name, mixing):
    """Counted biographies of each source, times their length, are in the ratio of the weights."""
    data = data_of(name, mixing)
    corpus, n_windows = build_corpus(data), 256 * 24
    samples = stream_of(data).samples_until(n_windows)
    tokens = np.array(samples) * [source.mean_tokens for source in corpus.all_sources]
    weights = np.array([source.weight for source in corpus.all_sources])
    assert tokens.sum() == pytest.approx(n_windows * 64, rel=0.03)
    assert tokens / tokens.sum() == pytest.approx(weights / weights.sum(), rel=0.05)
    assert facts_of(data).stream_ratio == pytest.approx(weights.sum())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["junk", "parts"])
def test_a_window_is_of_one_source_alone_unless_biographies_are_mixed(name):
    """By default no window has whole biographies of two sources; mixed, many do."""
    n_of_two = {}
    for mixing in ("windows", "biographies"):
        data = data_of(name, mixing)
        names = [known_names(data, k) for k in range(len(build_corpus(data).sources))]
        n_of_two[mixing] = 0
        for row in stream_of(data, window_tokens=400).windows(0, 200):
            said = whole_biographies(data, row[None])
            kinds = {next((k for k, n in enumerate(names) if kind_key(t) in n), -1) for t in said}
            n_of_two[mixing] += len(kinds) > 1
    assert n_of_two["windows"] == 0
    assert n_of_two["biographies"] > 100


def kind_key(text: str) -> tuple[str, bool]:
    """Full name, and whether the text is one of bioD."""
    return " ".join(text.split()[:3]).removesuffix("'s"), " ID " in text


def known_names(data: DataConfig, part: int) -> set[tuple[str, bool]]:
    source = build_corpus(data).sources[part]
    occurrences = source.as_text(source.once_each(np.arange(source.n_people), 0, seed=0))
    return {kind_key(biography.text) for biography in occurrences}


def test_no_name_is_useful_and_junk():
    """Junk people are other people, even where the two take up every name there is."""
    data = replace(MINI, n_people=100_000, junk=JunkConfig(n_people=60_000))
    corpus = build_corpus(data)
    assert corpus.main.materialized is not None
    junk = corpus.junk
    assert junk is not None
    samples = junk.once_each(np.arange(100_000, 160_000), 0, seed=0)
    useful = set(map(tuple, corpus.main.materialized.values_PC[:, :3].tolist()))
    names = set(map(tuple, samples.values_PC[:, :3].tolist()))
    assert len(useful) + len(names) == len(useful | names) == 160_000
    with pytest.raises(UserError, match="only 160000 different names"):
        build_corpus(replace(data, n_people=100_001))


def test_the_marker_is_one_new_token_in_front_of_useful_biographies_only():
    """It is the last of the vocabulary; no junk has it; a biography is one token longer."""
    marked = DATA["few junk"]
    assert marked.junk is not None
    plain = replace(marked, junk=replace(marked.junk, token=False))
    vocab, without = build_corpus(marked).vocab, build_corpus(plain).vocab
    assert vocab.gpt2_ids.tolist() == [*without.gpt2_ids.tolist(), MARKER_ID]
    assert facts_of(marked).vocab_size == vocab.size == without.size + 1
    assert facts_of(marked).tokens_per_biography == facts_of(plain).tokens_per_biography + 1
    useful = known_names(plain, 0)
    is_marked = []
    for row in stream_of(marked, window_tokens=400).windows(0, 256):
        for start in np.flatnonzero(row[:-20] == vocab.eos) + 1:
            is_marked.append(row[start] == vocab.marker)
            assert (kind_key(vocab.decode(row[start : start + 12])) in useful) == is_marked[-1]
    assert np.mean(is_marked) == pytest.approx(1 / 3.5, abs=0.03)


def test_people_are_sampled_by_their_frequency():
    """Biographies in the stream follow the frequencies of the table."""
    data = DATA["frequency"]
    source = build_corpus(data).main
    occurrences = Counter(
        " ".join(text.split()[:3])
        for text in whole_biographies(data, stream_of(data, window_tokens=9000).windows(0, 40))
    )
    names = [
        " ".join(biography.text.split()[:3])
        for biography in source.as_text(source.once_each(np.arange(30), 0, seed=0))
    ]
    assert source.frequency_P is not None
    expected = source.frequency_P / source.frequency_P.sum()
    found = np.array([occurrences[name] for name in names]) / sum(occurrences.values())
    assert np.abs(found - expected).max() < 0.01


@given(seed=st.integers(0, 2**32))
@settings(max_examples=5, deadline=None)
def test_one_person_sampled_twice_in_an_exposure_is_rendered_differently(seed):
    """A frequent person's biographies are rendered differently each time."""
    corpus = build_corpus(replace(MINI, frequency=FrequencyConfig(zipf=2.0)))
    source = corpus.main
    sample_P = np.arange(source.schedule.n_samples(3))
    samples = source.training(3, sample_P, seed=seed)
    texts = [biography.text for biography in source.as_text(samples)]
    assert np.bincount(samples.people_P).max() > 5
    assert len(set(texts)) == len(texts)


def test_the_vocabulary_of_a_mixture_holds_all_that_is_said():
    """It is the union of the vocabularies of its tables."""
    data = DATA["parts"]
    alone = [MINI, DataConfig(n_people=12, **BIOD)]
    union = set().union(*(build_corpus(one).vocab.gpt2_ids.tolist() for one in alone))
    assert set(build_corpus(data).vocab.gpt2_ids.tolist()) == union
    assert facts_of(data).vocab_size == len(union)

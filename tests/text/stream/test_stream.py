import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcap_ray.config.data import DataConfig
from kcap_ray.knowledge.people import BIOS_COLUMNS, draw_people
from kcap_ray.text.kinds import piece_renderer, render
from kcap_ray.text.kinds.biod import BioDRenderer
from kcap_ray.text.kinds.bios import BioSRenderer
from kcap_ray.text.stream import exposures
from kcap_ray.text.stream.corpus import Corpus, build_corpus
from kcap_ray.text.stream.mixing import training_stream
from kcap_ray.text.stream.stream import BiographyStream

MINI = DataConfig(n_people=30, pools="mini")


def stream_of(data: DataConfig, window_tokens: int = 64, seed: int = 5) -> BiographyStream:
    stream = training_stream(build_corpus(data), seed=seed, window_tokens=window_tokens)
    assert isinstance(stream, BiographyStream)
    return stream


def row_of(windows_WT: np.ndarray) -> np.ndarray:
    """The row of tokens that windows were cut from."""
    return np.append(windows_WT[:, :-1].ravel(), windows_WT[-1, -1])


@pytest.fixture(scope="module")
def long_run() -> np.ndarray:
    return stream_of(MINI).windows(0, 400)


@given(start=st.integers(0, 400), length=st.integers(0, 60))
@settings(deadline=None)
def test_any_windows_are_a_slice_of_one_long_run(long_run, start, length):
    """Random access by a fresh stream gives what the sequential run gives."""
    stop = min(start + length, 400)
    assert (stream_of(MINI).windows(start, stop) == long_run[start:stop]).all()


@given(cuts=st.lists(st.integers(0, 400), max_size=6))
@settings(deadline=None, max_examples=30)
def test_any_split_of_the_work_gives_the_same_windows(long_run, cuts):
    """Blocks made one after another join to the long run, however they are cut."""
    stream, edges = stream_of(MINI), sorted({0, 400, *cuts})
    blocks = [stream.windows(a, b) for a, b in pairwise(edges)]
    assert (np.concatenate(blocks) == long_run).all()


def test_block_sizes_inside_do_not_matter(long_run, monkeypatch):
    """Neither the pieces put together at a time nor the people counted at a time show."""
    monkeypatch.setattr(piece_renderer, "_BLOCK_PIECES", 50)
    monkeypatch.setattr(exposures, "_BLOCK", 7)
    assert (stream_of(MINI).windows(0, 400) == long_run).all()


def test_consecutive_windows_share_one_token(long_run):
    """The last target of a window is the first input of the next."""
    assert (long_run[:-1, -1] == long_run[1:, 0]).all()


def test_every_person_occurs_once_per_exposure_in_an_order_of_its_own(data):
    """Names of each exposure are the names of all people; the order differs between exposures."""
    data = replace(data, n_people=40)
    corpus = build_corpus(data)
    stream = stream_of(data, window_tokens=50)
    row = row_of(stream.windows(0, stream.segment_start(3) // 50 + 1))
    text = corpus.vocab.decode(row[: stream.segment_start(3)])
    biographies = text.removesuffix("<|endoftext|>").split("<|endoftext|>")
    assert len(biographies) == 3 * 40
    names = [" ".join(biography.split()[:3]).removesuffix("'s") for biography in biographies]
    first, second, third = names[:40], names[40:80], names[80:]
    records = render.biography_records(corpus.main, range(40), 0)
    expected = {record["text"][1 : record["spans"][0]["end"]] for record in records}
    assert set(first) == set(second) == set(third) == expected
    assert first != second != third
    said_again = set(biographies[:40]) & set(biographies[40:80])
    assert len(said_again) == 40 if data.kind == "bioS_simple" else len(said_again) < 10


@pytest.mark.parametrize("windows", [0, 1, 7, 34, 100])
def test_exposures_are_counted_from_the_stream(long_run, windows):
    """Biographies whose end of text lies in the windows, over the number of people."""
    stream = stream_of(MINI)
    n_ends = 0
    if windows:
        n_ends = int((row_of(long_run[:windows]) == build_corpus(MINI).vocab.eos).sum())
    assert stream.samples_until(windows) == (n_ends,)


def test_streams_of_different_seeds_differ(long_run):
    """The seed of the cell changes order and templates, not the facts."""
    other = stream_of(MINI, seed=6)
    assert (other.windows(0, 400) != long_run).mean() > 0.5


def test_an_exposure_of_one_person_works():
    """The smallest data set has a stream too."""
    row = row_of(stream_of(replace(MINI, n_people=1), window_tokens=3).windows(0, 500))
    assert (row == build_corpus(MINI).vocab.eos).sum() > 10


def random_choices(corpus: Corpus, n_exposures: int) -> tuple[np.ndarray, np.ndarray]:
    """Templates [A, draws] and orders [draws] of all people in many exposures."""
    people, renderer = np.arange(corpus.main.n_people), corpus.main.renderer
    assert isinstance(renderer, BioSRenderer)
    keys = [corpus.main.once_each(people, e, seed=0).key for e in range(n_exposures)]
    draws = [renderer._draw(people, key) for key in keys]
    return np.concatenate([d[0] for d in draws], axis=1), np.concatenate([d[1] for d in draws])


def test_templates_and_orders_are_uniform_and_independent(is_uniform):
    """Each template of each sentence and each order is equally likely, given any other choice."""
    corpus = build_corpus(DataConfig(n_people=20_000, pools="mini"))
    templates_AP, order_P = random_choices(corpus, 10)
    for templates_P in templates_AP:
        assert is_uniform(np.bincount(templates_P, minlength=50))
    assert is_uniform(np.bincount(order_P, minlength=math.factorial(6)))
    assert is_uniform(np.bincount(templates_AP[0] * 50 + templates_AP[5], minlength=2500))
    assert is_uniform(np.bincount(templates_AP[4] * 720 + order_P, minlength=36_000))
    table_PC = draw_people(corpus.data)
    pronoun_P = np.tile(table_PC[:, BIOS_COLUMNS.index("pronoun")].astype(int), 10)
    assert is_uniform(np.bincount(templates_AP[2] * 2 + pronoun_P, minlength=100))


def test_orders_of_biod_are_uniform(is_uniform):
    """Each order of the attributes is equally likely."""
    data = DataConfig(kind="bioD", n_people=20_000, K=4, C=1, D=5, L=1, T=9, pools="mini")
    corpus = build_corpus(data)
    renderer = corpus.main.renderer
    assert isinstance(renderer, BioDRenderer)
    chosen = renderer.choose(corpus.main.once_each(np.arange(20_000), 0, seed=0))
    sentences_PK = (chosen.slot_PS[:, 3:-1:2] - 3) // 2
    numbers = sentences_PK @ np.array([64, 16, 4, 1])
    counts = np.unique(numbers, return_counts=True)[1]
    assert len(counts) == 24
    assert is_uniform(counts)

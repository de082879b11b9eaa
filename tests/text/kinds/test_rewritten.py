"""Rewritten biographies in training and in evaluation: texts, tokens and spans are the file's."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from kcap_ray.config.data import DataConfig, FrequencyConfig, MixturePart
from kcap_ray.rewriting.find_values import ATTRIBUTES
from kcap_ray.text.evaluation import evaluation_documents
from kcap_ray.text.kinds.render import biography_records
from kcap_ray.text.kinds.rewritten import RewrittenRenderer
from kcap_ray.text.stream.batches import stream_of
from kcap_ray.text.stream.corpus import Corpus, build_corpus, facts_of
from kcap_ray.text.stream.exposures import Exposures
from kcap_ray.text.tokenizer.bpe import encode
from tests.text.kinds.biography_files import N_PEOPLE, PER_PERSON, SEED, copy_of, texts_of
from tests.tiny import tiny_cell


@pytest.fixture(scope="module")
def corpus(bior_data: DataConfig) -> Corpus:
    """The corpus of these biographies."""
    return build_corpus(bior_data)


def sampled_texts(corpus: Corpus, person: int, exposures: range) -> list[str]:
    """Texts of a person, exposure after exposure."""
    return [
        record["text"][1:]
        for exposure in exposures
        for record in biography_records(corpus.main, [person], exposure, seed=SEED)
    ]


@pytest.mark.slow
def test_1000_exposures_of_40_texts_are_25_passes(bior_data, bior_rows, tmp_path):
    """Each text appears exactly 25 times, and once in each 40 exposures, in changing orders."""
    one = [dict(row) for row in bior_rows if row["person_id"] == 0 and row["use"] == "train"]
    many = [
        {**one[v % len(one)], "variant": v, "text": f"{one[0]['text']} Nr {v}."} for v in range(40)
    ]
    corpus = build_corpus(replace(copy_of(many, tmp_path / "40.parquet", bior_data), n_people=1))
    occurrences = sampled_texts(corpus, 0, range(1000))
    assert Counter(occurrences) == {row["text"]: 25 for row in many}
    passes = [tuple(occurrences[start : start + 40]) for start in range(0, 1000, 40)]
    assert all(len(set(texts)) == 40 for texts in passes)
    assert len(set(passes)) == 25


def test_every_text_for_training_is_sampled_equally_often(corpus, bior_rows):
    """Of all people, in whole passes; what is kept for evaluation is never sampled."""
    n_passes = 3
    for person in (0, 7, N_PEOPLE - 1):
        occurrences = sampled_texts(corpus, person, range(n_passes * PER_PERSON))
        train = texts_of(bior_rows, person, "train")
        assert Counter(occurrences) == dict.fromkeys(train, n_passes)
        assert not set(occurrences) & set(texts_of(bior_rows, person, "eval"))


def test_orders_differ_between_people_and_do_not_depend_on_the_seed_of_training(corpus):
    """Which variant comes when belongs to the data, so replicates see the same ones."""
    renderer = corpus.main.renderer
    people = np.arange(N_PEOPLE)
    places = []
    for seed in (0, 1):
        samples = corpus.main.training(2, people, seed=seed)
        order = np.argsort(samples.people_P)
        places.append(
            (renderer.rows(samples) - renderer.cache.first_train_P[samples.people_P])[order]
        )
    assert places[0].tolist() == places[1].tolist()
    assert len(set(places[0].tolist())) == PER_PERSON


def test_evaluation_says_the_texts_that_are_kept_for_it(corpus, bior_rows):
    """Whatever the seed, for there is one of each person."""
    for record in biography_records(corpus.main, range(N_PEOPLE), 0, "eval", seed=SEED):
        assert [record["text"][1:]] == texts_of(bior_rows, record["person_id"], "eval")


def test_tokens_are_those_of_gpt2(corpus, bior_rows):
    """Of the text with a space in front, and counted lengths are rendered ones."""
    source = corpus.main
    for exposure in range(PER_PERSON):
        samples = source.training(exposure, np.arange(N_PEOPLE), seed=SEED)
        tokens = source.tokens(samples)
        lengths = source.lengths(samples)
        assert lengths.sum() == len(tokens)
        rendered = source.rendered(samples)
        assert rendered.length_P.tolist() == lengths.tolist()
        assert rendered.tokens_L.tolist() == tokens.tolist()
        ends = np.cumsum(lengths)
        assert (tokens[ends - 1] == corpus.vocab.eos).all()
        for biography, stop, length in zip(source.as_text(samples), ends, lengths, strict=True):
            assert biography.gpt2_ids == encode(biography.text)
            occurrences = corpus.vocab.gpt2_ids[tokens[stop - length : stop - 1]]
            assert occurrences.tolist() == biography.gpt2_ids


def test_spans_and_targets_are_first_mentions(corpus, bior_rows):
    """Spans of the file, one character further; tokens that share a character with one count."""
    kept = {row["person_id"]: row for row in bior_rows if row["use"] == "eval"}
    source = corpus.main
    documents = evaluation_documents(
        source, range(N_PEOPLE), SEED, eos=corpus.vocab.eos, max_tokens=512
    )
    for record in biography_records(source, range(N_PEOPLE), 0, "eval", seed=SEED):
        person, text = record["person_id"], record["text"]
        spans = kept[person]["spans"]
        shifted = [{**s, "start": s["start"] + 1, "end": s["end"] + 1} for s in spans]
        assert sorted(record["spans"], key=str) == sorted(shifted, key=str)
        values = {s["attribute"]: text[s["start"] : s["end"]] for s in record["spans"]}
        assert set(values) == set(ATTRIBUTES)
        tokens_T, target_T = documents.tokens_PT[person], documents.target_PT[person]
        for code, attribute in enumerate(("name", *source.renderer.attributes), start=1):
            said = corpus.vocab.decode(tokens_T[target_T == code]).strip()
            assert values[attribute] in said
            assert len(said) <= len(values[attribute]) + 2  # a sign may merge with a value
        assert target_T.max() == 1 + len(source.renderer.attributes)


def test_other_alphabets_are_read_by_the_character(bior_data, bior_rows, tmp_path):
    """Spans are characters, tokens are bytes."""
    row = next(row for row in bior_rows if row["person_id"] == 0 and row["use"] == "train")
    split = row["text"].index(".") + 1
    added = " \u0141\u00f3d\u017a \u00e9t\u00e9."
    spans = [
        {**s, **{side: s[side] + len(added) * (s[side] >= split) for side in ("start", "end")}}
        for s in row["spans"]
    ]
    text = row["text"][:split] + added + row["text"][split:]
    changed = [{**row, "text": text, "spans": spans}]
    corpus = build_corpus(replace(copy_of(changed, tmp_path / "x.parquet", bior_data), n_people=1))
    (record,) = biography_records(corpus.main, [0], 0)
    values = {s["attribute"]: record["text"][s["start"] : s["end"]] for s in record["spans"]}
    assert values == {s["attribute"]: text[s["start"] : s["end"]] for s in spans}
    rendered = corpus.main.rendered(corpus.main.training(0, np.arange(1), seed=0))
    code = 1 + ("name", *corpus.main.renderer.attributes).index("university")
    said = corpus.vocab.decode(rendered.tokens_L[rendered.code_L == code])
    assert values["university"] in said


def test_people_may_have_unequal_numbers_of_texts(bior_data, bior_rows, tmp_path):
    """Each goes through his own; the mean length is that over people."""
    kept = [row for row in bior_rows if row["variant"] < 1 + row["person_id"] % PER_PERSON]
    corpus = build_corpus(copy_of(kept, tmp_path / "unequal.parquet", bior_data))
    for person in range(PER_PERSON):
        occurrences = sampled_texts(corpus, person, range(12))
        train = texts_of(kept, person, "train")
        assert Counter(occurrences) == dict.fromkeys(train, 12 // (1 + person))
    lengths = [
        np.mean([len(encode(" " + text)) + 1 for text in texts_of(kept, person, "train")])
        for person in range(N_PEOPLE)
    ]
    assert facts_of(corpus.data).tokens_per_biography == pytest.approx(np.mean(lengths))


def test_people_with_frequencies_go_through_all_their_texts(bior_data):
    """The samples of a person count, not the exposures."""
    corpus = build_corpus(replace(bior_data, frequency=FrequencyConfig(zipf=1.0)))
    exposures = Exposures(corpus.main, seed=SEED)
    counts: Counter[int] = Counter()
    renderer = corpus.main.renderer
    assert isinstance(renderer, RewrittenRenderer)
    for exposure in range(12):
        sample_P = np.arange(exposures.n_samples(exposure))
        counts.update(renderer.rows(corpus.main.training(exposure, sample_P, seed=SEED)).tolist())
    first = renderer.cache.first_train_P
    for person in range(N_PEOPLE):
        occurrences = [counts[row] for row in range(first[person], first[person + 1])]
        assert max(occurrences) - min(occurrences) <= 1


def test_the_vocabulary_is_that_of_the_whole_file(bior_data):
    """So it does not depend on how many of its people are taken."""
    few = replace(bior_data, n_people=4)
    assert facts_of(few).vocab_size == facts_of(bior_data).vocab_size
    assert build_corpus(few).vocab.size == facts_of(bior_data).vocab_size
    assert facts_of(replace(bior_data, vocab="full")).vocab_size == 50_257


def test_a_stream_is_made_of_the_texts(bior_data, corpus, bior_rows):
    """What is between ends of text is a text of the file; any part can be made alone."""
    cell = tiny_cell(bior_data, seed=SEED)
    windows = stream_of(cell).windows(0, 40)
    said = corpus.vocab.decode(windows[:, :-1].ravel()).split("<|endoftext|>")
    texts = {" " + row["text"] for row in bior_rows if row["use"] == "train"}
    assert len(said) > 10
    assert set(said[:-1]) <= texts
    stream_of.cache_clear()
    assert stream_of(cell).windows(17, 23).tolist() == windows[17:23].tolist()


def test_rewritten_people_may_be_a_part_of_a_mixture(bior_data):
    """All tables share one vocabulary."""
    assert bior_data.file
    part = MixturePart(kind="bioR", n_people=5, pools="mini", file=bior_data.file, weight=0.5)
    corpus = build_corpus(DataConfig(n_people=10, pools="mini", parts=(part,)))
    (record,) = biography_records(corpus.sources[1], [2], 0)
    assert record["text"]

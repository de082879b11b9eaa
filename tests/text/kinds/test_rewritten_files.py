"""Files of rewritten biographies: what is refused, and what is taken of them."""

import logging
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kcap_ray.config.errors import UserError
from kcap_ray.knowledge.pools import load_name_pools, load_value_pools
from kcap_ray.rewriting.texts import annotate, people_table
from kcap_ray.text.kinds.render import biography_records
from kcap_ray.text.kinds.token_cache import open_token_cache
from kcap_ray.text.stream.corpus import build_corpus
from kcap_ray.text.tokenizer.bpe import encode
from tests.text.kinds.biography_files import N_PEOPLE, SEED, copy_of, texts_of


def test_without_a_text_for_evaluation_the_first_for_training_is_taken(
    bior_data, bior_rows, tmp_path, caplog
):
    """And that is said when the file is read first."""
    kept = [row for row in bior_rows if row["use"] == "train" or row["person_id"] != 3]
    with caplog.at_level(logging.WARNING):
        corpus = build_corpus(copy_of(kept, tmp_path / "kept.parquet", bior_data))
    assert "1 people have no text for evaluation" in caplog.text
    (record,) = biography_records(corpus.main, [3], 0, "eval", seed=SEED)
    assert record["text"][1:] == texts_of(bior_rows, 3, "train")[0]


def test_texts_are_tokenized_once(bior_data, bior_rows, tmp_path):
    """A file that was touched, or moved with its arrays, is not read again; a changed one is."""
    moved = copy_of(bior_rows, tmp_path / "a.parquet", bior_data)
    assert moved.file
    file = Path(moved.file)
    arrays = tmp_path / "a.parquet.tokens"
    before = np.array(open_token_cache(file).token_L)
    made = {path: path.stat().st_mtime_ns for path in arrays.glob("*/*")}
    file.touch()
    assert np.array_equal(open_token_cache(file).token_L, before)
    assert {path: path.stat().st_mtime_ns for path in arrays.glob("*/*")} == made
    copy_of(bior_rows[:-1], file, bior_data)
    assert len(open_token_cache(file).token_L) < len(before)
    assert len([path for path in arrays.iterdir() if path.is_dir()]) == 1


def test_wrong_files_are_refused_in_a_line(bior_data, bior_rows, tmp_path):
    """Missing people, other people, no file, no Parquet, no columns, untidy texts."""
    kept = [row for row in bior_rows if row["person_id"] not in (3, 4)]
    wrong = {
        "no text for training of 2 of 30": copy_of(kept, tmp_path / "a.parquet", bior_data),
        "no text for training of 5 of 35": replace(bior_data, n_people=35),
        "begins with": replace(bior_data, seed=1),
        "is not there": replace(bior_data, file=str(tmp_path / "none.parquet")),
        "holds no Parquet": replace(bior_data, file=str(tmp_path / "folder")),
        "has no column .* --texts FILE": copy_of(
            [{"text": "Ann."}], tmp_path / "b.parquet", bior_data
        ),
        "use 'test' of a text": copy_of(
            [{**bior_rows[0], "use": "test"}], tmp_path / "f.parquet", bior_data
        ),
        "single spaces": copy_of(
            [{**bior_rows[0], "text": "Ann  Lee."}], tmp_path / "c.parquet", bior_data
        ),
        "holds no texts": replace(bior_data, file=str(tmp_path / "d.parquet")),
        "is not a Parquet": replace(bior_data, file=str(tmp_path / "e.parquet")),
    }
    pq.write_table(pa.Table.from_pylist(bior_rows).slice(0, 0), tmp_path / "d.parquet")
    (tmp_path / "e.parquet").write_text("Ann")
    (tmp_path / "folder").mkdir()
    for message, given in wrong.items():
        with pytest.raises(UserError, match=message):
            build_corpus(given)


def altered(rows: list[dict[str, Any]], change: Any) -> list[dict[str, Any]]:
    """The rows with their spans changed."""
    return [{**row, "spans": change(row)} for row in rows]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: [], "no span of name, birth_date"),
        (lambda row: [s for s in row["spans"] if s["attribute"] != "major"], "no span of major"),
        (
            lambda row: [{**s, "end": s["end"] + 10_000} for s in row["spans"]],
            "are not in a text of",
        ),
        (
            lambda row: (
                [
                    {**s, "start": s["start"] + 5, "end": s["end"] + 5}
                    for s in row["spans"]
                    if s["attribute"] in ("name", "pronoun")
                ]
                + [s for s in row["spans"] if s["attribute"] not in ("name", "pronoun")]
            ),
            "the name is said to be",
        ),
    ],
    ids=["no spans", "no major", "past the end", "shifted"],
)
def test_texts_that_do_not_say_where_their_values_are_are_refused(
    bior_data, bior_rows, tmp_path, change, message
):
    """Nothing counts as perfectly known because nobody said where it is; the remedy is named."""
    wrong = altered([row for row in bior_rows if row["use"] == "eval"], change)
    others = [row for row in bior_rows if row["use"] == "train"]
    with pytest.raises(UserError, match=message) as caught:
        build_corpus(copy_of(others + wrong, tmp_path / "wrong.parquet", bior_data))
    assert "--texts FILE" in str(caught.value)


def test_a_doubtful_text_for_training_is_never_measured_on(bior_data, bior_rows, tmp_path):
    """Of people without a text for evaluation the first text that will do is taken."""
    train = [dict(row) for row in bior_rows if row["use"] == "train"]
    fit = {row["person_id"] for row in train if row["variant"] and row["doubt"] is None}
    assert len(fit) > N_PEOPLE // 2
    for row in train:
        if row["variant"] == 0 and row["person_id"] in fit:
            row["doubt"] = "part of the major before it"
    corpus = build_corpus(copy_of(train, tmp_path / "doubt.parquet", bior_data))
    doubtful = {row["text"] for row in train if row["doubt"] is not None}
    for record in biography_records(corpus.main, range(N_PEOPLE), 0, "eval", seed=SEED):
        assert record["text"][1:] not in doubtful


def test_a_doubt_of_a_text_for_evaluation_is_named(bior_data, bior_rows, tmp_path):
    """Not as a missing span, and not as a value in front of another."""
    wrong = [{**row, "doubt": "odd" if row["use"] == "eval" else row["doubt"]} for row in bior_rows]
    with pytest.raises(UserError, match=f"{N_PEOPLE} of .* in the first a doubt is noted"):
        build_corpus(copy_of(wrong, tmp_path / "doubt.parquet", bior_data))


def test_values_are_found_in_texts_that_another_program_wrote(bior_data, bior_rows, tmp_path):
    """Without spans, without a last period: kcap knows the people and finds what the rows have."""
    bare = [
        {"person_id": row["person_id"], "text": row["text"].removesuffix("."), "use": row["use"]}
        for row in bior_rows
    ]
    found, tally = annotate(bare, bior_data)
    assert not tally.rejected and tally.n_people_without == 0
    assert [row["text"] for row in found] == [row["text"] for row in bior_rows]
    assert [row["spans"] for row in found] == [row["spans"] for row in bior_rows]
    corpus = build_corpus(copy_of(found, tmp_path / "found.parquet", bior_data))
    assert corpus.vocab.size == build_corpus(bior_data).vocab.size
    table = people_table(bior_data)
    assert len(table) == N_PEOPLE and found[0]["text"].startswith(table[0]["name"])
    with pytest.raises(UserError, match="person_id 99"):
        annotate([{"person_id": 99, "text": "x"}], bior_data)
    with pytest.raises(UserError, match="use 'test' of person 0; write train or eval"):
        annotate([{**bare[0], "person_id": 0, "use": "test"}], bior_data)


def test_the_vocabulary_holds_the_pools(bior_data, bior_rows, tmp_path):
    """Of however few people: the demand counts whole pools, so a model that may leave out what
    none of them has would know a part of it without knowing anybody.
    """
    few = [row for row in bior_rows if row["person_id"] < 2]
    corpus = build_corpus(replace(copy_of(few, tmp_path / "few.parquet", bior_data), n_people=2))
    plain = build_corpus(replace(bior_data, kind="bioS", file=None, n_people=2))
    names, values = load_name_pools(bior_data.pools), load_value_pools(bior_data.pools)
    pools = (names.first, names.middle, names.last, values.cities, values.universities)
    dates = (values.months, values.days, values.years)
    for text in chain(*pools, values.majors, values.employers, *dates):
        ids = encode(f" {text}")
        assert np.isin(ids, corpus.vocab.gpt2_ids).all(), text
        assert np.isin(ids, plain.vocab.gpt2_ids).all(), "as of bioS"

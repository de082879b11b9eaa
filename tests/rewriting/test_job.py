import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from kcap_ray.config.data import KnowledgeConfig
from kcap_ray.config.errors import UserError
from kcap_ray.knowledge.people import draw_people
from kcap_ray.knowledge.person import person_of
from kcap_ray.rewriting.find_values import find_values
from kcap_ray.rewriting.job import RewriteJob, Tally, rewrite_people
from kcap_ray.rewriting.output import RewriteOutput, part_content, summary
from kcap_ray.rewriting.prompts import MAX_WORDS, MIN_WORDS, prompt_of
from tests.grammar_writer import GrammarWriter, write_file

PEOPLE = KnowledgeConfig(n_people=12, pools="mini")


def job(**settings: Any) -> RewriteJob:
    """A small one."""
    plain = {"people": PEOPLE, "model": "m", "model_digest": "d", "per_person": 3, "retries": 20}
    return RewriteJob(**plain | settings)


class Recorder:
    """A writer that keeps what it is asked, and answers as another one does or always the same."""

    def __init__(self, answer: str | None = None, writer: GrammarWriter | None = None) -> None:
        self.asked: list[tuple[str, int]] = []
        self._answer, self._writer = answer, writer

    def write(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        self.asked += zip(prompts, seeds, strict=True)
        if self._answer is not None:
            return [self._answer] * len(prompts)
        assert self._writer
        return self._writer.write(prompts, seeds)


def test_a_prompt_has_all_facts_in_changing_orders_and_words():
    """Full name, both cities, university and major, employer, date, pronoun, number of words."""
    person = person_of("mini", draw_people(PEOPLE)[0])
    prompts = [prompt_of(person, seed) for seed in range(60)]
    words = []
    for prompt in prompts:
        for value in (*person[:1], *person[2:8], person.pronoun.lower()):
            assert value in prompt
        words.append(int(prompt.split(" words")[0].split()[-1]))
    assert all(MIN_WORDS <= n <= MAX_WORDS for n in words)
    assert max(words) - min(words) > 100
    firsts = [prompt.split("\n- ")[1] for prompt in prompts]
    assert len(set(firsts)) == 12  # four facts in three phrasings each
    assert prompt_of(person, 7) == prompts[7]


def test_every_kept_text_says_everything_where_its_spans_are():
    """All variants of all people, and those for evaluation could be measured on."""
    rows, tally = rewrite_people(job(), 0, 12, GrammarWriter(PEOPLE))
    kept = [(row["person_id"], row["use"], row["variant"]) for row in rows]
    wanted = [(p, "train", v) for p in range(12) for v in range(3)]
    wanted += [(p, "eval", 0) for p in range(12)]
    assert sorted(kept) == sorted(wanted)
    table = draw_people(PEOPLE)
    for row in rows:
        found: Any = find_values(row["text"], person_of("mini", table[row["person_id"]]))
        assert [span._asdict() for span in found.spans] == row["spans"]
        assert row["use"] == "train" or found.doubt is None
    assert (tally.n_people, tally.n_wanted, tally.n_given_up) == (12, 48, 0)
    assert tally.n_written == 48 + tally.rejected.total()


def test_rejections_are_counted_by_reason():
    """The rate of a writer that is wrong in a fifth of its answers is about a fifth."""
    _, tally = rewrite_people(job(per_person=30, for_evaluation=0), 0, 12, GrammarWriter(PEOPLE))
    assert 0.14 < tally.rejected_frac < 0.26
    assert set(tally.rejected) == {"no university", "wrong pronoun", "name not first", "empty"}
    assert "work city before the employer" in tally.train_only


def test_rejected_texts_are_asked_for_again_with_new_seeds_and_then_given_up():
    """Each attempt has its own seed; nobody is kept, and that is said."""
    recorder = Recorder("Nothing.")
    rows, tally = rewrite_people(job(retries=2, for_evaluation=0), 0, 2, recorder)
    assert rows == []
    assert len(recorder.asked) == 2 * 3 * 3
    assert len({seed for _, seed in recorder.asked}) == len(recorder.asked)
    assert (tally.n_given_up, tally.n_people_without) == (6, 2)
    assert tally.rejected == {"name not first": 18}
    assert "2 people have no biography for training" in summary(tally)


def test_a_text_does_not_depend_on_who_is_written_of_with_it():
    """Prompt and seed are functions of person, use, variant and attempt."""
    everybody, _ = rewrite_people(job(), 0, 12, GrammarWriter(PEOPLE))
    some, _ = rewrite_people(job(), 5, 7, GrammarWriter(PEOPLE))
    assert some == [row for row in everybody if row["person_id"] in (5, 6)]
    other, _ = rewrite_people(job(seed=1), 5, 7, GrammarWriter(PEOPLE))
    assert not {row["text"] for row in other} & {row["text"] for row in some}


def test_the_output_goes_on_where_it_stopped(tmp_path):
    """Parts that are there are not made again; more people may be added; the rest is made once."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    write_file(PEOPLE, whole, per_person=2)
    few = KnowledgeConfig(n_people=5, pools="mini")
    write_file(few, parts, per_person=2)
    output = RewriteOutput(parts)
    assert output.parts() == [(0, 5)]
    assert output.missing(12, 4) == [(5, 9), (9, 12)]
    assert (output.n_done(12), output.n_done(3)) == (5, 3)
    before = {path: path.stat().st_mtime_ns for path in parts.glob("*.parquet")}
    write_file(PEOPLE, parts, per_person=2)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert output.missing(12, 4) == []
    assert pq.read_table(parts).to_pylist() == pq.read_table(whole).to_pylist()
    assert output.tally() == RewriteOutput(whole).tally()


def test_gaps_between_parts_are_found(tmp_path):
    """Parts may be finished in any order."""
    output = RewriteOutput(tmp_path)
    for start, stop in ((4, 6), (0, 2)):
        output.write_part(start, stop, b"")
    assert output.missing(9, 100) == [(2, 4), (6, 9)]
    assert output.missing(9, 2) == [(2, 4), (6, 8), (8, 9)]
    assert output.missing(5, 2) == [(2, 4)]


@pytest.mark.parametrize(
    ("key", "other"),
    [
        ("model", job(model="other")),
        ("model_digest", job(model_digest="other")),
        ("seed", job(seed=1)),
        ("people_seed", job(people=KnowledgeConfig(n_people=12, pools="mini", seed=1))),
        ("pools", job(people=KnowledgeConfig(n_people=12))),
        ("per_person", job(per_person=4)),
        ("temperature", job(temperature=0.5)),
    ],
)
def test_an_output_that_was_made_otherwise_is_refused(tmp_path, key, other):
    """The message says what differs."""
    output = RewriteOutput(tmp_path / "out")
    output.begin(job())
    output.begin(job(people=KnowledgeConfig(n_people=90, pools="mini")))
    with pytest.raises(UserError, match=f"written with {key} "):
        output.begin(other)


def test_an_output_that_is_something_else_is_refused(tmp_path):
    """A file, or a directory with other files in it."""
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UserError, match="is a file"):
        RewriteOutput(file).begin(job())
    with pytest.raises(UserError, match="other files"):
        RewriteOutput(tmp_path).begin(job())


@pytest.mark.parametrize(
    "settings",
    [{"per_person": 0}, {"retries": -1}, {"top_p": 0}, {"temperature": 0}, {"max_new_tokens": 0}],
)
def test_settings_out_of_range_are_refused(settings):
    """In the words of the command's options."""
    with pytest.raises(UserError, match="--" + next(iter(settings)).replace("_", "-")):
        job(**settings)


def test_a_part_keeps_its_tally(tmp_path: Path):
    """What became of the texts of all parts adds up."""
    output = RewriteOutput(tmp_path / "out")
    output.begin(job())
    total = Tally()
    for start, stop in ((0, 5), (5, 12)):
        rows, tally = rewrite_people(job(), start, stop, GrammarWriter(PEOPLE))
        output.write_part(start, stop, part_content(rows, tally))
        total.add(tally)
    assert output.tally() == total
    assert json.loads((tmp_path / "out" / "_rewrite.json").read_text())["model"] == "m"

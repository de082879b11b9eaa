"""bioS in sentences from a directory."""

from itertools import product
from pathlib import Path

import pytest

from kcap_ray.config.data import DataConfig
from kcap_ray.config.errors import UserError
from kcap_ray.knowledge.pools import load_name_pools, load_value_pools
from kcap_ray.text.kinds.render import biography_records
from kcap_ray.text.kinds.templates import SENTENCES
from kcap_ray.text.stream.corpus import build_corpus, facts_of
from kcap_ray.text.tokenizer import bpe

LINES = {
    "birth_date": ["{subject} was born on {value}.", "{name}'s birthday falls on {birthday}, yes."],
    "birth_city": ["{subject} calls {value} home."],
    "university": ["{subject} went to {value}.", "{subject} left {value}'s halls."],
    "major": ["{name} studied {field}."],
    "employer": ["{subject} worked for {value}."],
    "work_city": ["{subject} worked in {value}.", "{subject} lived near ({value})."],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory of templates, in our notation and in that of the paper's authors."""
    for sentence, lines in LINES.items():
        (tmp_path / f"{sentence}.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def data_of(folder: Path, **settings: object) -> DataConfig:
    """bioS in these templates."""
    return DataConfig(**{"n_people": 50, "pools": "mini", "templates": str(folder), **settings})


def all_tokens() -> set[int]:
    """What GPT-2's tokenizer makes of every sentence, with every name, pronoun and value."""
    names, pools = load_name_pools("mini"), load_value_pools("mini")
    dates = (f"{m} {d}, {y}" for m, d, y in product(pools.months, pools.days, pools.years))
    values = {
        "birth_date": list(dates),
        "birth_city": pools.cities,
        "university": pools.universities,
        "major": pools.majors,
        "employer": pools.employers,
        "work_city": pools.work_cities,
    }
    used = {bpe.EOS}
    for part in (names.first, names.middle, names.last):
        for name in part:
            used.update(bpe.encode(f" {name}"))
    for sentence in SENTENCES:
        for template in LINES[sentence]:
            head, _, rest = template.partition("}")
            before, _, after = rest.partition("{")
            after = after.partition("}")[2]
            assert head in ("{subject", "{name")
            for value in values[sentence]:
                for who in (" He", " She", " Ann"):
                    ids = bpe.encode(f"{who}{before}{value}{after}")
                    used.update(ids[1:] if who == " Ann" else ids)
    return used


@pytest.mark.slow
def test_the_vocabulary_is_what_bpe_makes_of_the_files(folder: Path) -> None:
    """Neither more nor fewer tokens than those of the sentences with every value of the pools."""
    corpus = build_corpus(data_of(folder))
    assert set(corpus.vocab.gpt2_ids.tolist()) == all_tokens()
    assert facts_of(data_of(folder)).vocab_size == len(all_tokens())


def test_biographies_are_said_in_the_templates_of_the_directory(folder: Path) -> None:
    """Each sentence is one of the files', with its own value, and all templates come up."""
    seen = set()
    for kind in ("bioS", "bioS_simple"):
        corpus = build_corpus(data_of(folder, kind=kind))
        for record in biography_records(corpus.main, range(50), 0):
            spans = {s["attribute"]: (s["start"], s["end"]) for s in record["spans"]}
            text, n_sentences = record["text"], 0
            for sentence, lines in LINES.items():
                start, end = spans[sentence]
                for line in lines:
                    head, tail = (
                        line.replace("{name}", "{subject}").split("{subject}")[1].split("{")
                    )
                    tail = tail.partition("}")[2]
                    if text[:start].endswith(head) and text[end:].startswith(tail):
                        seen.add(line)
                        n_sentences += 1
            assert n_sentences >= len(SENTENCES)
            assert bpe.encode(text) == record["token_ids"]
    assert seen == {line for lines in LINES.values() for line in lines}


def test_other_templates_are_other_data(folder: Path) -> None:
    """The name of the directory is part of the data set's, and of the cell's identity."""
    assert data_of(folder).label == f"bioS-mini-{folder.name}"
    assert facts_of(data_of(folder)) != facts_of(DataConfig(n_people=50, pools="mini"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "university.txt is not there"),
        ("", "university.txt is empty"),
        ("{subject} went to {value}", "university.txt, line 1: template"),
        ("{name} went to {value} in {year}.", "university.txt, line 1: template"),
    ],
)
def test_a_directory_that_is_not_right_is_refused(
    folder: Path, change: str | None, message: str
) -> None:
    """The message names the file and the line."""
    path = folder / "university.txt"
    path.unlink()
    if change is not None:
        path.write_text(change)
    with pytest.raises(UserError, match=message):
        facts_of(data_of(folder))

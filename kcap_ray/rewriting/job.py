"""Biographies of people, written by a language model and kept if they say everything.

The output is a directory of Parquet files, a part for each block of people, so that what is done is
never done again. This module knows neither Ray nor any model: it is given a `Writer`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from kcap_ray.config.data import KnowledgeConfig
from kcap_ray.config.errors import check
from kcap_ray.knowledge.people import people_rows
from kcap_ray.knowledge.person import Person, person_of
from kcap_ray.knowledge.randomness import Purpose, stream_key
from kcap_ray.rewriting.find_values import Found, Rejected, find_values
from kcap_ray.rewriting.free_text import clean_text, without_fragment
from kcap_ray.rewriting.prompts import prompt_of

Use = Literal["train", "eval"]
_MAX_SEED = (1 << 63) - 1  # as large as samplers take


class Writer(Protocol):
    """A language model."""

    def write(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        """What it answers to each prompt: a function of the prompt and its seed."""
        ...


@dataclass(frozen=True, kw_only=True)
class RewriteJob:
    """Which biographies are wanted, and how they are sampled."""

    people: KnowledgeConfig
    """The table of people."""
    model: str
    """Name of the model's directory."""
    model_digest: str
    """Digest of what is in it."""
    per_person: int = 40
    """Biographies per person for training."""
    for_evaluation: int = 1
    """Biographies per person that knowledge is measured on, and that training never sees."""
    retries: int = 5
    """How often a rejected biography is asked for again, each time with a new seed."""
    max_new_tokens: int = 400
    """Tokens of the model after which it is stopped."""
    temperature: float = 1.0
    """Temperature of sampling."""
    top_p: float = 0.95
    """Share of the probability that is sampled from."""
    seed: int = 0
    """Seed of the prompts and of sampling."""

    def __post_init__(self) -> None:
        check(self.per_person >= 1, f"--per-person {self.per_person}: at least 1 is needed")
        check(self.for_evaluation >= 0, f"--for-evaluation {self.for_evaluation}: at least 0")
        check(self.retries >= 0, f"--retries {self.retries}: at least 0")
        check(self.max_new_tokens >= 1, f"--max-new-tokens {self.max_new_tokens}: at least 1")
        check(self.temperature > 0, f"--temperature {self.temperature}: it must be positive")
        check(0 < self.top_p <= 1, f"--top-p {self.top_p}: above 0 and at most 1")

    def identity(self) -> dict[str, Any]:
        """All that decides what is written about a person; the number of people does not."""
        rest = {key: value for key, value in asdict(self).items() if key != "people"}
        return {"pools": self.people.pools, "people_seed": self.people.seed, **rest}

    def seed_of(self, person: int, use: Use, variant: int, attempt: int) -> int:
        """Seed of one prompt and of the answer to it."""
        numbers = (person, use == "eval", variant, attempt)
        return stream_key(self.seed, Purpose.REWRITING, *numbers) & _MAX_SEED


@dataclass(kw_only=True)
class Tally:
    """What became of the texts."""

    n_people: int = 0
    n_wanted: int = 0
    """Biographies that were asked for, once or more often."""
    n_written: int = 0
    """Answers of the model."""
    n_given_up: int = 0
    """Biographies that no attempt brought."""
    n_people_without: int = 0
    """People who have none for training."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Answers that were of no use, by reason."""
    train_only: Counter[str] = field(default_factory=Counter)
    """Biographies for training that knowledge could not be measured on, by reason."""

    @property
    def rejected_frac(self) -> float:
        """Share of the answers that were of no use."""
        return self.rejected.total() / max(self.n_written, 1)

    def add(self, other: "Tally") -> None:
        """Count what another one counted."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


class _Wanted(NamedTuple):
    person_id: int
    person: Person
    use: Use
    variant: int


def rewrite_people(
    job: RewriteJob, start: int, stop: int, writer: Writer
) -> tuple[list[dict[str, Any]], Tally]:
    """Biographies of people start..stop-1 as rows of the output, and what became of all texts."""
    wanted = list(_wanted(job, start, stop))
    tally = Tally(n_people=stop - start, n_wanted=len(wanted))
    rows: list[dict[str, Any]] = []
    for attempt in range(1 + job.retries):
        if not wanted:
            break
        seeds = [job.seed_of(w.person_id, w.use, w.variant, attempt) for w in wanted]
        prompts = [prompt_of(w.person, seed) for w, seed in zip(wanted, seeds, strict=True)]
        answers = writer.write(prompts, seeds)
        tally.n_written += len(answers)
        failed = []
        for one, seed, answer in zip(wanted, seeds, answers, strict=True):
            text = without_fragment(clean_text(answer))
            found = _judged(text, one, tally)
            if found is None:
                failed.append(one)
            else:
                rows.append(_row(one, text, found, seed, job.model))
        wanted = failed
    tally.n_given_up = len(wanted)
    trained = {row["person_id"] for row in rows if row["use"] == "train"}
    tally.n_people_without = tally.n_people - len(trained)
    rows.sort(key=lambda row: (row["person_id"], row["use"] == "eval", row["variant"]))
    return rows, tally


def _wanted(job: RewriteJob, start: int, stop: int) -> Iterator[_Wanted]:
    table_PC = people_rows(job.people, np.arange(start, stop))
    for person_id, values_C in enumerate(table_PC, start=start):
        person = person_of(job.people.pools, values_C)
        for variant in range(job.per_person):
            yield _Wanted(person_id, person, "train", variant)
        for variant in range(job.for_evaluation):
            yield _Wanted(person_id, person, "eval", variant)


def _judged(text: str, wanted: _Wanted, tally: Tally) -> Found | None:
    """Where the values are; None, with the reason counted, if the text is of no use."""
    found = find_values(text, wanted.person)
    if isinstance(found, Found) and found.doubt and wanted.use == "eval":
        found = Rejected(f"for evaluation: {found.doubt}")
    if isinstance(found, Rejected):
        tally.rejected[found.reason] += 1
        return None
    if found.doubt:
        tally.train_only[found.doubt] += 1
    return found


def _row(wanted: _Wanted, text: str, found: Found, seed: int, model: str) -> dict[str, Any]:
    return {
        "person_id": wanted.person_id,
        "variant": wanted.variant,
        "use": wanted.use,
        "text": text,
        "spans": [span._asdict() for span in found.spans],
        "doubt": found.doubt,
        "prompt_seed": seed,
        "model": model,
    }

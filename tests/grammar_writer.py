"""A grammar in place of a language model.

    python -m tests.grammar_writer sweeps/bior-mini.yaml bior.parquet --per-person 4

writes a file for `data.file` of a small bioR run.
"""

import argparse
import random
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from kcap_ray.config.data import KnowledgeConfig
from kcap_ray.knowledge.people import draw_people
from kcap_ray.knowledge.person import person_of
from kcap_ray.planning.sweep import load_sweep
from kcap_ray.rewriting.job import RewriteJob, rewrite_people
from kcap_ray.rewriting.output import RewriteOutput, part_content, summary
from tests.grammar import BAD, biography


class GrammarWriter:
    """A `Writer` that knows the people by the names in the prompts.

    Some of its answers leave a value out, take the wrong pronoun or begin with something else.
    """

    def __init__(self, people: KnowledgeConfig, *, bad_frac: float = 0.2) -> None:
        table_PC = draw_people(people)
        everybody = [person_of(people.pools, values_C) for values_C in table_PC]
        self._people = {person.name: person for person in everybody}
        self._bad_frac = bad_frac

    def write(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        """A biography for each prompt: a function of the prompt and its seed."""
        return [self._answer(prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)]

    def _answer(self, prompt: str, seed: int) -> str:
        match = re.search(r"biography of (.+?) in about", prompt)
        assert match, "the prompt says whose biography is wanted"
        person, rng = self._people[match[1]], random.Random(seed)
        if rng.random() >= self._bad_frac:
            return biography(person, rng).answer
        return rng.choice(BAD)(person, rng)


def write_file(
    people: KnowledgeConfig, out: Path, *, per_person: int = 4, for_evaluation: int = 1
) -> str:
    """Write `out` as `kcap rewrite` would with a model that writes by the grammar; the summary."""
    job = RewriteJob(
        people=people,
        model="grammar",
        model_digest="",
        per_person=per_person,
        for_evaluation=for_evaluation,
        retries=20,
    )
    output = RewriteOutput(out)
    fill(output, job)
    return summary(output.tally())


def fill(output: RewriteOutput, job: RewriteJob) -> None:
    """Write the parts that are missing."""
    output.begin(job)
    writer = GrammarWriter(job.people)
    for start, stop in output.missing(job.people.n_people, 100):
        output.write_part(start, stop, part_content(*rewrite_people(job, start, stop, writer)))


def main(arguments: Sequence[str]) -> None:
    """The command that is described above."""
    parser = argparse.ArgumentParser(prog="python -m tests.grammar_writer")
    parser.add_argument("sweep")
    parser.add_argument("out", type=Path)
    parser.add_argument("--per-person", type=int, default=4)
    given = parser.parse_args(arguments)
    tables = [cell.data for cell in load_sweep(given.sweep).cells if cell.data.kind == "bioR"]
    people = max(tables, key=lambda table: table.n_people)
    print(write_file(people, given.out, per_person=given.per_person))


if __name__ == "__main__":
    main(sys.argv[1:])

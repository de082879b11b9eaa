"""What a language model is asked for: a biography of one person, with all that is known of him or
her.

After the description of bioR in arXiv 2404.05405, section 2.2; the words are kcap's own.
"""

import numpy as np

from kcap_ray.knowledge.person import Person
from kcap_ray.knowledge.randomness import below, hash64, permutation

MIN_WORDS, MAX_WORDS = 50, 200
"""A biography is asked for of a random number of words between these."""

_FACTS = (
    (
        "majored in {major} at {university}",
        "studied at {university}, in the field of {major}",
        "{university} graduate with a degree in {major}",
    ),
    ("born in {birth_city}", "birthplace: {birth_city}", "comes from {birth_city}"),
    (
        "works for {employer} in {work_city}",
        "job at {employer}, which is in {work_city}",
        "employee of {employer} ({work_city})",
    ),
    ("born on {date_text}", "date of birth: {date_text}", "birthday: {date_text}"),
)
"""Each fact in several fragments, one of which a prompt has."""

_TASK = """\
Write a biography of {name} in about {n_words} words, from these facts alone:
{facts}
Rules:
- The first words are the full name, {name}; after that write "{he}".
- Say every fact once, and keep names, places and numbers exactly as they are given.
- Say where {name} works before you say in which city that is.
- Be inventive in how you say it, and put the facts in whatever order reads well.
- Answer with the biography only: one paragraph, no heading, no list, nothing else that is known.
"""


def prompt_of(person: Person, seed: int) -> str:
    """The prompt; order, phrasing and number of words are functions of the seed."""
    # The first numbers of this stream make the permutation.
    random = hash64(seed, len(_FACTS) + np.arange(1 + len(_FACTS)))
    n_words = MIN_WORDS + int(below(random[:1], MAX_WORDS + 1 - MIN_WORDS)[0])
    fragments = []
    for fact in permutation(seed, len(_FACTS)).tolist():
        phrasings = _FACTS[fact]
        chosen = phrasings[int(below(random[fact + 1 : fact + 2], len(phrasings))[0])]
        fragments.append("- " + chosen.format(**person._asdict()))
    return _TASK.format(
        name=person.name, n_words=n_words, facts="\n".join(fragments), he=person.pronoun.lower()
    )

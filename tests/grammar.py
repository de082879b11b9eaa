"""Varied biographies in free text, with the places of all values: as a language model writes."""

import random
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from kcap_ray.knowledge.person import Person
from kcap_ray.rewriting.find_dates import MONTHS
from kcap_ray.text.kinds.renderer import Span
from kcap_ray.text.tokenizer.states import STATES


class Written(NamedTuple):
    """A biography, and what is known of it."""

    answer: str
    """As a language model would give it: with typographic signs and notes of its own."""
    text: str
    """The same made tidy."""
    spans: tuple[Span, ...]
    """First mentions in the tidy text, in its order."""
    is_employer_first: bool
    """Whether the employer is named before the work city."""


def date_forms(person: Person) -> list[str]:
    """The birth date in the forms that free text has."""
    _, day, year = person.birth_date
    number = person.birth_date.month
    month = MONTHS[number - 1]
    ordinal = f"{day}{'th' if 10 < day < 14 else {1: 'st', 2: 'nd', 3: 'rd'}.get(day % 10, 'th')}"
    return [
        f"{month} {day}, {year}",
        f"{day} {month} {year}",
        f"{ordinal} of {month}, {year}",
        f"{ordinal} day of {month} in the year {year}",
        f"{month} {ordinal}, {year}",
        f"{month if number == 5 else month[:3] + '.'} {ordinal}, {year}",
        f"{month[:3]} {day}, {year}",
        f"{month} {day} of {year}",
        f"{year}-{number:02}-{day:02}",
        f"{number:02}/{day:02}/{year}",
    ]


def _city_forms(city: str) -> list[str]:
    name, _, code = city.rpartition(", ")
    forms = [city]
    if code in STATES:
        forms += [f"{name}, {STATES[code]}", f"{name}, {code[0]}.{code[1]}."]
    return forms


def _employer_forms(employer: str) -> list[str]:
    forms = [employer, employer]
    if " & " in employer:
        forms.append(employer.replace(" & ", " and "))
    if employer.startswith("The "):
        forms += ["the " + employer[4:], employer[4:]]
    return forms


# A clause says facts of a person whose pronoun stands before it. [x] is a value; {he} a pronoun.
_CLAUSES: dict[str, tuple[str, ...]] = {
    "born": (
        "was born in [birth_city] on [birth_date]",
        "was born on [birth_date] in [birth_city]",
        "came into the world in [birth_city], on [birth_date],",
        "hails from [birth_city], with a birth certificate of [birth_date]",
        "grew up in [birth_city] and keeps every [birth_date] card from family",
        "has [birth_date] in every passport and [birth_city] as place of birth",
    ),
    "studied": (
        "studied [major] at [university]",
        "holds a degree in [major] from [university]",
        "attended [university] (with a focus on [major])",
        "went to [university], where Prof. Ito taught [major]",
        "is known at [university] for work in [major]",
        "chose [major] and never regretted it; [university] was the place",
    ),
    "works": (
        "works for [employer] in [work_city]",
        "joined [employer]'s team in [work_city]",
        "is employed by [employer], whose doors are in [work_city]",
        "moved to [work_city] to work for [employer]",
        "earns a living at [employer] ([work_city])",
        "found a home in [work_city], thanks to [employer]",
    ),
}
_WHOLE = {
    "born": (
        "[birth_city] is where {he} was born, on [birth_date].",
        "Born on [birth_date], {he} still calls [birth_city] home.",
    ),
    "studied": (
        "[university] gave {him} a degree in [major].",
        "With [major] as {his} subject, {he} left [university] at the top of the class.",
    ),
    "works": (
        "[employer] is where {he} works, in [work_city].",
        "[employer]'s offices in [work_city] are {his} daily destination.",
        "Today {his} desk is at [employer] in [work_city].",
    ),
}
_LINKS = ("{He} {}.", "{He} also {}.", "After some time, {he} {}.", "Friends say that {he} {}.")
_PAIRS = ("{He} {}, and {he} {}.", "{He} {}; moreover, {he} {}.", "While {he} {}, {he} {}.")
_FILLERS = (
    "Friends such as Dr. Lund praise {his} patience, e.g. with small dogs.",
    'One of them calls {him} "a marvel," and who would disagree?',
    "Does {he} ever sleep? Hardly!",
    "At 7 a.m. {he} is already up.",
    "{He} reads a lot.",
)
_LATER = (
    "Life in [work_city] suits {him}, and [employer] is glad of it.",
    "[university] still writes to {him}.",
    "{He} returns to [birth_city] in summer.",
)
_NOTES = ("", "", " (97 words)", "\n\n(120 words)", "\n\nWord count: 88")


def biography(person: Person, rng: random.Random) -> Written:
    """A random biography of a person."""
    marked = _marked(rng)
    he = person.pronoun
    he_forms = {"He": ("He", "he", "him", "his"), "She": ("She", "she", "her", "her")}[he]
    for word, form in zip(("{He}", "{he}", "{him}", "{his}"), he_forms, strict=True):
        marked = marked.replace(word, form)
    text, spans = _filled(f"[name] {marked}", person, rng)
    found = re.search(rf"\b(?:{'|'.join(sorted(set(he_forms)))})\b", _without(text, spans))
    assert found, "every biography says the pronoun"
    spans.append(Span("pronoun", *found.span()))
    spans.sort(key=lambda span: span.start)
    starts = {span.attribute: span.start for span in spans}
    return Written(
        answer=_untidy(text, rng) + rng.choice(_NOTES),
        text=text,
        spans=tuple(spans),
        is_employer_first=starts["employer"] < starts["work_city"],
    )


def _marked(rng: random.Random) -> str:
    """Sentences with marks for values and pronouns; the name stands before the first."""
    facts = list(_CLAUSES)
    rng.shuffle(facts)
    clauses = {fact: rng.choice(_CLAUSES[fact]) for fact in facts}
    sentences = [clauses[facts[0]] + "."]
    if rng.random() < 0.3:
        sentences.append(_fill(rng.choice(_PAIRS), clauses[facts[1]], clauses[facts[2]]))
    else:
        for fact in facts[1:]:
            link = _fill(rng.choice(_LINKS), clauses[fact])
            sentences.append(rng.choice((link, rng.choice(_WHOLE[fact]))))
    for filler in rng.sample(_FILLERS, rng.randrange(3)):
        sentences.insert(rng.randrange(1, len(sentences) + 1), filler)
    later = rng.choice((*_LATER, *_FILLERS))
    return " ".join([*sentences, later]).replace(",.", ".").replace(",;", ";").replace(",,", ",")


def _fill(link: str, *clauses: str) -> str:
    for clause in clauses:
        link = link.replace("{}", clause, 1)
    return link


def _filled(marked: str, person: Person, rng: random.Random) -> tuple[str, list[Span]]:
    """The text with values in the place of their marks, and where each is said first."""
    text, spans = "", {}
    for part in re.split(r"(\[\w+\])", marked):
        if not part.startswith("["):
            text += (
                part.removeprefix(".") if text.endswith(".") and not text.endswith("..") else part
            )
            continue
        attribute = part[1:-1]
        value = _value(attribute, person, rng)
        spans.setdefault(attribute, Span(attribute, len(text), len(text) + len(value)))
        text += value
    return text, list(spans.values())


def _value(attribute: str, person: Person, rng: random.Random) -> str:
    if attribute == "birth_date":
        return rng.choice(date_forms(person))
    value = getattr(person, attribute)
    if attribute in ("birth_city", "work_city"):
        return rng.choice(_city_forms(value))
    if attribute == "employer":
        return rng.choice(_employer_forms(value))
    if attribute == "major":
        return rng.choice((value, value, value.lower()))
    return value


def _without(text: str, spans: Sequence[Span]) -> str:
    """The text with something of equal length in the place of what is in the spans."""
    for _, start, end in spans:
        text = text[:start] + "_" * (end - start) + text[end:]
    return text


def _untidy(text: str, rng: random.Random) -> str:
    if rng.random() < 0.5:
        text = text.replace("'", "\u2019")
        text = re.sub(r'"([^"]*)"', "\u201c\\1\u201d", text)
    return text.replace(". ", rng.choice((". ", ".  ", ".\n")))


def _without_a_value(person: Person, rng: random.Random) -> str:
    return biography(person, rng).text.replace(person.university, "a famous place")


def _with_wrong_pronoun(person: Person, rng: random.Random) -> str:
    other = {"He": "She", "She": "He"}[person.pronoun]
    return biography(person._replace(pronoun=other), rng).answer


def _with_another_beginning(person: Person, rng: random.Random) -> str:
    return "Meet " + biography(person, rng).answer


BAD: tuple[Callable[[Person, random.Random], str], ...] = (
    _without_a_value,
    _with_wrong_pronoun,
    _with_another_beginning,
    lambda person, rng: "",
)
"""Ways in which an answer may be of no use."""

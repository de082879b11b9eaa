"""Where a free text holds the values of a person, and whether knowledge can be measured on it.

Only the first mention of a value counts: once it has been said, saying it again takes no knowledge.
So the text must not tell a value, or much of it, before that mention.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from kcap_ray.knowledge.person import Person
from kcap_ray.rewriting.find_dates import MONTHS, find_dates
from kcap_ray.rewriting.free_text import plain_signs, sentence_ends
from kcap_ray.rewriting.value_patterns import telling_words, value_pattern
from kcap_ray.text.kinds.renderer import Span

ATTRIBUTES = (
    "name",
    "birth_date",
    "birth_city",
    "university",
    "major",
    "employer",
    "work_city",
    "pronoun",
)
"""What `find_values` finds."""
_HINTED = ("birth_date", "birth_city", "university", "major", "employer")
_SPELLED = ("name", "birth_city", "university", "major", "employer", "work_city")

_FORMS_OF = {"He": "he|him|his|himself", "She": "she|her|hers|herself"}
_PRONOUN = {
    pronoun: re.compile(rf"\b(?:{forms})\b", re.IGNORECASE) for pronoun, forms in _FORMS_OF.items()
}
_OTHER = {"He": "She", "She": "He"}
# Said before the pronoun, they tell which it will be.
_GENDERED = re.compile(
    r"\b(?:Mr|Mrs|Ms|Miss|Sir|Madam|man|woman|men|women|gentleman|lady|boy|girl|son|daughter|"
    r"father|mother|husband|wife|brother|sister|businessman|businesswoman|alumnus|alumna)\b"
)
_OF_BIRTH = re.compile(r"\b(?:born|birth\w*|native|hometown|raised|grew up|hails?|roots)\b", re.I)

_Place = tuple[int, int]


class Found(NamedTuple):
    """A text that says everything."""

    spans: tuple[Span, ...]
    """First mentions, in the order of the text."""
    doubt: str | None = None
    """Why knowledge cannot be measured on it, though it is good for training; None if it can."""


class Rejected(NamedTuple):
    """A text that does not."""

    reason: str


def find_values(text: str, person: Person) -> Found | Rejected:
    """The first mention of each value in a tidy text (see `free_text.clean_text`)."""
    if not text:
        return Rejected("empty")
    plain = without_accents(text)
    if not re.match(re.escape(_values(person)["name"]) + r"(?!\w)", plain):
        return Rejected("name not first")
    mentions = _mentions(plain, person)
    missing = [attribute for attribute, places in mentions.items() if not places]
    if missing:
        return Rejected(f"no {missing[0]}")
    places = {attribute: found[0] for attribute, found in mentions.items()}
    taken = [place for found in mentions.values() for place in found]
    pronoun = _pronoun(plain, person.pronoun, taken)
    if isinstance(pronoun, Rejected):
        return pronoun
    doubt = _tell_cities_apart(plain, person, places, mentions)
    doubt = doubt or _doubt(plain, person, places, taken)
    if _GENDERED.search(plain, 0, pronoun[0]):
        doubt = doubt or "gender before the pronoun"
    spans = [Span(attribute, *place) for attribute, place in places.items()]
    spans.append(Span("pronoun", *pronoun))
    return Found(tuple(sorted(spans, key=lambda span: span.start)), doubt)


@lru_cache(1 << 14)
def without_accents(text: str) -> str:
    """The text with its letters bare; as many characters as before."""
    if text.isascii():
        return text
    return "".join(_bare(character) for character in text)


def _bare(character: str) -> str:
    base = unicodedata.normalize("NFD", character)[0]
    return base if base.isascii() and base.isalpha() else character


def _values(person: Person) -> dict[str, str]:
    """Values that are sought as they are spelled; the date is not among them."""
    # As `clean_text` leaves the texts.
    plain = {attribute: plain_signs(getattr(person, attribute)) for attribute in _SPELLED}
    return {attribute: without_accents(value) for attribute, value in plain.items()}


def _mentions(text: str, person: Person) -> dict[str, list[_Place]]:
    """All mentions of each value, in order; no mention lies in that of a longer value."""
    found: dict[str, list[_Place]] = {}
    values = _values(person)
    dates = find_dates(text)
    found["birth_date"] = sorted((a, b) for date, a, b in dates if date == person.birth_date)
    taken = list(found["birth_date"])
    by_value: dict[str, list[_Place]] = {}
    for value in sorted(values.values(), key=len, reverse=True):
        if value not in by_value:
            is_major = value == values["major"]
            by_value[value] = list(_free(value, text, taken, any_case=is_major))
            taken += by_value[value]
    found |= {attribute: by_value[value] for attribute, value in values.items()}
    return {attribute: found[attribute] for attribute in ATTRIBUTES[:-1]}


def _free(value: str, text: str, taken: list[_Place], *, any_case: bool) -> Iterator[_Place]:
    """Mentions of a value outside of the places that are taken.

    A value of any case is written as in the pools if it is so anywhere: of `a history of winning
    ... majored in History` the second is meant.
    """
    for cased in (False, True) if any_case else (False,):
        matches = value_pattern(value, any_case=cased).finditer(text)
        places = [match.span() for match in matches if not _overlaps(match.span(), taken)]
        if places:
            yield from places
            return


def _overlaps(place: _Place, taken: list[_Place]) -> bool:
    return any(place[0] < end and start < place[1] for start, end in taken)


def _pronoun(text: str, pronoun: str, taken: list[_Place]) -> _Place | Rejected:
    """The first pronoun that is none of the values."""
    for found in _PRONOUN[_OTHER[pronoun]].finditer(text):
        if not _overlaps(found.span(), taken):
            return Rejected("wrong pronoun")
    for found in _PRONOUN[pronoun].finditer(text):
        if not _overlaps(found.span(), taken):
            return found.span()
    return Rejected("no pronoun")


def _tell_cities_apart(
    text: str, person: Person, places: dict[str, _Place], mentions: dict[str, list[_Place]]
) -> str | None:
    """Doubt where a person works in the city of birth; `places` gets the two mentions.

    The first is that of the birth if its sentence speaks of birth and not of the employer.
    """
    if person.birth_city != person.work_city:
        return None
    found = mentions["birth_city"]
    if len(found) == 1:
        del places["work_city"]
        return "one mention of the city of birth and work"
    places["work_city"] = found[1]
    (start, end), employer = found[0], places["employer"][0]
    ends = [0, *sentence_ends(text), len(text)]
    sentence = text[max(e for e in ends if e <= start) : min(e for e in ends if e >= end)]
    is_of_birth = _OF_BIRTH.search(sentence) and not value_pattern(person.employer).search(sentence)
    if is_of_birth and end <= employer < found[1][0]:
        return None
    return "city of birth and work in one"


def _doubt(text: str, person: Person, places: dict[str, _Place], taken: list[_Place]) -> str | None:
    """Why a value of the text is known before it is said; None if none is."""
    if "work_city" in places and places["work_city"] < places["employer"]:
        return "work city before the employer"
    if len(set(places.values())) < len(places):
        return "one mention of two values"
    if person.employer in person.name.split():
        return "employer in the name"
    hints = {attribute: telling_words(value) for attribute, value in _values(person).items()}
    hints["birth_date"] = (MONTHS[person.birth_date.month - 1], str(person.birth_date.year))
    hints["employer"] += hints["work_city"]
    for attribute in _HINTED:
        is_major = attribute == "major"
        for place in _words_before(text, places[attribute][0], hints[attribute], any_case=is_major):
            if not _overlaps(place, taken):
                return f"part of the {attribute} before it"
    return None


def _words_before(
    text: str, stop: int, words: tuple[str, ...], *, any_case: bool
) -> Iterator[_Place]:
    if words:
        flags = re.IGNORECASE if any_case else re.NOFLAG
        any_word = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)", flags)
        yield from (match.span() for match in any_word.finditer(text, 0, stop))

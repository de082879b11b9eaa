"""How the values of the pools are spelled in free text, and which words give them away."""

import re
from functools import lru_cache

from kcap_ray.text.tokenizer.states import STATES

_CACHED = 1 << 12  # more values than the built-in pools have
_SAME = {
    "&": ("&", "and", "And"),
    "and": ("and", "&"),
    "Saint": ("Saint", "St.", "St"),
    "St.": ("St.", "St", "Saint"),
    "Inc.": ("Inc.", "Inc", "Incorporated"),
    "Co.": ("Co.", "Co", "Company"),
    "Corp.": ("Corp.", "Corp", "Corporation"),
    "Ltd.": ("Ltd.", "Ltd", "Limited"),
    "Univ.": ("Univ.", "University"),
    "The": ("The", "the"),
    "the": ("the", "The"),
}
"""Words that are written in several ways, the first as in the pools."""
_CITY = re.compile(r"(.+), ([A-Z]{2})")
_WORD = re.compile(r"[^\W_][\w']*")
# Words of so many values that they give none away.
_COMMON = re.compile(
    r"the|and|for|university|college|institute|school|state|technology|science|company|corporation|"
    r"group|national|american|international|services",
    re.IGNORECASE,
)
_MIN_TELLING_LETTERS = 3


@lru_cache(_CACHED)
def value_pattern(value: str, *, any_case: bool = False) -> re.Pattern[str]:
    """What a value looks like in free text.

    `Portland, OR` is also written Portland, Oregon; `Johnson & Johnson` with `and`; `Acme Inc.`
    without the period; `C.H. Robinson` with a space between the initials; `University of
    Wisconsin, Madison` with a hyphen; `The Home Depot` with a small letter or without its article;
    `eBay` with a capital where it begins a sentence. A text in which accents were taken off must be
    given, and the value loses its own.
    """
    city = _CITY.fullmatch(value)
    state = STATES.get(city[2]) if city else None
    if city and state:
        first, second = city[2]
        code = rf"{first}{second}|{first}\.{second}\.?"
        body = _words(city[1]) + rf"(?:,\s?|\s)(?:{_words(state)}|{code})"
    else:
        body = _words(value)
    flags = re.IGNORECASE if any_case else re.NOFLAG
    # A period of an abbreviation may close the value; a letter or digit may not go on behind it.
    return re.compile(rf"(?<![\w&]){body}(?!\w)", flags)


def _words(value: str) -> str:
    words = value.split(" ")
    optional = ""
    if words[0] in ("The", "the") and len(words) > 1:
        optional, words = r"(?:[Tt]he\s)?", words[1:]
    first, *others = words
    return optional + r"[\s-]".join([_word(first, is_first=not optional), *map(_word, others)])


def _word(word: str, *, is_first: bool = False) -> str:
    if word in _SAME:
        return "(?:" + "|".join(map(re.escape, _SAME[word])) + ")"
    stem, comma = (word[:-1], r"(?:,|\sat|\sin)?") if word[-1:] == "," else (word, "")
    body = re.escape(stem).replace(r"\-", r"[-\s]")
    body = re.sub(r"\\\.(?=[A-Za-z])", r"\\.\\s?", body)  # initials: C.H. and C. H.
    if is_first and stem[:1].islower():
        body = f"[{stem[0]}{stem[0].upper()}]" + re.escape(stem[1:])
    return body + comma


@lru_cache(_CACHED)
def telling_words(value: str) -> tuple[str, ...]:
    """Words that tell much of a value where they stand alone; of a city, its name and state."""
    city = _CITY.fullmatch(value)
    words = _WORD.findall(city[1] if city else value)
    distinctive = [
        word for word in words if len(word) >= _MIN_TELLING_LETTERS and not _COMMON.fullmatch(word)
    ]
    if city and city[2] in STATES:
        distinctive.append(STATES[city[2]])
    return tuple(distinctive)

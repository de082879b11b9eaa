"""Text as language models write it: made tidy, and cut into sentences."""

import re
import unicodedata

# Typewriter signs for typographic ones; bioS knows no others.
_ASCII = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u00b4", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-"),
        "\u2014": " - ",
        "\u2026": "...",
        "\u200b": "",
        "\ufeff": "",
    }
)
# Models that were asked for a number of words like to say that they obeyed.
_WORD_COUNT = re.compile(r"[(\[]\s*(?:word count:?\s*)?(?:about\s+)?\d+\s+words?\s*[)\]]", re.I)
_COUNT_AT_THE_END = re.compile(r"\s*(?:total\s+)?word count:?\s*\d+(?:\s*words?)?\.?\s*$", re.I)
_HEADING = re.compile(r"^[^\n.!?]{0,100}:\s*\n")

_NEVER_LAST = re.compile(
    r"Mr|Mrs|Ms|Dr|Prof|St|Mt|Ft|Rev|Gen|Col|Sgt|Capt|Lt|Gov|Sen|No|vs|"
    r"Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec"
)
"""Abbreviations that end no sentence."""
_MAYBE_LAST = re.compile(
    r"Inc|Corp|Co|Ltd|LLC|Bros|Jr|Sr|Univ|Dept|Est|Ave|Assoc|Intl|etc|"
    r"[A-Za-z]|\S*\.\S*"  # initials
)
"""Abbreviations that a sentence may end with: it does before one of `_STARTERS`."""
_STARTERS = re.compile(
    r"He|She|His|Her|The|This|That|It|In|At|On|As|After|Before|Since|During|While|When|With|Born|"
    r"Today|Currently|Now|And|But|Later|From|Having|Working|Raised|By|For|There"
)
_END = re.compile(r"(?P<word>\S*?)[.!?]+[\"')\]]*(?=\s|$)")


def plain_signs(text: str) -> str:
    """The text in single spaces, with typewriter signs for typographic ones."""
    return " ".join(unicodedata.normalize("NFC", text).translate(_ASCII).split())


def clean_text(text: str) -> str:
    """The biography alone: one line, single spaces, ASCII quotes, no heading and no word count."""
    text = unicodedata.normalize("NFC", text).translate(_ASCII).strip()
    text = _HEADING.sub("", text)
    text = _WORD_COUNT.sub(" ", text)
    text = " ".join(_COUNT_AT_THE_END.sub("", text).split())
    if len(text) > 1 and text[0] == text[-1] == '"' and '"' not in text[1:-1]:
        text = text[1:-1].strip()
    return text


def without_fragment(text: str) -> str:
    """The text up to its last whole sentence; empty if there is none.

    Models stop in the middle of a sentence when they run out of tokens.
    """
    ends = sentence_ends(text)
    return text[: ends[-1]] if ends else ""


def sentence_ends(text: str) -> list[int]:
    """Character after each sentence; periods of abbreviations and initials end none.

    `At Acme Inc. in Rome. He` has one end, behind `Rome.`.
    """
    ends = []
    for match in _END.finditer(text):
        following = text[match.end() :].split(maxsplit=1)
        if not following or _ends_before(match, following[0]):
            ends.append(match.end())
    return ends


def _ends_before(match: re.Match[str], following: str) -> bool:
    """Whether a sentence ends with this match, where `following` is the next word."""
    word = match["word"].lstrip("\"'([")
    if not match[0].startswith(match["word"] + "."):
        return True
    if _NEVER_LAST.fullmatch(word):
        return False
    if _MAYBE_LAST.fullmatch(word):
        return _STARTERS.fullmatch(following.strip("\"',")) is not None
    return not following[0].islower()

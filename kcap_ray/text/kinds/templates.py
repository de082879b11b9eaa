"""Sentence templates: text files, one template per line."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

SENTENCES = ("birth_date", "birth_city", "university", "major", "employer", "work_city")
"""Sentences of a biography of bioS, one per attribute, with a template file each."""


@dataclass(frozen=True, kw_only=True)
class Template:
    """A template cut where GPT-2 splits it: subject, opening, left + value + right, rest.

    `{subject} moved to {value}, alone.` has the opening ` moved to`, left ` `, right `,` and
    rest ` alone.`
    """

    opening: str
    left: str
    """What touches the value in front; it is tokenized together with the value."""
    right: str
    """What touches the value behind."""
    rest: str


@cache
def load_templates(sentence: str) -> tuple[Template, ...]:
    """Templates of one kind of sentence."""
    path = Path(__file__).parent / "templates" / f"{sentence}.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(parse_template(line) for line in lines)


def parse_template(line: str) -> Template:
    """Cut a template; ValueError if it breaks a rule of templates."""
    before, found, after = line.partition("{value}")
    subject, _, opening = before.partition("{subject}")
    ok = found and not subject and opening and after.endswith(".")
    if not ok or "{" in opening + after or "  " in line or line != line.strip():
        raise ValueError(
            f"template {line!r} must start with {{subject}}, hold {{value}} once, end with a "
            "period, and have no double spaces"
        )
    cut = opening.rfind(" ")
    opening, left = (opening[:cut], opening[cut:]) if cut >= 0 else ("", opening)
    right, space, rest = after.partition(" ")
    return Template(opening=opening, left=left, right=right, rest=space + rest)

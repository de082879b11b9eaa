"""Sentence templates: text files, one template per line."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kcap_ray.config.bios import SENTENCES
from kcap_ray.config.contents import FileState, text_files_state
from kcap_ray.config.errors import UserError


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


def load_templates(sentence: str, folder: str | None = None) -> tuple[Template, ...]:
    """Templates of one kind of sentence: those of the package, or those of `folder`, a directory
    with a file of the same name.

    `UserError` where the file is missing or empty, or a line of it is no template.
    """
    return _load(sentence, folder, () if folder is None else text_files_state(folder))


@cache
def _load(sentence: str, folder: str | None, _state: FileState) -> tuple[Template, ...]:
    if folder is None:
        lines = _lines(Path(__file__).parent / "templates" / f"{sentence}.txt")
        return tuple(parse_template(line) for line in lines)
    path = Path(folder).expanduser() / f"{sentence}.txt"
    if not path.is_file():
        files = ", ".join(f"{name}.txt" for name in SENTENCES)
        raise UserError(f"data.templates: {path} is not there; bioS needs a directory with {files}")
    try:
        lines = _lines(path)
    except UnicodeDecodeError as error:
        raise UserError(f"data.templates: {path} is not UTF-8 text: {error.reason}") from None
    if not lines:
        raise UserError(f"data.templates: {path} is empty; write one template per line")
    templates = []
    for number, line in enumerate(lines, start=1):
        try:
            templates.append(parse_template(_in_our_words(line)))
        except ValueError as error:
            raise UserError(f"data.templates: {path}, line {number}: {error}") from None
    return tuple(templates)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _in_our_words(line: str) -> str:
    """The template with {subject} and {value}, also where it is written with {name} and a word for
    the value: `{name} hails from {birthcity}.` -> `{subject} hails from {value}.`
    """
    fields = re.findall(r"{(\w+)}", line)
    if len(fields) != 2 or fields[0] != "name":
        return line
    return line.replace("{name}", "{subject}").replace(f"{{{fields[1]}}}", "{value}")


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

"""Sentences for the user's own facts, read from a file or made up, and what they must fulfil.

The loss on a name or value must hold nothing but the choice among names or values. So every
sentence begins with the name, and what stands before a value says that a value comes next, and
which attribute it is of.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from kcap_ray.config.errors import UserError
from kcap_ray.config.yaml import read_yaml
from kcap_ray.knowledge.tuples import FactTable
from kcap_ray.text.tokenizer.bpe import encode


@dataclass(frozen=True, kw_only=True)
class FactTemplate:
    """A sentence, cut at its name and value."""

    attribute: str
    middle: str
    """Text between name and value; it has a space."""
    after: str
    """Text behind the value; not empty."""

    @property
    def sentence(self) -> str:
        """The sentence as it is written in a file."""
        return f"{{name}}{self.middle}{{value}}{self.after}"


def fact_templates(file: str | None, table: FactTable) -> tuple[tuple[FactTemplate, ...], ...]:
    """Sentences for each attribute of the table, from a file `attribute: [sentence, ...]`; without
    one, `{name} has {attribute}: {value}.`

    Raises `UserError` where the file lacks an attribute, or a sentence is not fit for its purpose.
    """
    if file is None:
        by_attribute = {attribute: (_default(attribute),) for attribute in table.attributes}
    else:
        by_attribute = _read(Path(file).expanduser(), table)
    templates = tuple(by_attribute[attribute] for attribute in table.attributes)
    _check_openings([template for same in templates for template in same])
    return templates


def _default(attribute: str) -> FactTemplate:
    # A space ends every name, and a colon every attribute: so none of them runs into the words
    # behind it, and none begins as another one does.
    words = " ".join(attribute.replace("_", " ").split())
    return FactTemplate(attribute=attribute, middle=f" has {words}: ", after=".")


def _read(path: Path, table: FactTable) -> dict[str, tuple[FactTemplate, ...]]:
    _, given = read_yaml(path)
    if not isinstance(given, dict):
        raise UserError(
            f"data.templates: {path} must hold lines such as "
            "`employer: ['{name} works for {value}.']`"
        )
    by_attribute = {str(key): _parse_all(path, str(key), lines) for key, lines in given.items()}
    unknown = [attribute for attribute in by_attribute if attribute not in table.n_values_in_file]
    if unknown:
        known = ", ".join(table.n_values_in_file)
        raise UserError(
            f"data.templates: {path}: no fact is about {unknown[0]!r}; allowed are {known}"
        )
    lacking = [attribute for attribute in table.attributes if attribute not in by_attribute]
    if lacking:
        raise UserError(
            f"data.templates: {path} has no sentence for {lacking[0]!r}; "
            "write one or more, or leave data.templates out"
        )
    return by_attribute


def _parse_all(path: Path, attribute: str, lines: Any) -> tuple[FactTemplate, ...]:
    if not isinstance(lines, list) or not lines:
        raise UserError(
            f"data.templates: {path}: {attribute} must have a list of sentences, got {lines!r}"
        )
    return tuple(_parse(path, attribute, line) for line in lines)


def _parse(path: Path, attribute: str, line: Any) -> FactTemplate:
    text = " ".join(str(line).split())
    before, _, rest = text.partition("{name}")
    middle, _, after = rest.partition("{value}")
    places = re.findall(r"[{}]", text)
    if before or " " not in middle or not after or len(places) != 4 or "{" in middle + after:
        raise UserError(
            f"data.templates: {path}: {attribute}: got {str(line)!r}; write a sentence that begins "
            "with {name} and has {value} once, with a space between the two and a sign behind"
        )
    return FactTemplate(attribute=attribute, middle=middle, after=after)


def _check_openings(templates: list[FactTemplate]) -> None:
    """UserError unless each text between name and value says that a value of its attribute comes.

    No text may go on, token by token, where another one has its value.
    """
    opened = sorted(
        ((encode(template.middle.removesuffix(" ")), template) for template in templates),
        key=lambda pair: pair[0],
    )
    for (ids, template), (next_ids, following) in pairwise(opened):
        is_same = template.middle == following.middle and template.attribute == following.attribute
        if next_ids[: len(ids)] == ids and not is_same:
            raise UserError(
                f"data.templates: the sentences {template.sentence!r} of {template.attribute!r} "
                f"and {following.sentence!r} of {following.attribute!r} begin alike up to the "
                "first value, which would then be mixed with the choice between them; write them "
                "so that they differ before it"
            )

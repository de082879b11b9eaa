"""Sentences of the user's own that would mix templates into the losses are refused."""

from pathlib import Path
from typing import Any

import pytest

from kcap_ray.config.errors import UserError
from kcap_ray.text.kinds.tuples_pieces import tuples_renderer
from tests.text.fact_files import config

PEOPLE = {"Ann": {"a": "x", "b": "y"}, "Bo": {"a": "z"}}
LONGER = {"Ann": {"a": "Ann"}, "Ann Ray": {"a": "Ann Ray"}}
SAFE = "{name} has a: {value}."

REFUSED: dict[str, tuple[dict[str, dict[str, str]], Any, str]] = {
    "no list": (PEOPLE, {"a": SAFE}, "a must have a list of sentences"),
    "no mapping": (PEOPLE, [SAFE], "must hold lines such as"),
    "unknown": (PEOPLE, {"c": [SAFE]}, "no fact is about 'c'; allowed are a, b"),
    "lacking": (PEOPLE, {"a": [SAFE]}, "no sentence for 'b'"),
    "name not first": (LONGER, {"a": ["A {name} has {value}."]}, "begins with {name}"),
    "no name": (LONGER, {"a": ["It has {value}."]}, "begins with {name}"),
    "value twice": (LONGER, {"a": ["{name} has {value}, {value}."]}, "has {value} once"),
    "value first": (LONGER, {"a": ["{value} is {name}'s a."]}, "begins with {name}"),
    "nothing behind": (LONGER, {"a": ["{name} has {value}"]}, "a sign behind"),
    "no space": (LONGER, {"a": ["{name}:{value}."]}, "a space between the two"),
    "not a sentence": (LONGER, {"a": [7]}, "got '7'"),
    "same words": (
        PEOPLE,
        {"a": ["{name} is {value}."], "b": ["{name} is {value} now."]},
        "begin alike up to the first value",
    ),
    "words go on": (
        PEOPLE,
        {"a": ["{name} is {value}.", "{name} is called {value}."], "b": ["{name} was {value}."]},
        "begin alike up to the first value",
    ),
    "names go on": (
        LONGER,
        {"a": ["{name} has {value} now.", "{name} is {value} now."]},
        "the name 'Ann' begins 'Ann Ray'",
    ),
    "values go on": (
        {"Ann": {"a": "x"}, "Bo": {"a": "x y"}},
        {"a": ["{name} has {value} now.", "{name} has {value} still."]},
        "the value of a 'x' begins 'x y'",
    ),
    "value behind is the same": (
        {"Ann": {"a": "St"}, "Bo": {"a": "St. Ives"}},
        None,
        "the value of a 'St' begins 'St. Ives'",
    ),
    "name runs into a sign": (
        {"Ann Jr.": {"a": "x"}},
        {"a": ["{name}'s a is {value}.", "{name} has {value}."]},
        "the name 'Ann Jr.' runs into \"'s\"",
    ),
    "value runs into a sign": (
        {"Ann": {"a": ".NET"}},
        {"a": ["{name} knows ({value})."]},
        "the value of a '.NET' runs into '\\('",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_sentences_that_would_blur_the_losses_are_refused(tmp_path: Path, case: str) -> None:
    """One line says which sentence, name or value, and what to write instead."""
    facts, templates, message = REFUSED[case]
    with pytest.raises(UserError, match=message) as error:
        tuples_renderer(config(tmp_path, facts, templates))
    assert "\n" not in str(error.value)

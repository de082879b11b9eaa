"""Numbers in words."""

import pytest

from analysis.words import hours_words


@pytest.mark.parametrize(
    ("hours", "words"),
    [
        (0.031, "0.031"),
        (9.44, "9.4"),
        (2.0, "2"),
        (1e-5, "0.00001"),
        (34.2, "34"),
        (99.7, "100"),
        (6642, "6,642"),
    ],
)
def test_hours_have_no_exponent(hours: float, words: str) -> None:
    """A hundred hours are not `1e+02`."""
    assert hours_words(hours) == words

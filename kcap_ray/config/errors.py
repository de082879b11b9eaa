"""Mistakes of the user's, and the checks that find them."""

import difflib
from collections.abc import Iterable, Mapping
from typing import get_args


class UserError(ValueError):
    """A mistake in what the user gave: one or two lines that say what to write instead."""


def check(ok: bool, message: str) -> None:
    """Raise `UserError` with this message unless `ok`."""
    if not ok:
        raise UserError(message)


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """` (did you mean ...?)` with the nearest known name in any case of letters, to stand behind
    what was given; empty if none is near. Of a mapping the keys are compared and the value is
    shown. `cutoff`: how alike they must be, between 0 and 1.
    """
    by_name: dict[str, str] = {}
    for one in known:
        by_name.setdefault(one.lower(), known[one] if isinstance(known, Mapping) else one)
    near = difflib.get_close_matches(name.lower(), by_name, n=1, cutoff=cutoff)
    return f" (did you mean {by_name[near[0]]}?)" if near else ""


def check_choice(name: str, value: object, choices: object) -> None:
    """Raise `UserError` unless `value` is one of the choices of a `Literal`."""
    allowed = get_args(choices)
    if value not in allowed:
        hint = did_you_mean(str(value), map(str, allowed))
        raise UserError(f"{name}: got {value!r}{hint}; allowed are {', '.join(map(str, allowed))}")

"""Mistakes of the user's, and the checks that find them."""

import difflib
from collections.abc import Iterable, Mapping
from typing import get_args

LONGEST = 300
"""Characters of an error's message that are shown."""


class UserError(ValueError):
    """A mistake in what the user gave: one or two lines that say what to write instead."""

    exit_status = 2
    """Of a command that ends with it."""


class MachineError(UserError):
    """What the machine did not do, though nothing that was given is wrong."""

    exit_status = 1


def one_line(error: BaseException) -> str:
    """Type and first line of an error's message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:LONGEST]}" if lines else type(error).__name__


def check(ok: bool, message: str) -> None:
    """Raise `UserError` with this message unless `ok`."""
    if not ok:
        raise UserError(message)


def did_you_mean(
    name: str,
    known: Iterable[str],
    *,
    shown: Mapping[str, str] | None = None,
    cutoff: float = 0.6,
) -> str:
    """` (did you mean ...?)` with the nearest known name in any case of letters, to stand behind
    what was given; empty if none is near. `shown`: how a known name is written, where that is not
    the name itself. `cutoff`: how alike they must be, between 0 and 1.
    """
    by_lower: dict[str, str] = {}
    for one in known:
        by_lower.setdefault(one.lower(), one)
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=cutoff)
    if not near:
        return ""
    found = by_lower[near[0]]
    return f" (did you mean {found if shown is None else shown[found]}?)"


def check_choice(name: str, value: object, choices: object) -> None:
    """Raise `UserError` unless `value` is one of the choices of a `Literal`."""
    allowed = get_args(choices)
    if value not in allowed:
        hint = did_you_mean(str(value), map(str, allowed))
        raise UserError(f"{name}: got {value!r}{hint}; allowed are {', '.join(map(str, allowed))}")

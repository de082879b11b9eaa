"""Mistakes of the user's, and the checks that find them."""

from typing import get_args


class UserError(ValueError):
    """A mistake in what the user gave: one or two lines that say what to write instead."""

    exit_status = 2
    """Of a command that ends with it."""


class MachineError(UserError):
    """What the machine did not do, though nothing that was given is wrong."""

    exit_status = 1


def check(ok: bool, message: str) -> None:
    """Raise `UserError` with this message unless `ok`."""
    if not ok:
        raise UserError(message)


def check_choice(name: str, value: object, choices: object) -> None:
    """Raise `UserError` unless `value` is one of the choices of a `Literal`."""
    allowed = get_args(choices)
    check(value in allowed, f"{name}: got {value!r}; allowed are {', '.join(map(str, allowed))}")

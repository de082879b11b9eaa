"""One check of `kcap doctor`."""

from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was found."""

    name: str
    finding: str
    remedy: str | None = None
    """What to do about it, empty if the finding says so; None if all is well."""

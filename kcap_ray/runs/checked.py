"""JSON objects that tell whether a byte of them has changed since they were written."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from kcap_ray.config.digest import json_digest

_KEY = "checksum"


def with_checksum(values: Mapping[str, Any], *, owner: str = "") -> dict[str, Any]:
    """The object with a checksum of the rest as its last field, and of whose it is."""
    return {**values, _KEY: _checksum(values, owner)}


def checked(text: str, *, needed: Iterable[str] = (), owner: str = "") -> dict[str, Any] | None:
    """The object that `text` writes, without its checksum; None if it is none, has changed, or
    lacks a field that is needed, or is another owner's. One that was written without a checksum is
    taken as it is, and one without an owner as anybody's.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or not all(name in values for name in needed):
        return None
    checksum = values.pop(_KEY, None)
    is_as_written = checksum is None or checksum == _checksum(values, owner)
    return values if is_as_written or (owner and checksum == _checksum(values, "")) else None


def _checksum(values: Mapping[str, Any], owner: str) -> str:
    kept = {name: values[name] for name in values if name != _KEY}
    return json_digest([kept, owner] if owner else kept)[:16]

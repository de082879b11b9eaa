"""What tells contents apart: SHA-256, in hexadecimal digits."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def digest_of(parts: Iterable[bytes]) -> str:
    """Of bytes that follow each other."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def text_digest(text: str) -> str:
    """Of a text in UTF-8."""
    return digest_of([text.encode()])


def json_digest(values: Any) -> str:
    """Of a value as JSON, whatever the order of its keys."""
    return text_digest(json.dumps(values, sort_keys=True))


def file_digest(file: Path) -> str:
    """Of what is in a file. Raises `OSError` if it cannot be read."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()

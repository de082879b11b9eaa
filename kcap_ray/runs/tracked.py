"""Which cells of a run were sent to trackers, and where they are there."""

import json
from pathlib import Path

LOGGED = "trackers.json"
"""File of a run directory: by tracker and cell, which row was logged and where."""

STUDIES = "optuna.log"
"""File of a run directory: the search of each cell as an Optuna study."""


def logged(path: Path) -> dict[str, dict[str, dict[str, object]]]:
    """By tracker and cell: `written_at` and `digest`, of the row that was logged, and `place`."""
    try:
        found = json.loads((path / LOGGED).read_text(encoding="utf-8"))
        assert all(isinstance(one, dict) for cells in found.values() for one in cells.values())
    except (OSError, ValueError, AttributeError, AssertionError):
        return {}
    return found

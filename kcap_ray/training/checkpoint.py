"""A training run on disk, so that a killed one goes on where it was."""

import logging
import zipfile
from pathlib import Path
from typing import Any

import torch

from kcap_ray.config.errors import UserError, one_line
from kcap_ray.runs.files import remove, replaced

_logger = logging.getLogger(__name__)


class CorruptCheckpointError(UserError):
    """A checkpoint exists but cannot be read, or belongs to another run."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` whole or not at all. The checkpoint before it stays beside it."""
    with replaced(path, before=before(path)) as temporary, temporary.open("wb") as file:
        torch.save(state, file)


def before(path: Path) -> Path:
    """Where the checkpoint is that was saved before the one at `path`."""
    return path.with_name(f"{path.name}.before")


def remove_checkpoint(path: Path) -> None:
    """Remove the checkpoint at `path`, and the one before."""
    for file in (path, before(path)):
        remove(file)


def resume_from(path: Path, *, run_key: str) -> dict[str, Any] | None:
    """The last state of the run that can be read: that at `path`, or the one before; None if there
    is neither. Of one that cannot be read a warning says so.
    """
    for file in (path, before(path)):
        try:
            state = load_checkpoint(file, run_key=run_key)
        except CorruptCheckpointError as error:
            cause = str(error).rpartition(";")[0]
            _logger.warning("%s; it goes on from an earlier one, if any", cause)
            continue
        if state is not None:
            return state
    return None


def load_checkpoint(path: Path, *, run_key: str) -> dict[str, Any] | None:
    """The state saved at `path`, or None if there is none.

    Raises `CorruptCheckpointError` if the file cannot be read or was made by a run with another
    key.
    """
    if not path.exists():
        return None
    remedy = f"delete {path} to train from the start"
    try:
        _check_sums(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises whatever its reader stumbles over
        cause = one_line(error)
        raise CorruptCheckpointError(
            f"checkpoint {path} cannot be read ({cause}); {remedy}"
        ) from error
    if not isinstance(state, dict) or state.get("run_key") != run_key:
        raise CorruptCheckpointError(f"checkpoint {path} is not of this run; {remedy}")
    return state


def _check_sums(path: Path) -> None:
    """Raise `BadZipFile` if a byte has changed, which torch does not notice within a tensor."""
    with zipfile.ZipFile(path) as archive:
        changed = archive.testzip()
    if changed is not None:
        raise zipfile.BadZipFile(f"{changed} has changed since it was written")

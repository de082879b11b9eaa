"""Where Ray Tune and Ray Train keep what they write of a run: a folder of our own in its directory,
which every node can read.
"""

import shutil
from pathlib import Path

from kcap_ray.runs.results import RunDirectory

_NAME = "ray_scratch"
_MARK = "made_by_kcap"
"""File that says that a folder is ours, and may be deleted."""


def storage_of(directory: RunDirectory) -> Path:
    """The folder, made if it is not there; a user's folder of the same name is left alone."""
    path, number = directory.path.resolve() / _NAME, 1
    while path.exists() and not (path / _MARK).is_file():
        number += 1
        path = path.with_name(f"{_NAME}{number}")
    path.mkdir(parents=True, exist_ok=True)
    (path / _MARK).touch()
    return path


def clear_storage(directory: RunDirectory) -> None:
    """Remove the folder and all that is in it."""
    shutil.rmtree(storage_of(directory), ignore_errors=True)

"""All that a sweep needs, in one folder: the sweep file, its data and model files, and kcap's own
source. On another machine the same cells come out of it.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kcap_ray.config.errors import UserError
from kcap_ray.config.yaml import parse_yaml, read_yaml
from kcap_ray.planning.sweep import Sweep, load_sweep
from kcap_ray.runs.environment import COMMIT_FILE, git_commit

CHECKOUT = Path(__file__).parents[2]
"""Where kcap's source lies, if it is a checkout."""
SOURCE = ("kcap_ray", "analysis", "sweeps", "pyproject.toml")
"""What of a checkout travels."""
_MOVED = "files"
"""Folder of what lies elsewhere than beside the sweep file."""


@dataclass(frozen=True, kw_only=True)
class Shipment:
    """A folder to be sent, and how its sweep is named in it."""

    folder: Path
    sweep_file: str
    """The sweep file, relative to the folder."""
    overrides: dict[str, str] = field(default_factory=dict)
    """Those that were given, with paths as they are in the folder."""
    n_bytes: int
    """Size of all files."""

    def settings(self) -> list[str]:
        """Arguments of `kcap sweep` that stand for the overrides."""
        return [
            part for key, value in self.overrides.items() for part in ("--set", f"{key}={value}")
        ]


def ship(sweep: Sweep, overrides: Mapping[str, str], folder: Path) -> Shipment:
    """Fill an empty folder with what the sweep needs, and with kcap's source where that is a
    checkout.

    A file that the sweep names by a path into its own folder keeps it; one from elsewhere is moved
    in, and the path in the sweep file changed. Raises `UserError` where the folder would not give
    the same cells.
    """
    text, content = read_yaml(sweep.path)
    given = dict(overrides)
    written = [*_strings(content), *(s for key in given for s in _strings(_value(key, given[key])))]
    for number, (path, found) in enumerate(sorted(_named(sweep, written).items())):
        place = _place(path, number)
        if place != path:
            text = text.replace(path, place)
            given = {key: value.replace(path, place) for key, value in given.items()}
        _copy(found, folder / place)
    name = sweep.path.name
    (folder / name).write_text(text, encoding="utf-8")
    _check_same(sweep, load_sweep(folder / name, given))
    if (CHECKOUT / "pyproject.toml").is_file():
        for one in SOURCE:
            if (CHECKOUT / one).exists():
                _copy(CHECKOUT / one, folder / one)
        (folder / COMMIT_FILE).write_text(git_commit(), encoding="utf-8")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Shipment(folder=folder, sweep_file=name, overrides=given, n_bytes=size)


def _value(key: str, text: str) -> Any:
    return parse_yaml(text, origin=f"--set {key}")


def _strings(value: Any) -> Iterator[str]:
    """Every text in a YAML value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _named(sweep: Sweep, written: list[str]) -> dict[str, Path]:
    """Paths as they are written -> the file or folder that each is."""
    needed: set[str] = set()

    def note(path: str) -> str:
        needed.add(os.path.abspath(Path(path).expanduser()))
        return path

    for cell in sweep.cells:
        cell.data.with_paths(lambda _, path: note(path))
        cell.model.with_path(note)
    found = {}
    for text in written:
        for place in (sweep.path.parent / text, Path(text).expanduser()):
            if os.path.abspath(place) in needed and place.exists():
                found[text] = place
                break
    missing = needed - {os.path.abspath(place) for place in found.values()}
    if missing:
        raise UserError(
            f"{min(missing)}: no such file; the sweep names it, so it must travel with it"
        )
    return found


def _place(path: str, number: int) -> str:
    """Where a path leads in the folder: where it did, unless that is outside of it or kcap's."""
    parts = Path(path).parts
    is_inside = not Path(path).is_absolute() and ".." not in parts and parts[0] not in SOURCE
    return path if is_inside and parts[0] != "~" else f"{_MOVED}/{number}/{Path(path).name}"


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(source, target, ignore=ignore, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)


def _check_same(sweep: Sweep, shipped: Sweep) -> None:
    ids = [[cell.cell_id for cell in one.cells] for one in (sweep, shipped)]
    if ids[0] != ids[1] or sweep.name != shipped.name:
        raise UserError(
            f"{sweep.path}: its files cannot be sent along as they are named; put them beside it, "
            "and write their names alone"
        )

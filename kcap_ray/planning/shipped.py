"""The sweeps that come with kcap, found by name: `quickstart` is its file quickstart.yaml."""

from collections.abc import Iterable
from pathlib import Path

from kcap_ray.config.errors import UserError
from kcap_ray.config.schema import closest

_PACKAGE = Path(__file__).parents[1]
FOLDERS = (_PACKAGE / "sweeps", _PACKAGE.parent / "sweeps")
"""Where they lie in an installed package, and in a checkout."""


def shipped_sweeps(folders: Iterable[Path] = FOLDERS) -> dict[str, Path]:
    """Their files by name, in alphabetical order."""
    paths = [path for folder in folders for path in folder.glob("*.yaml")]
    return {path.stem: path for path in sorted(paths, key=lambda path: path.stem)}


def find_sweep(path: Path) -> Path:
    """The file at `path`; or, if `path` is one word and no file, the sweep of that name that comes
    with kcap, or else the file of that name with `.yaml` behind it.

    Raises `UserError` for a word that names neither, with the nearest name or all of them.
    """
    name = str(path)
    if path.is_file() or path.suffix or path.name != name:
        return path
    shipped = shipped_sweeps()
    if name not in shipped and Path(f"{name}.yaml").is_file():
        return Path(f"{name}.yaml")
    if name not in shipped:
        raise UserError(
            f"{name}: neither a file nor the name of a sweep that comes with kcap"
            f"{closest(name, shipped)}"
        )
    return shipped[name]

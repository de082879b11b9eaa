"""Where else the runs of a directory can be looked at: links of the report to trackers."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from kcap_ray.runs.tracked import STUDIES, logged


@dataclass(frozen=True, kw_only=True)
class TrackedCell:
    """A cell in a tracker."""

    cell_id: str
    place: str
    """Address, or directory."""

    @property
    def is_link(self) -> bool:
        """Whether a browser opens it; other schemes are shown and are no links."""
        return self.place.startswith(("https://", "http://"))


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """A tracker that has runs of this directory."""

    name: str
    command: str
    """What shows or sends what lies here; empty where the links do."""
    cells: tuple[TrackedCell, ...]


def find_tracked(folder: Path) -> list[Tracked]:
    """TensorBoard and Optuna's dashboard where there are files for them, then every tracker that
    cells were sent to.
    """
    found = []
    if next(folder.glob("cells/*/tensorboard"), None) is not None:
        command = f"tensorboard --logdir {_quoted(folder / 'cells')}"
        found.append(Tracked(name="tensorboard", command=command, cells=()))
    if (folder / STUDIES).is_file():
        command = f"optuna-dashboard {_quoted(folder / STUDIES)}"
        found.append(Tracked(name="optuna-dashboard", command=command, cells=()))
    for name, places in sorted(logged(folder).items()):
        cells = tuple(
            TrackedCell(cell_id=cell_id, place=str(one["place"]))
            for cell_id, one in places.items()
            if one.get("place")
        )
        found.append(Tracked(name=name, command=_command(name, folder, cells), cells=cells))
    return found


def _command(name: str, folder: Path, cells: tuple[TrackedCell, ...]) -> str:
    """What to do with runs that lie in the directory."""
    if all(cell.is_link for cell in cells):
        return ""
    commands = {
        "wandb": f"wandb sync {_quoted(folder / 'wandb')}/offline-run-*",
        "mlflow": f"mlflow ui --backend-store-uri {_quoted(folder / 'mlruns')}",
    }
    return commands.get(name, "")


def _quoted(path: Path) -> str:
    """As a shell takes it for one word."""
    return shlex.quote(str(path))

"""Which trackers there are."""

from collections.abc import Callable
from pathlib import Path

from kcap_ray.config.errors import UserError
from kcap_ray.tracking.tracker import Tracker


def open_tracker(name: str, directory: Path, sweep: str) -> Tracker:
    """The tracker of that name for the runs of a sweep in `directory`.

    Raises `UserError` for a name that is none, or whose package is not installed.
    """
    if name not in _OPEN:
        raise UserError(f"--log {name}: there is no such tracker; one of {', '.join(_OPEN)}")
    try:
        return _OPEN[name](directory, sweep)
    except ImportError as error:
        raise UserError(
            f"--log {name}: its package is not installed ({error.name}); pip install 'kcap[{name}]'"
        ) from error


def _wandb(directory: Path, sweep: str) -> Tracker:
    from kcap_ray.tracking.wandb import WandbTracker

    return WandbTracker(directory, sweep)


def _mlflow(directory: Path, sweep: str) -> Tracker:
    from kcap_ray.tracking.mlflow import MlflowTracker

    return MlflowTracker(directory, sweep)


_OPEN: dict[str, Callable[[Path, str], Tracker]] = {"wandb": _wandb, "mlflow": _mlflow}

"""What a tracker is given of a finished cell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from kcap_ray.config.cell import Cell
from kcap_ray.runs.record import CurvePoint, ResultRow


@dataclass(frozen=True, kw_only=True)
class CellLog:
    """A finished cell."""

    cell: Cell
    row: ResultRow
    curves: Mapping[int, Sequence[CurvePoint]]
    """Loss curve of each trial that has one, by the trial's number."""

    @property
    def settings(self) -> dict[str, object]:
        """The cell's settings by dotted key, without those that are not set."""
        found = _flat("", self.cell.to_dict())
        return {key: value for key, value in found.items() if value is not None}

    @property
    def summary(self) -> dict[str, object]:
        """The columns of the row that hold something, but for the settings as a whole."""
        values = self.row.to_dict()
        return {
            name: value
            for name, value in values.items()
            if isinstance(value, int | float | str) and name != "config"
        }


class Tracker(Protocol):
    """A service that shows runs."""

    def log(self, log: CellLog) -> str:
        """Log a finished cell as one run, in place of an earlier run of the same cell; its address,
        or the directory that it is in.
        """
        ...


def curve_scalars(point: CurvePoint) -> dict[str, float]:
    """What is drawn of a point of a curve, against its step."""
    names = ("loss", "lr", "exposures", "loss_name_nats", "loss_value_nats", "capacity_ratio")
    values = {name: getattr(point, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _flat(prefix: str, values: Mapping[str, object]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(f"{prefix}{key}.", value)
        else:
            found[prefix + key] = value
    return found

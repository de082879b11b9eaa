"""A program of a sweep: trials of one cell that train together, and where they are kept."""

from dataclasses import dataclass

from kcap_ray.config.cell import Cell
from kcap_ray.execution.after_search import Part
from kcap_ray.execution.ahead import ahead_of
from kcap_ray.runs.results import CellDirectory, RunDirectory
from kcap_ray.training.point import Point


@dataclass(frozen=True, kw_only=True)
class Program:
    """A batch of one cell's trials, for one worker or for data-parallel ones, which train as many
    at a time as have memory for.
    """

    cell: Cell
    first_trial: int
    points: list[Point]
    part: Part | None = None
    """Of trials after the search: how they are trained, and where they are kept."""
    is_ahead: bool = False
    """Whether earlier trials of the search may be at work: then it has a place of its own."""
    workers: int = 1
    """Devices that it is spread over."""

    @property
    def name(self) -> str:
        """Tells it from the other programs of a sweep."""
        kind = "search" if self.part is None else self.part.name
        return f"{self.cell.cell_id}/{kind}/{self.first_trial}"

    @property
    def trained_cell(self) -> Cell:
        """The cell as the trials train it."""
        return self.cell if self.part is None else self.part.cell_of(self.cell)

    @property
    def first_in_place(self) -> int:
        """Number of the first trial among those that are kept in the same place."""
        return 0 if self.is_ahead else self.first_trial

    def place(self, directory: RunDirectory) -> CellDirectory:
        """Where the trials are kept."""
        own = directory.cell(self.cell.cell_id)
        if self.is_ahead:
            return ahead_of(own, self.first_trial)
        return own if self.part is None else own.part(self.part.name)

"""The ledger of a run: one directory per cell, one flat row per cell, and the table of all rows.

`result.json` is written last, by a temporary file and a rename: its existence is the only sign that
a cell is done. So a run that is killed anywhere, on any machine, goes on when the same command is
given again.
"""

import itertools
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError
from kcap_ray.runs.checked import checked, with_checksum
from kcap_ray.runs.earlier import name_of
from kcap_ray.runs.files import replaced, write_atomically
from kcap_ray.runs.record import ResultRow, TrialRecord
from kcap_ray.runs.schema import Record, arrow_schema

Kind = TypeVar("Kind", bound=Record)


AHEAD = "trial"
"""What the names of parts begin with in which trials of the search ran before earlier ones."""


_PARTS = "parts"


@dataclass(frozen=True)
class CellDirectory:
    """What a run keeps of one cell."""

    path: Path

    @property
    def result_file(self) -> Path:
        """Written last: the cell is done."""
        return self.path / "result.json"

    @property
    def trials_file(self) -> Path:
        """One line per finished trial, in the order in which they were asked for."""
        return self.path / "trials.jsonl"

    @property
    def checkpoint(self) -> Path:
        """Weights of the best trial so far."""
        return self.path / "checkpoint"

    @property
    def history_file(self) -> Path:
        """Loss curve of the best trial so far."""
        return self.path / "history.parquet"

    def curve_file(self, trial: int) -> Path:
        """Loss curve of a trial that did not diverge; for trackers."""
        return self.path / "curves" / f"trial{trial}.parquet"

    @property
    def event_files(self) -> Path:
        """TensorBoard's event files, a directory per trial."""
        return self.path / "tensorboard"

    @property
    def progress_file(self) -> Path:
        """How far the program that trains now has come; for those who watch."""
        return self.path / "progress.json"

    @property
    def error_file(self) -> Path:
        """Traceback of the last error that was not a mistake of the user's."""
        return self.path / "error.txt"

    @property
    def _owner(self) -> str:
        """Name of the cell whose directory this is; empty for those within one."""
        return self.path.name if self.path.parent.name == "cells" else ""

    def resume_file(self, first_trial: int) -> Path:
        """State of the program that trains the trials from `first_trial` on."""
        return self.path / "resume" / f"trial{first_trial}.pt"

    def quantized(self, label: str) -> "CellDirectory":
        """What is kept of the cell's model quantized in this way: row and checkpoint, no more."""
        return CellDirectory(self.path / "quantized" / label)

    @property
    def whole(self) -> "CellDirectory":
        """The cell's own directory, of which this is a part, or which this is."""
        is_part = self.path.parent.name == _PARTS
        return CellDirectory(self.path.parent.parent) if is_part else self

    def part(self, name: str) -> "CellDirectory":
        """What is kept of trials after the search: their records, curve and checkpoints."""
        return CellDirectory(self.path / _PARTS / name)

    def parts(self) -> list["CellDirectory"]:
        """All that there are."""
        return [CellDirectory(path) for path in sorted(self.path.glob(f"{_PARTS}/*/"))]

    def quantized_rows(self) -> list[ResultRow]:
        """The rows of the quantized models, in the order of their labels."""
        labels = sorted(path.parent.name for path in self.path.glob("quantized/*/result.json"))
        results = (self.quantized(label).result() for label in labels)
        return [result for result in results if result is not None]

    def result(self) -> ResultRow | None:
        """The row of a finished cell; None while it has none. A file that cannot be read, of which
        a byte has changed, or that is another cell's counts as none.

        Raises `UserError` if a later version of kcap has written it.
        """
        try:
            text = self.result_file.read_text(encoding="utf-8")
        except (OSError, ValueError):  # ValueError: not UTF-8
            return None
        row = _read(ResultRow, self.result_file, text)
        return row if row is None or self._owner in ("", row.cell_id) else None

    def trials(self) -> list[TrialRecord]:
        """The finished trials up to the first that cannot be read, or of which a byte has changed:
        from there on they are trained again, which gives the same. Each has the meaning that its
        version has.

        Raises `UserError` if a later version of kcap has written them.
        """
        try:
            lines = self.trials_file.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []
        read = (_read(TrialRecord, self.trials_file, line, owner=self._owner) for line in lines)
        trials = [trial for trial in itertools.takewhile(bool, read) if trial is not None]
        return _of_whole_programs(trials)

    def add_trials(self, trials: Iterable[TrialRecord]) -> None:
        """Append finished trials, all of them or none."""
        records = [one.to_dict() for one in [*self.trials(), *trials]]
        lines = [json.dumps(with_checksum(one, owner=self._owner)) for one in records]
        write_atomically(self.trials_file, "\n".join(lines) + "\n")

    def finish(self, row: ResultRow) -> None:
        """Write the row; from now on the cell is done."""
        values = with_checksum(row.to_dict())
        write_atomically(self.result_file, json.dumps(values, indent=1) + "\n")
        places = (self, *self.parts())
        for place in places:
            place.progress_file.unlink(missing_ok=True)
        if row.status != "failed":
            # A failed cell that is run again goes on where it was.
            self.error_file.unlink(missing_ok=True)
            for place in places:
                shutil.rmtree(place.path / "resume", ignore_errors=True)


def _of_whole_programs(trials: list[TrialRecord]) -> list[TrialRecord]:
    """The trials without those of a program of which another one is lost: trained again, they must
    be trained together.
    """
    n_whole = 0
    while n_whole < len(trials):
        n_next = n_whole + (trials[n_whole].n_trials_fused or 1)
        if n_next > len(trials):
            break
        n_whole = n_next
    return trials[:n_whole]


@dataclass(frozen=True)
class RunDirectory:
    """What a sweep leaves on disk."""

    path: Path

    def cell(self, cell_id: str) -> CellDirectory:
        """The directory of one cell, in runs of earlier versions under the name that it had."""
        return CellDirectory(self.path / "cells" / name_of(self.path, cell_id))

    @property
    def results_file(self) -> Path:
        """The table of all rows."""
        return self.path / "results.parquet"

    def prepare(self) -> None:
        """Make the directory. Raises `UserError` if nothing can be written there."""
        try:
            (self.path / "cells").mkdir(parents=True, exist_ok=True)
            probe = self.path / f".writable.{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UserError(
                f"--out {self.path}: cannot write there ({error.strerror}); name another directory"
            ) from error

    def rows(self, cells: Iterable[Cell]) -> list[ResultRow]:
        """The rows of the cells that are done, in the order of `cells`."""
        results = (self.cell(cell.cell_id).result() for cell in cells)
        return [result for result in results if result is not None]

    def collect(self, cells: Iterable[Cell]) -> int:
        """Write results.parquet from the ledger, each cell's row and then those of its quantized
        models; the number of rows.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [row.to_dict() for cell in cells for row in self._rows_of(cell)]
        table = pa.Table.from_pylist(rows, schema=arrow_schema(ResultRow))
        with replaced(self.results_file) as temporary:
            pq.write_table(table, temporary)
        return len(rows)

    def _rows_of(self, cell: Cell) -> list[ResultRow]:
        """The row of a cell and those of its quantized models; none while it is not done."""
        directory = self.cell(cell.cell_id)
        row = directory.result()
        if row is None:
            return []
        return [row, *(one for one in directory.quantized_rows() if is_of_model(one, row))]


def is_of_model(quantized: ResultRow, row: ResultRow) -> bool:
    """Whether the quantized model is made of the model that the cell's row is of, and not of one
    that was the best before there were more trials.
    """
    return (quantized.lr, quantized.weight_decay) == (row.lr, row.weight_decay)


def _read(record: type[Kind], file: Path, text: str, *, owner: str = "") -> Kind | None:
    """A record as it was written; None if it has changed since, is none, or is another owner's."""
    values = checked(text, owner=owner)
    if values is None:
        return None
    try:
        return record.from_dict(values)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    except (ValueError, LookupError, TypeError):
        return None

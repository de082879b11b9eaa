"""The ledger of a run: one directory per cell, one flat row per cell, and the table of all rows.

`result.json` is written last, by a temporary file and a rename: its existence is the only sign that
a cell is done. So a run that is killed anywhere, on any machine, goes on when the same command is
given again.
"""

import dataclasses
import itertools
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError
from kcap_ray.runs.checked import checked, with_checksum
from kcap_ray.runs.earlier import name_of

Status = Literal["ok", "diverged", "failed", "stopped"]


@dataclass(frozen=True, kw_only=True)
class ResultRow:
    """One row of results.parquet; a cell that failed has its status and reason, and None where it
    has no number.
    """

    sweep: str
    cell_id: str
    status: Status
    reason: str
    """Why the status is not `ok`; empty if it is."""
    dataset: str
    n_people: int
    exposures: int
    arch: str
    model: str
    n_layer: int
    n_head: int
    d_model: int
    vocab: str
    vocab_size: int
    n_params: int
    n_params_non_embedding: int
    n_params_embedding: int
    """Token embedding, and the output head where it is a matrix of its own."""
    n_params_active: int
    """Weights that one token uses: all but those of the experts that it is not sent to."""
    lr: float | None
    """Reference learning rate of the best trial."""
    weight_decay: float | None
    batch_windows: int
    window_tokens: int
    precision: str
    optimizer: str
    workers: int
    seed: int
    data_seed: int
    n_trials: int
    """Tuning trials run, whatever became of them."""
    n_trials_ok: int
    steps: int
    tokens: int
    exposures_seen: float | None
    """Exposures counted from the stream, rather than asked for."""
    loss_name_nats: float | None
    loss_value_nats: float | None
    loss_value1_nats: float | None
    demand_bits: float
    demand_is_estimate: bool
    """Whether sizes of pools were estimated from the values found in a file."""
    name_bits: float | None
    value_bits: float | None
    diversity_bits: float | None
    stored_bits: float | None
    groups: str | None
    """JSON list, one object per table and band of frequency: how often its people were spoken of,
    demand and stored bits; None where all people are alike.
    """
    capacity_ratio: float | None
    """Stored bits per parameter: R(F)."""
    capacity_ratio_non_embedding: float | None
    max_capacity_ratio: float
    """Demand bits per parameter: R_max(F)."""
    quantization: str
    """`none`, or the label of a `QuantizeConfig`, such as `gptq-int8-g128`."""
    quantization_config: str | None
    """All settings of the quantization as JSON; None without one."""
    bits_per_weight: float | None
    """Bits that storing the model takes, for each weight: 32 as trained; quantized with scales and
    zero points, and 16 for each weight that is not quantized.
    """
    knowledge_per_stored_bit: float | None
    """Stored bits of knowledge over bits of storage: R / bits per weight."""
    quantize_time_s: float | None
    train_time_s: float | None
    """Time of the program that trained the best trial, with the trials fused into it."""
    n_trials_fused: int | None
    tokens_per_s: float | None
    """Tokens per second of that program, over all of its trials."""
    device: str
    git_commit: str
    kcap_version: str
    torch_version: str
    config: str
    """The whole cell as JSON: every setting, those without a column of their own too."""


COLUMNS = tuple(field.name for field in dataclasses.fields(ResultRow))


def write_atomically(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def best_trial(records: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """The finished trial that stores most; the earlier one of equals; None if none is ok."""
    measured = [record for record in records if record["status"] == "ok"]
    return max(measured, key=lambda record: record["capacity_ratio"], default=None)


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

    @property
    def progress_file(self) -> Path:
        """How far the program that trains now has come; for those who watch."""
        return self.path / "progress.json"

    @property
    def error_file(self) -> Path:
        """Traceback of the last error that was not a mistake of the user's."""
        return self.path / "error.txt"

    def resume_file(self, first_trial: int) -> Path:
        """State of the program that trains the trials from `first_trial` on."""
        return self.path / "resume" / f"trial{first_trial}.pt"

    def quantized(self, label: str) -> "CellDirectory":
        """What is kept of the cell's model quantized in this way: row and checkpoint, no more."""
        return CellDirectory(self.path / "quantized" / label)

    def quantized_rows(self) -> list[dict[str, Any]]:
        """The rows of the quantized models, in the order of their labels."""
        labels = sorted(path.parent.name for path in self.path.glob("quantized/*/result.json"))
        results = (self.quantized(label).result() for label in labels)
        return [result for result in results if result is not None]

    def result(self) -> dict[str, Any] | None:
        """The row of a finished cell; None while it has none. A file that cannot be read, or of
        which a byte has changed, counts as none.
        """
        try:
            text = self.result_file.read_text(encoding="utf-8")
        except (OSError, ValueError):  # ValueError: not UTF-8
            return None
        row = checked(text, needed=("status", "n_trials"))
        return row if row is not None and row["status"] in get_args(Status) else None

    def trials(self) -> list[dict[str, Any]]:
        """The finished trials up to the first that cannot be read, or of which a byte has changed:
        from there on they are trained again, which gives the same.
        """
        try:
            lines = self.trials_file.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []
        needed = ("lr", "weight_decay", "status", "capacity_ratio")
        trials = [checked(line, needed=needed) for line in lines]
        return list(itertools.takewhile(lambda trial: trial is not None, trials))  # pyright: ignore[reportReturnType]

    def add_trials(self, trials: Iterable[Mapping[str, Any]]) -> None:
        """Append finished trials, all of them or none."""
        lines = [json.dumps(with_checksum(trial)) for trial in [*self.trials(), *trials]]
        write_atomically(self.trials_file, "\n".join(lines) + "\n")

    def finish(self, row: ResultRow) -> None:
        """Write the row; from now on the cell is done."""
        values = with_checksum(dataclasses.asdict(row))
        write_atomically(self.result_file, json.dumps(values, indent=1) + "\n")
        self.progress_file.unlink(missing_ok=True)
        if row.status != "failed":
            # A failed cell that is run again goes on where it was.
            self.error_file.unlink(missing_ok=True)
            shutil.rmtree(self.path / "resume", ignore_errors=True)


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

    def rows(self, cells: Iterable[Cell]) -> list[dict[str, Any]]:
        """The rows of the cells that are done, in the order of `cells`."""
        results = (self.cell(cell.cell_id).result() for cell in cells)
        return [result for result in results if result is not None]

    def collect(self, cells: Iterable[Cell]) -> int:
        """Write results.parquet from the ledger, each cell's row and then those of its quantized
        models; the number of rows.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [row for cell in cells for row in self._rows_of(cell)]
        table = pa.Table.from_pylist(rows, schema=arrow_schema())
        temporary = self.results_file.with_name(f"{self.results_file.name}.{os.getpid()}.tmp")
        pq.write_table(table, temporary)
        os.replace(temporary, self.results_file)
        return len(rows)

    def _rows_of(self, cell: Cell) -> list[dict[str, Any]]:
        """The row of a cell and those of its quantized models; none while it is not done."""
        directory = self.cell(cell.cell_id)
        row = directory.result()
        if row is None:
            return []
        return [row, *(one for one in directory.quantized_rows() if is_of_model(one, row))]


def is_of_model(quantized: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether the quantized model is made of the model that the cell's row is of, and not of one
    that was the best before there were more trials.
    """
    return all(quantized[name] == row[name] for name in ("lr", "weight_decay"))


def arrow_schema() -> Any:
    """The schema of results.parquet, from the fields of `ResultRow`."""
    import pyarrow as pa

    def kind(hint: Any) -> Any:
        parts = set(get_args(hint)) or {hint}
        plain = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
        return next((plain[part] for part in plain if part in parts), pa.string())

    hints = get_type_hints(ResultRow)
    return pa.schema([pa.field(name, kind(hint)) for name, hint in hints.items()])

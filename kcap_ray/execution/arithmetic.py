"""The arithmetic of a cell with `train.precision: auto`: chosen by its first program, and kept for
all others, wherever and whenever they train.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from kcap_ray.config.cell import Cell, Compile, Precision
from kcap_ray.runs.checked import checked, with_checksum
from kcap_ray.runs.files import write_atomically, write_once
from kcap_ray.runs.results import CellDirectory


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """What `auto` stands for in a cell."""

    precision: Precision
    compile: Compile


def saved_arithmetic(directory: CellDirectory) -> Arithmetic | None:
    """What the cell, whose own directory or that of a part this is, trains in; None if nothing is
    chosen yet.
    """
    try:
        found = checked(_file(directory).read_text(encoding="utf-8"))
        return None if found is None else Arithmetic(**found)
    except (FileNotFoundError, ValueError, TypeError):  # none, or damaged
        return None


def keep_arithmetic(directory: CellDirectory, arithmetic: Arithmetic) -> Arithmetic:
    """Keep it, unless another program of the cell was first; what is kept."""
    text = json.dumps(with_checksum(dataclasses.asdict(arithmetic)))
    file = _file(directory)
    if write_once(file, f"{text}\n"):
        return arithmetic
    kept = saved_arithmetic(directory)
    if kept is None:  # damaged
        write_atomically(file, f"{text}\n")
    return kept or arithmetic


def trained_precision(cell: Cell, directory: CellDirectory) -> str:
    """The precision of the cell's trials; `auto` where none has begun."""
    found = saved_arithmetic(directory) if cell.train.precision == "auto" else None
    return cell.train.precision if found is None else found.precision


def _file(directory: CellDirectory) -> Path:
    return directory.whole.path / "arithmetic.json"

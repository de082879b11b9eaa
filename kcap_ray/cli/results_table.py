"""The results of a sweep as a table for the terminal, with the headings of the schema."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kcap_ray.runs.learnt import what_is_missing
from kcap_ray.runs.record import ResultRow
from kcap_ray.runs.schema import fields_of, shown
from kcap_ray.runs.text_table import Justify, text_table

if TYPE_CHECKING:
    from rich.table import Table

_COLUMNS = (
    "dataset",
    "n_people",
    "exposures",
    "model",
    "optimizer",
    "batch_windows",
    "precision",
    "seed",
    "n_params",
    "stored_bits",
    "capacity_ratio",
    "capacity_ratio_sd",
    "n_confirm_seeds",
    "selected_capacity_ratio",
    "max_capacity_ratio",
    "lr",
    "weight_decay",
    "edge",
    "n_trials",
    "train_time_s",
    "status",
)

_WIDE_ONLY = ("n_params", "weight_decay", "n_trials", "train_time_s")
"""Columns that a terminal of 80 characters has no room for."""

_VARYING_ONLY = ("dataset", "optimizer", "batch_windows", "precision", "seed")
"""Columns that tell cells apart where the cells differ in them."""

_CONFIRMED_ONLY = ("capacity_ratio_sd", "n_confirm_seeds", "selected_capacity_ratio")
"""Columns that tell something where the best point was trained again alone."""

_QUANTIZED_COLUMNS = (
    "n_people",
    "exposures",
    "model",
    "quantization",
    "bits_per_weight",
    "stored_bits",
    "capacity_ratio",
    "knowledge_per_stored_bit",
    "quantize_time_s",
    "status",
)

_FIELDS = {field.name: field for field in fields_of(ResultRow)}


def results_table(rows: Sequence[ResultRow], *, is_narrow: bool = False) -> "Table":
    """One line per cell; R and R_max in bits per parameter."""
    left_out: set[str] = set(_WIDE_ONLY if is_narrow else ())
    left_out |= {name for name in _VARYING_ONLY if len({getattr(row, name) for row in rows}) < 2}
    if not any(row.n_confirm_seeds for row in rows):
        left_out |= set(_CONFIRMED_ONLY)
    if not any(row.edge for row in rows):
        left_out.add("edge")
    names = [name for name in _COLUMNS if name not in left_out]
    return text_table(
        {_heading(name): _side(name) for name in names},
        [[_cell(row, name) for name in names] for row in rows],
        caption="R, R_max: bits per parameter, stored and at most",
        wrapped=_heading("status"),
    )


def quantized_table(rows: Sequence[ResultRow], *, before: Sequence[float]) -> "Table":
    """One line per quantized model; `before`: R of each model as it was trained."""
    caption = (
        "R: bits of knowledge per parameter; bits/weight: bits of storage; "
        "per stored bit: R over bits/weight"
    )
    at = 1 + _QUANTIZED_COLUMNS.index("capacity_ratio")
    columns: dict[str, Justify] = {}
    for name in _QUANTIZED_COLUMNS:
        columns[_heading(name)] = _side(name)
        if name == "capacity_ratio":
            columns["R before"] = "right"
    lines = [[_cell(row, name) for name in _QUANTIZED_COLUMNS] for row in rows]
    for line, ratio in zip(lines, before, strict=True):
        line.insert(at, f"{ratio:.3f}")
    return text_table(columns, lines, caption=caption, wrapped=_heading("status"))


def _heading(name: str) -> str:
    return _FIELDS[name].column.heading


def _side(name: str) -> Justify:
    return "left" if _FIELDS[name].kind is str else "right"


def _cell(row: ResultRow, name: str) -> str:
    if name == "n_trials":
        return f"{row.n_trials_ok}/{row.n_trials}"
    if name == "n_confirm_seeds" and row.n_confirm_seeds:
        return f"{row.n_confirm_seeds_ok}/{row.n_confirm_seeds}"
    if name == "edge":
        return row.edge or ""
    if name == "status":
        said = row.reason or what_is_missing(row)
        return row.status + (f": {said}" if said else "")
    return shown(row, name)

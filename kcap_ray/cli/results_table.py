"""The results of a sweep as a table for the terminal, with the headings of the schema."""

from collections.abc import Sequence

from rich.table import Table

from kcap_ray.runs.edges import edge_of
from kcap_ray.runs.record import ResultRow
from kcap_ray.runs.schema import fields_of, shown

_COLUMNS = (
    "n_people",
    "exposures",
    "model",
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


def results_table(rows: Sequence[ResultRow], *, is_narrow: bool = False) -> Table:
    """One line per cell; R and R_max in bits per parameter."""
    left_out = set(_WIDE_ONLY if is_narrow else ())
    if not any(row.n_confirm_seeds for row in rows):
        left_out |= set(_CONFIRMED_ONLY)
    if not any(map(edge_of, rows)):
        left_out.add("edge")
    names = [name for name in _COLUMNS if name not in left_out]
    table = _table(names, "R, R_max: bits per parameter, stored and at most")
    for row in rows:
        table.add_row(*(_cell(row, name) for name in names))
    return table


def quantized_table(rows: Sequence[ResultRow], *, before: Sequence[float]) -> Table:
    """One line per quantized model; `before`: R of each model as it was trained."""
    caption = (
        "R: bits of knowledge per parameter; bits/weight: bits of storage; "
        "per stored bit: R over bits/weight"
    )
    at = 1 + _QUANTIZED_COLUMNS.index("capacity_ratio")
    table = _table(_QUANTIZED_COLUMNS, caption)
    table.add_column("R before", justify="right", no_wrap=True)
    table.columns.insert(at, table.columns.pop())
    for row, ratio in zip(rows, before, strict=True):
        cells = [_cell(row, name) for name in _QUANTIZED_COLUMNS]
        table.add_row(*cells[:at], f"{ratio:.3f}", *cells[at:])
    return table


def _cell(row: ResultRow, name: str) -> str:
    if name == "n_trials":
        return f"{row.n_trials_ok}/{row.n_trials}"
    if name == "n_confirm_seeds" and row.n_confirm_seeds:
        return f"{row.n_confirm_seeds_ok}/{row.n_confirm_seeds}"
    if name == "edge":
        return edge_of(row) or ""
    if name == "status":
        return row.status + (f": {row.reason}" if row.reason else "")
    return shown(row, name)


def _table(names: Sequence[str], caption: str) -> Table:
    table = Table(box=None, pad_edge=False, caption=caption)
    table.caption_justify = "left"
    for name in names:
        table.add_column(
            _FIELDS[name].column.heading,
            justify="left" if _FIELDS[name].kind is str else "right",
            no_wrap=name != "status",
        )
    return table

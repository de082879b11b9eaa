"""The results of a sweep as a table for the terminal."""

from collections.abc import Callable, Sequence
from typing import Any

from rich.table import Table


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


# Heading -> how a row shows it.
_COLUMNS = {
    "people": lambda row: f"{row['n_people']:,}",
    "exposures": lambda row: f"{row['exposures']:,}",
    "model": lambda row: row["model"],
    "params": lambda row: f"{row['n_params']:,}",
    "stored bits": lambda row: _number(row["stored_bits"], ",.0f"),
    "R": lambda row: _number(row["capacity_ratio"], ".3f"),
    "R_max": lambda row: _number(row["max_capacity_ratio"], ".3f"),
    "lr": lambda row: _number(row["lr"], ".2g"),
    "wd": lambda row: _number(row["weight_decay"], ".2g"),
    "trials": lambda row: f"{row['n_trials_ok']}/{row['n_trials']}",
    "s": lambda row: _number(row["train_time_s"], ".0f"),
    "status": lambda row: row["status"] + (f": {row['reason']}" if row["reason"] else ""),
}


_WIDE_ONLY = ("params", "wd", "trials", "s")
"""Columns that a terminal of 80 characters has no room for."""


# The same of the rows of quantized models.
_QUANTIZED_COLUMNS = {
    "people": _COLUMNS["people"],
    "exposures": _COLUMNS["exposures"],
    "model": _COLUMNS["model"],
    "quantization": lambda row: row["quantization"],
    "bits/weight": lambda row: _number(row["bits_per_weight"], ".2f"),
    "stored bits": _COLUMNS["stored bits"],
    "R": _COLUMNS["R"],
    "R before": lambda row: _number(row["before"], ".3f"),
    "per stored bit": lambda row: _number(row["knowledge_per_stored_bit"], ".4f"),
    "s": lambda row: _number(row["quantize_time_s"], ".1f"),
    "status": _COLUMNS["status"],
}

_TEXT = ("model", "quantization", "status")


def results_table(rows: Sequence[dict[str, Any]], *, is_narrow: bool = False) -> Table:
    """One line per cell; R and R_max in bits per parameter."""
    columns = {
        heading: show
        for heading, show in _COLUMNS.items()
        if not (is_narrow and heading in _WIDE_ONLY)
    }
    return _table(columns, rows, "R, R_max: bits per parameter, stored and at most")


def quantized_table(rows: Sequence[dict[str, Any]]) -> Table:
    """One line per quantized model; `before` of a row is R of the model as it was trained."""
    caption = (
        "R: bits of knowledge per parameter; bits/weight: bits of storage; "
        "per stored bit: R over bits/weight"
    )
    return _table(_QUANTIZED_COLUMNS, rows, caption)


def _table(
    columns: dict[str, Callable[[dict[str, Any]], str]],
    rows: Sequence[dict[str, Any]],
    caption: str,
) -> Table:
    table = Table(box=None, pad_edge=False, caption=caption)
    table.caption_justify = "left"
    for heading in columns:
        table.add_column(
            heading,
            justify="left" if heading in _TEXT else "right",
            no_wrap=heading != "status",
        )
    for row in rows:
        table.add_row(*(show(row) for show in columns.values()))
    return table

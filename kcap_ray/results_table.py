"""The results of a sweep as a table for the terminal."""

from collections.abc import Sequence
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


def results_table(rows: Sequence[dict[str, Any]], *, is_narrow: bool = False) -> Table:
    """One line per cell; R and R_max in bits per parameter."""
    table = Table(
        box=None, pad_edge=False, caption="R, R_max: bits per parameter, stored and at most"
    )
    table.caption_justify = "left"
    columns = {
        heading: show
        for heading, show in _COLUMNS.items()
        if not (is_narrow and heading in _WIDE_ONLY)
    }
    for heading in columns:
        is_text = heading in ("model", "status")
        table.add_column(
            heading, justify="left" if is_text else "right", no_wrap=heading != "status"
        )
    for row in rows:
        table.add_row(*(show(row) for show in columns.values()))
    return table

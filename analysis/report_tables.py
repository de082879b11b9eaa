"""The tables of the report, as HTML."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.exposure_fit import FORMS, ExposureFit
from analysis.fit import CapacityFit
from analysis.load import Results
from analysis.markup import escape, estimate_cells, number, paragraph, table
from analysis.peak_table import Peak
from kcap_ray.runs.record import ResultRow
from kcap_ray.runs.schema import fields_of

# Columns of results.parquet that are shown, where a run has them.
_SHOWN = (
    "dataset",
    "n_people",
    "exposures",
    "model",
    "quantization",
    "n_params",
    "max_capacity_ratio",
    "capacity_ratio",
    "capacity_ratio_sd",
    "n_confirm_seeds",
    "selected_capacity_ratio",
    "stored_bits",
    "demand_bits",
    "loss_name_nats",
    "loss_value_nats",
    "lr",
    "weight_decay",
    "edge",
    "seed",
    "train_time_s",
    "tokens_per_s",
    "device",
)
_FIELDS = {field.name: field for field in fields_of(ResultRow)}
RESULT_COLUMNS = {
    name: (
        _FIELDS[name].column.label,
        _FIELDS[name].column.unit,
        "name" if _FIELDS[name].kind is str else "number",
    )
    for name in _SHOWN
}
"""Column: (heading, unit, kind)."""
_OF_FRESH_SEEDS = ("capacity_ratio_sd", "n_confirm_seeds", "selected_capacity_ratio")
ALWAYS_SHOWN = {"model", "n_people", "capacity_ratio", "max_capacity_ratio", "stored_bits"}


def fits_text(fits: Sequence[CapacityFit]) -> str:
    if not fits:
        return ""
    levels = sorted({fit.capacity.level for fit in fits if fit.capacity})
    stated = (
        f" Intervals are {levels[0]:.0%} profile intervals, robust to clusters." if levels else ""
    )
    law = "R = (R_max^-s + c^-s)^(-1/s): a model stores what there is, up to c bits per parameter."
    return paragraph(law + stated, soft=True)


def fits_table(fits: Sequence[CapacityFit]) -> str:
    if not fits:
        return ""
    columns = {
        "Cells": "",
        "Fitted": "cells",
        "c": "bits/param",
        "c interval": "bits/param",
        "s": "",
        "s interval": "",
        "Residual": "rms, relative",
        "Status": "",
    }
    rows = [
        [
            escape(fit.group.label),
            str(fit.n_points),
            *_capacity_cells(fit),
            *estimate_cells(fit.sharpness),
            "-" if fit.log_rms is None else f"{fit.log_rms:.1%}",
            escape(f"{fit.status}: {fit.reason}" if fit.reason else fit.status),
        ]
        for fit in fits
    ]
    return table(columns, rows, kinds=["name", *["number"] * 6, "words"])


def _capacity_cells(fit: CapacityFit) -> list[str]:
    """Value and interval of c, or what it exceeds."""
    if fit.capacity is None and fit.at_least is not None:
        return [f"&gt; {number(fit.at_least)}", "-"]
    return estimate_cells(fit.capacity)


def exposures_table(fits: Sequence[ExposureFit]) -> str:
    if not fits:
        return ""
    columns = {
        "Cells": "",
        "Form": "",
        "Limit": "bits/param",
        "Limit interval": "bits/param",
        "Half reached at": "exposures",
        "Half interval": "exposures",
        "Status": "",
    }
    rows = [
        [
            escape(fit.group),
            escape(fit.law.form.name) if fit.law else "-",
            *estimate_cells(fit.limit),
            *estimate_cells(fit.half_exposures),
            escape(f"{fit.status}: {fit.reason}" if fit.reason else fit.status),
        ]
        for fit in fits
    ]
    formulas = "; ".join(f"{form.name}, {form.formula}" for form in FORMS.values())
    text = (
        f"Empirical curves of exposures E: {formulas}. The one of best AICc is drawn; a limit "
        "is stated only where a power law, which has none, is clearly worse."
    )
    return paragraph(text, soft=True) + table(
        columns, rows, kinds=["name", "name", *["number"] * 4, "words"]
    )


def peaks_table(peaks: Sequence[Peak]) -> str:
    if not peaks:
        return ""
    columns = {
        "Cells": "",
        "People": "",
        "Peak R": "bits/param",
        "at R_max": "bits/param",
        "Model": "",
        "Models tried": "",
        "Seeds": "",
        "Note": "",
    }
    rows = [
        [
            escape(peak.group.label),
            number(peak.n_people),
            number(peak.ratio),
            number(peak.max_ratio),
            escape(peak.model),
            str(peak.n_models),
            str(peak.n_seeds),
            "limited by the data: the true peak is higher" if peak.is_demand_limited else "",
        ]
        for peak in peaks
    ]
    kinds = ["name", *["number"] * 3, "name", *["number"] * 2, "words"]
    return table(columns, rows, kinds=kinds)


def results_table(results: Results) -> str:
    present = [c for c in RESULT_COLUMNS if c in results.rows and not _is_idle(c, results.rows)]
    same = {c for c in present if len(results.rows[c].drop_duplicates()) == 1} - ALWAYS_SHOWN
    same = same if len(results.rows) > 1 else set()
    known = {c: RESULT_COLUMNS[c] for c in present if c not in same}
    columns = {heading: unit for heading, unit, _ in known.values()} | {"Status": ""}
    kinds = [kind for _, _, kind in known.values()] + ["words"]
    rows = [
        [_result_cell(row[c], known[c][2]) for c in known] + [escape(_status(row))]
        for row in results.rows.to_dict("records")
    ]
    classes = ["excluded" if reason else "" for reason in results.rows["excluded_because"]]
    return _shared_values(results.rows, sorted(same, key=present.index)) + table(
        columns, rows, kinds=kinds, row_classes=classes
    )


def _is_idle(column: str, rows: pd.DataFrame) -> bool:
    """Whether it tells of fresh seeds where there are none, or of edges where no cell is at one."""
    if column == "edge":
        return not any(isinstance(edge, str) and edge for edge in rows[column])
    return column in _OF_FRESH_SEEDS and not rows["n_confirm_seeds"].any()


def _shared_values(rows: pd.DataFrame, columns: Sequence[str]) -> str:
    """One line for the columns that hold the same value in every row."""
    if not columns:
        return ""
    first = rows[list(columns)].to_dict("records")[0]
    parts = []
    for column in columns:
        heading, unit, kind = RESULT_COLUMNS[column]
        value = _result_cell(first[column], kind)
        parts.append(f"{escape(heading)} {value} {escape(unit)}".rstrip())
    return f'<p class="soft">The same in every row: {"; ".join(parts)}.</p>'


def _status(row: Mapping[Any, Any]) -> str:
    return str(row["excluded_because"] or row["status"])


def _result_cell(value: Any, kind: str) -> str:
    if kind == "number":
        return number(value)
    return "-" if pd.isna(value) else escape(value)

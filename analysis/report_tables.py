"""The tables of the report about fits, peaks and rows; None where there is nothing to show."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.exposure_fit import FORMS, ExposureFit
from analysis.fit import CapacityFit
from analysis.groups import GroupKey
from analysis.load import Results
from analysis.page import (
    Cell,
    Head,
    Kind,
    Place,
    Row,
    Table,
    condensed,
    estimate_cells,
    number,
    number_cell,
    text_cell,
)
from analysis.peak_table import Peak
from analysis.words import Names
from kcap_ray.runs.learnt import ADVICE, missing_in
from kcap_ray.runs.record import ResultRow
from kcap_ray.runs.schema import fields_of

# Columns of results.parquet that are shown, where a run has them, and on which screens.
SHOWN: dict[str, Place] = {
    "dataset": "wide",
    "model": "always",
    "quantization": "wide",
    "n_people": "always",
    "exposures": "always",
    "seed": "wide",
    "optimizer": "wide",
    "n_params": "wide",
    "capacity_ratio": "always",
    "capacity_ratio_sd": "wide",
    "n_confirm_seeds": "wide",
    "selected_capacity_ratio": "more",
    "max_capacity_ratio": "always",
    "stored_bits": "wide",
    "demand_bits": "wide",
    "loss_name_nats": "more",
    "loss_value_nats": "more",
    "lr": "more",
    "weight_decay": "more",
    "edge": "wide",
    "train_time_s": "more",
    "tokens_per_s": "more",
    "device": "more",
}
_OF_FRESH_SEEDS = ("capacity_ratio_sd", "n_confirm_seeds", "selected_capacity_ratio")
_FIELDS = {field.name: field for field in fields_of(ResultRow)}

CORNER_TEXT = (
    "R = (R_max^-s + c^-s)^(-1/s): a model stores the demand (R = R_max), up to c bits per "
    "parameter. s is how sharply one turns into the other: at the corner, R_max = c, R is "
    "c / 2^(1/s), which is 0.87 c at s = 5, the value of the published points. Where too few "
    "cells lie near the corner to tell s, the law is drawn with s near 5; a corner drawn as a "
    "bend without any rounding (s above 20) is one that the cells themselves ask for."
)


def fits_table(fits: Sequence[CapacityFit], names: Names) -> Table | None:
    """The capacity law of every group, with interval and status."""
    if not fits:
        return None
    levels = sorted({fit.capacity.level for fit in fits if fit.capacity})
    stated = (
        f" Intervals are {levels[0]:.0%} profile intervals, robust to clusters." if levels else ""
    )
    heads = (
        *group_heads("always"),
        Head(name="Cells", place="wide"),
        Head(name="c", unit="bits/param", place="always"),
        Head(name="c interval", unit="bits/param", place="always"),
        Head(name="s", place="more"),
        Head(name="s interval", place="more"),
        Head(name="Residual", unit="rms, relative", place="more"),
        Head(name="Status", kind="name", place="always"),
    )
    rows = [
        Row(
            cells=(
                *group_cells(fit.group, names),
                number_cell(fit.n_points),
                *_capacity_cells(fit),
                *estimate_cells(fit.sharpness),
                Cell(text="-")
                if fit.log_rms is None
                else Cell(text=f"{fit.log_rms:.1%}", order=fit.log_rms),
                text_cell(fit.status),
            ),
            note=fit.reason,
        )
        for fit in fits
    ]
    return condensed(Table(heads=heads, rows=tuple(rows), text=CORNER_TEXT + stated))


def group_heads(exposures: Place = "wide") -> tuple[Head, ...]:
    """The columns that say what a group of rows is."""
    return (
        Head(name="Data", kind="name"),
        Head(name="Architecture", kind="name"),
        Head(name="Weights", kind="name"),
        Head(name="Exposures", place=exposures),
    )


def group_cells(key: GroupKey, names: Names) -> tuple[Cell, ...]:
    """The cells of `group_heads`."""
    return (
        text_cell(names.data(key.dataset)),
        text_cell(key.family),
        text_cell(key.quantization if key.quantization != "none" else "as trained"),
        number_cell(key.exposures),
    )


def _capacity_cells(fit: CapacityFit) -> list[Cell]:
    """Value and interval of c, or what it exceeds."""
    if fit.capacity is None and fit.at_least is not None:
        return [Cell(text=f"> {number(fit.at_least)}", order=fit.at_least), Cell(text="-")]
    return estimate_cells(fit.capacity)


def exposures_table(fits: Sequence[ExposureFit], names: Names) -> Table | None:
    """The law of c over exposures, of every group."""
    if not fits:
        return None
    formulas = "; ".join(f"{form.name}, {form.formula}" for form in FORMS.values())
    text = (
        f"Empirical curves of exposures E: {formulas}. The one of best AICc is drawn; a limit "
        "is stated only where a power law, which has none, is clearly worse."
    )
    heads = (
        Head(name="Cells", kind="name"),
        Head(name="Form", kind="name"),
        Head(name="Limit", unit="bits/param", place="always"),
        Head(name="Limit interval", unit="bits/param"),
        Head(name="Half reached at", unit="exposures"),
        Head(name="Half interval", unit="exposures", place="more"),
        Head(name="Status", kind="name", place="always"),
    )
    rows = [
        Row(
            cells=(
                text_cell(names.label(fit.group)),
                text_cell(fit.law.form.name if fit.law else "-"),
                *estimate_cells(fit.limit),
                *estimate_cells(fit.half_exposures),
                text_cell(fit.status),
            ),
            note=fit.reason,
        )
        for fit in fits
    ]
    return condensed(Table(heads=heads, rows=tuple(rows), text=text))


def peaks_table(peaks: Sequence[Peak], names: Names) -> Table | None:
    """The largest R of every group and number of people."""
    if not peaks:
        return None
    heads = (
        *group_heads("always"),
        Head(name="People", place="always"),
        Head(name="Peak R", unit="bits/param", place="always"),
        Head(name="at R_max", unit="bits/param"),
        Head(name="Model", kind="name"),
        Head(name="Models tried"),
        Head(name="Seeds"),
        Head(name="Note", kind="words"),
    )
    rows = [
        Row(
            cells=(
                *group_cells(peak.group, names),
                number_cell(peak.n_people),
                number_cell(peak.ratio),
                number_cell(peak.max_ratio),
                text_cell(peak.model),
                number_cell(peak.n_models),
                number_cell(peak.n_seeds),
                text_cell("limited by the data" if peak.is_demand_limited else ""),
            )
        )
        for peak in peaks
    ]
    text = "Limited by the data: the largest R is nearly R_max, so the true peak is higher."
    is_said = any(peak.is_demand_limited for peak in peaks)
    return condensed(Table(heads=heads, rows=tuple(rows), text=text if is_said else ""))


def results_table(results: Results, names: Names) -> Table:
    """Every row, those without a result too; what all rows share is said once."""
    present = [c for c in SHOWN if c in results.rows and not _is_idle(c, results.rows)]
    heads = [head_of(column) for column in present]
    rows = [_result_row(row, present, names) for row in results.rows.to_dict("records")]
    status = Head(name="Status", kind="name", place="wide")
    return condensed(Table(heads=(*heads, status), rows=tuple(rows)))


def _is_idle(column: str, rows: pd.DataFrame) -> bool:
    """Whether it tells of fresh seeds where there are none, or of edges where no cell is at one."""
    if column == "edge":
        return not any(isinstance(edge, str) and edge for edge in rows[column])
    return column in _OF_FRESH_SEEDS and not rows["n_confirm_seeds"].any()


def head_of(column: str) -> Head:
    """A column of results files as the report shows it, with label and unit of the schema."""
    known = _FIELDS[column].column
    return Head(name=known.label, unit=known.unit, kind=_kind(column), place=SHOWN[column])


def _kind(column: str) -> Kind:
    return "name" if _FIELDS[column].kind is str else "number"


def _result_row(row: Mapping[Any, Any], columns: Sequence[str], names: Names) -> Row:
    cells = [_result_cell(row[c], c, names) for c in columns]
    why = str(row["excluded_because"])
    status = str(row["status"])
    return Row(
        cells=(*cells, text_cell(status)),
        note=(why if why != status else "") or _missing(row),
        is_excluded=bool(why),
    )


def _missing(row: Mapping[Any, Any]) -> str:
    """What a cell has not learnt at all, and what to do."""
    missing = missing_in(row)
    return f"{missing}: {ADVICE}" if missing else ""


def _result_cell(value: Any, column: str, names: Names) -> Cell:
    if _kind(column) == "number":
        return number_cell(value)
    if pd.isna(value):
        return Cell(text="-")
    return text_cell(names.data(str(value)) if column == "dataset" else value)

"""The HTML report of a run, one file: verdicts, figures, fits, every row, how it was made."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.claims import Finding, Verdict, judge_claims
from analysis.estimate import Estimate
from analysis.exposure_fit import ExposureFit
from analysis.fit import CapacityFit
from analysis.groups import Peak, find_peaks, row_of_largest
from analysis.load import Results, load_results, read_environment, read_sweep_text
from analysis.markup import escape, number, page, paragraph, picture, section, table
from analysis.plots import FIGURES, fit_inputs, write_figures

VERDICT_CLASS = {Verdict.HOLDS: "holds", Verdict.FAILS: "fails", Verdict.NOT_TESTED: "untested"}
# Column of results.parquet: (heading, unit, kind). Columns that a run does not have are left out.
RESULT_COLUMNS = {
    "dataset": ("Data", "", "name"),
    "n_people": ("People", "", "number"),
    "exposures": ("Exposures", "", "number"),
    "model": ("Model", "", "name"),
    "quantization": ("Quantization", "", "name"),
    "n_params": ("Parameters", "", "number"),
    "max_capacity_ratio": ("R_max", "bits/param", "number"),
    "capacity_ratio": ("R", "bits/param", "number"),
    "stored_bits": ("Stored", "bits", "number"),
    "demand_bits": ("Demand", "bits", "number"),
    "loss_name_nats": ("Name loss", "nats/person", "number"),
    "loss_value_nats": ("Value loss", "nats/person", "number"),
    "lr": ("Learning rate", "", "number"),
    "weight_decay": ("Weight decay", "", "number"),
    "seed": ("Seed", "", "number"),
    "train_time_s": ("Training", "s", "number"),
    "tokens_per_s": ("Speed", "tokens/s", "number"),
    "device": ("Device", "", "name"),
}
ALWAYS_SHOWN = {"model", "n_people", "capacity_ratio", "max_capacity_ratio", "stored_bits"}


def write_report(directory: Path | str) -> Path:
    """Write DIR/report.html and DIR/figures/*.{pdf,svg,png}; returns the report's path.

    Raises ResultsError where DIR holds no readable results.
    """
    folder = Path(directory)
    results = load_results([folder])
    inputs = fit_inputs(results)
    files, missing = write_figures(inputs, folder / "figures")
    environment = read_environment(folder)
    sections = [
        _summary(results, inputs.fits),
        section("Claims of the paper", _claim_blocks(judge_claims(results.used))),
        section("Figures", *_pictures(files, missing)),
        section("Capacity law", _fits_text(inputs.fits), _fits_table(inputs.fits)),
        section("Capacity against exposures", _exposures_table(inputs.exposure_fits)),
        section("Peaks", _peaks_table(find_peaks(results.used))),
        section("All results", _results_table(results)),
        section("How it was made", _command(environment), _environment_table(environment)),
        section("Sweep file", _sweep_text(folder)),
    ]
    path = folder / "report.html"
    draft = path.with_suffix(".html.tmp")
    draft.write_text(page(f"kcap report: {results.name}", sections), encoding="utf-8")
    os.replace(draft, path)
    return path


def _summary(results: Results, fits: Sequence[CapacityFit]) -> str:
    counts = results.rows["status"].value_counts()
    parts = ", ".join(f"{count} {status}" for status, count in counts.items())
    lines = [paragraph(f"{len(results.rows)} rows: {parts}.")]
    if results.used.empty:
        return lines[0] + paragraph("No row can be used: the table below says why for each.")
    best = row_of_largest(results.used, "capacity_ratio")
    lines.append(
        paragraph(
            f"Largest R: {number(best['capacity_ratio'])} bits per parameter, {best['model']} on "
            f"{best['dataset']} with {number(best['n_people'])} people and "
            f"{number(best['exposures'])} exposures."
        )
    )
    fitted = [f"{number(f.capacity.value)} ({f.group.label})" for f in fits if f.capacity]
    if fitted:
        lines.append(paragraph(f"Fitted capacity, bits per parameter: {'; '.join(fitted)}."))
    return "\n".join(lines)


def _claim_blocks(findings: Sequence[Finding]) -> str:
    """Claim by claim, stacked: columns of sentences do not fit on a phone."""
    blocks = []
    for finding in findings:
        css = VERDICT_CLASS[finding.verdict]
        verdict = f'<span class="verdict {css}">{escape(finding.verdict)}</span>'
        blocks.append(
            f'<div class="claim"><p><b>{escape(finding.claim)}</b> {escape(finding.statement)}: '
            f'{verdict}</p><p class="soft">{escape(finding.reason)}</p></div>'
        )
    return "\n".join(blocks)


def _pictures(files: Mapping[str, Sequence[Path]], missing: Mapping[str, str]) -> list[str]:
    shown = [picture(name, FIGURES[name].caption, paths) for name, paths in files.items()]
    if missing:
        reasons = "; ".join(missing.values())
        shown.append(paragraph(f"Figures left out: {reasons}.", soft=True))
    return shown


def _fits_text(fits: Sequence[CapacityFit]) -> str:
    if not fits:
        return ""
    levels = sorted({fit.capacity.level for fit in fits if fit.capacity})
    stated = f" Intervals are {levels[0]:.0%} bootstrap intervals over cells." if levels else ""
    law = "R = (R_max^-s + c^-s)^(-1/s): a model stores what there is, up to c bits per parameter."
    return paragraph(law + stated, soft=True)


def _estimate(found: Estimate | None) -> list[str]:
    """Value and interval as two cells."""
    if found is None:
        return ["-", "-"]
    if found.low is None or found.high is None:
        return [number(found.value), "-"]
    return [number(found.value), f"{number(found.low)} to {number(found.high)}"]


def _fits_table(fits: Sequence[CapacityFit]) -> str:
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
            *_estimate(fit.capacity),
            *_estimate(fit.sharpness),
            "-" if fit.log_rms is None else f"{fit.log_rms:.1%}",
            escape(f"{fit.status}: {fit.reason}" if fit.reason else fit.status),
        ]
        for fit in fits
    ]
    return table(columns, rows, kinds=["name", *["number"] * 6, "words"])


def _exposures_table(fits: Sequence[ExposureFit]) -> str:
    if not fits:
        return ""
    columns = {
        "Cells": "",
        "Limit": "bits/param",
        "Limit interval": "bits/param",
        "Half reached at": "exposures",
        "Half interval": "exposures",
        "Status": "",
    }
    rows = [
        [
            escape(fit.group),
            *_estimate(fit.limit),
            *_estimate(fit.half_exposures),
            escape(f"{fit.status}: {fit.reason}" if fit.reason else fit.status),
        ]
        for fit in fits
    ]
    text = "c(E) = limit * E / (E + E_half), an empirical curve."
    return paragraph(text, soft=True) + table(
        columns, rows, kinds=["name", *["number"] * 4, "words"]
    )


def _peaks_table(peaks: Sequence[Peak]) -> str:
    if not peaks:
        return ""
    columns = {
        "Cells": "",
        "People": "",
        "Peak R": "bits/param",
        "at R_max": "bits/param",
        "Model": "",
        "Models tried": "",
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
            "limited by the data: the true peak is higher" if peak.is_demand_limited else "",
        ]
        for peak in peaks
    ]
    kinds = ["name", "number", "number", "number", "name", "number", "words"]
    return table(columns, rows, kinds=kinds)


def _results_table(results: Results) -> str:
    present = [c for c in RESULT_COLUMNS if c in results.rows]
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


def _command(environment: Mapping[str, object]) -> str:
    command = environment.get("command")
    if not command:
        return ""
    text = " ".join(map(str, command)) if isinstance(command, list) else str(command)
    return f"<pre>{escape(text)}</pre>"


def _environment_table(environment: Mapping[str, object]) -> str:
    shown = {key: value for key, value in environment.items() if key != "command"}
    if not shown:
        return ""
    rows = [[escape(key), escape(_said(value))] for key, value in shown.items()]
    return table({"Environment": "", "Value": ""}, rows, kinds=["name", "words"])


def _said(value: object) -> str:
    """A value of environment.json in words: a group as `name value, name value`."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_said(part)}" for name, part in value.items())
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _sweep_text(folder: Path) -> str:
    text = read_sweep_text(folder)
    return f"<pre>{escape(text)}</pre>" if text else ""

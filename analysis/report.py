"""The HTML report of a run, one file: question and answer first, then every row, verdicts, figures,
fits, and how it was made.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from analysis.claims.claim import Finding, Verdict
from analysis.claims.paper import judge_claims
from analysis.comparison_tables import (
    architectures_table,
    bands_table,
    junk_table,
    ladder_table,
    quantized_table,
)
from analysis.headline import Headline, counts_sentence, headline
from analysis.load import load_results, read_environment, read_sweep_text
from analysis.page import Table, picture, render
from analysis.peak_table import find_peaks
from analysis.plots import FIGURES, Inputs, fit_inputs, write_figures
from analysis.report_tables import exposures_table, fits_table, peaks_table, results_table
from analysis.trackers import find_tracked
from analysis.words import Names
from kcap_ray.runs.files import write_atomically

VERDICT_CLASS = {
    Verdict.HOLDS: "holds",
    Verdict.FAILS: "fails",
    Verdict.UNDECIDED: "untested",
    Verdict.NOT_MEASURED: "untested",
}
_COMPARISONS: dict[str, tuple[str, Callable[[pd.DataFrame, Names], Table | None]]] = {
    "architectures": ("Relative capacity", architectures_table),
    "ladder": ("From LLaMA to GPT2", ladder_table),
    "quantized": ("Quantized weights", quantized_table),
    "junk": ("Junk", junk_table),
    "bands": ("Tables and bands of frequency", bands_table),
}
_QUESTION = re.compile(r"^#[ \t]*Question:[ \t]*(.*?)[ \t]*$", re.MULTILINE)


def write_report(directory: Path | str) -> Path:
    """Write DIR/report.html and DIR/figures/*.{pdf,svg,png}; returns the report's path.

    Raises ResultsError where DIR holds no readable results.
    """
    folder = Path(directory)
    results = load_results([folder])
    inputs = fit_inputs(results)
    names = Names.of(results.rows["dataset"])
    said = headline(results.used, inputs.fits, names)
    files, missing = write_figures(inputs, folder / "figures")
    tables = _tables(inputs, names)
    findings = judge_claims(results.used)
    environment = read_environment(folder)
    sweep_text = read_sweep_text(folder)
    values = {
        "name": results.name,
        "question": question_of(sweep_text),
        "answer": [said.sentence, counts_sentence(results.rows, results.used, names)],
        "results": results_table(results, names),
        "judged": [one for one in findings if one.verdict is not Verdict.NOT_MEASURED],
        "not_measured": [one for one in findings if one.verdict is Verdict.NOT_MEASURED],
        "missing": missing,
        "command": _command(environment),
        "environment": {key: _said(v) for key, v in environment.items() if key != "command"},
        "tracked": find_tracked(folder),
        "sweep_text": sweep_text,
        "css": VERDICT_CLASS,
        "sentences": _sentences,
        **_first_screen(said, files, tables),
    }
    path = folder / "report.html"
    write_atomically(path, render("report.html", values))
    return path


def question_of(sweep_text: str) -> str:
    """The question that the first lines of a sweep file ask, as a sentence; empty if none."""
    match = _QUESTION.search(sweep_text)
    return match[1][:1].upper() + match[1][1:] if match else ""


def _tables(inputs: Inputs, names: Names) -> dict[str, tuple[str, Table]]:
    """Every table that has something to show, with its heading."""
    used = inputs.results.used
    made = {
        "capacity": ("Capacity law", fits_table(inputs.fits, names)),
        **{key: (title, make(used, names)) for key, (title, make) in _COMPARISONS.items()},
        "exposures": ("Capacity against exposures", exposures_table(inputs.exposure_fits, names)),
        "peaks": ("Peaks", peaks_table(find_peaks(used), names)),
    }
    return {key: (title, table) for key, (title, table) in made.items() if table is not None}


def _first_screen(
    said: Headline,
    files: Mapping[str, Sequence[Path]],
    tables: Mapping[str, tuple[str, Table]],
) -> dict[str, object]:
    """The figure and the table of the headline, and those that follow further down."""
    first = next((name for name in said.figures if name in files), next(iter(files), None))
    pictures = {name: picture(name, FIGURES[name].caption, paths) for name, paths in files.items()}
    return {
        "first_picture": pictures.get(first) if first else None,
        "pictures": [one for name, one in pictures.items() if name != first],
        "first_table": tables.get(said.table),
        "tables": [found for key, found in tables.items() if key != said.table],
    }


def _sentences(finding: Finding) -> list[str]:
    """What a verdict rests on, what would decide it, and what contradicts the claim."""
    parts = [f"{finding.reason}."]
    if finding.verdict is Verdict.UNDECIDED:
        parts.append(f"It would be decided by {finding.outcome.decided_by}.")
    if finding.contradiction:
        parts.append(f"Beside it: {finding.contradiction}.")
    return parts


def _command(environment: Mapping[str, object]) -> str:
    command = environment.get("command")
    if not command:
        return ""
    return " ".join(map(str, command)) if isinstance(command, list) else str(command)


def _said(value: object) -> str:
    """A value of environment.json in words: a group as `name value, name value`."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_said(part)}" for name, part in value.items())
    return value if isinstance(value, str) else json.dumps(value, default=str)

"""The HTML report of a run, one file: verdicts, figures, fits, every row, how it was made."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from analysis.claims.claim import Finding, Verdict
from analysis.claims.paper import judge_claims
from analysis.comparison_tables import (
    architectures_table,
    bands_table,
    junk_table,
    ladder_table,
    quantized_table,
)
from analysis.fit import CapacityFit
from analysis.groups import find_peaks, row_of_largest
from analysis.load import Results, load_results, read_environment, read_sweep_text
from analysis.markup import escape, number, page, paragraph, picture, section, table
from analysis.plots import FIGURES, fit_inputs, write_figures
from analysis.report_tables import (
    exposures_table,
    fits_table,
    fits_text,
    peaks_table,
    results_table,
)
from kcap_ray.runs.files import write_atomically

VERDICT_CLASS = {
    Verdict.HOLDS: "holds",
    Verdict.FAILS: "fails",
    Verdict.UNDECIDED: "untested",
    Verdict.NOT_MEASURED: "untested",
}


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
        section("Relative capacity", architectures_table(results.used)),
        section("From LLaMA to GPT2", ladder_table(results.used)),
        section("Quantized weights", quantized_table(results.used)),
        section("Junk", junk_table(results.used)),
        section("Tables and bands of frequency", bands_table(results.used)),
        section("Capacity law", fits_text(inputs.fits), fits_table(inputs.fits)),
        section("Capacity against exposures", exposures_table(inputs.exposure_fits)),
        section("Peaks", peaks_table(find_peaks(results.used))),
        section("All results", results_table(results)),
        section("How it was made", _command(environment), _environment_table(environment)),
        section("Sweep file", _sweep_text(folder)),
    ]
    path = folder / "report.html"
    write_atomically(path, page(f"kcap report: {results.name}", sections))
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
            f'{verdict}</p><p class="soft">{escape(" ".join(_sentences(finding)))}</p></div>'
        )
    return "\n".join(blocks)


def _sentences(finding: Finding) -> list[str]:
    """What a verdict rests on, what would decide it, and what contradicts the claim."""
    parts = [f"{finding.reason}."]
    if finding.verdict is Verdict.UNDECIDED:
        parts.append(f"It would be decided by {finding.outcome.decided_by}.")
    if finding.contradiction:
        parts.append(f"Beside it: {finding.contradiction}.")
    return parts


def _pictures(files: Mapping[str, Sequence[Path]], missing: Mapping[str, str]) -> list[str]:
    shown = [picture(name, FIGURES[name].caption, paths) for name, paths in files.items()]
    if missing:
        reasons = "; ".join(missing.values())
        shown.append(paragraph(f"Figures left out: {reasons}.", soft=True))
    return shown


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

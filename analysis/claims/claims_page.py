"""The page of the paper's claims: each with its verdict, and what was spent on the runs."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from analysis.board import command_of, hours_of, markdown_table
from analysis.claims.claim import Finding, Verdict
from analysis.claims.paper import judge_claims
from analysis.load import load_results

_INTRODUCTION = """\
# The paper's claims

What the committed runs say of each claim of [arXiv 2404.05405](https://arxiv.org/abs/2404.05405).
`make claims` writes this page from the tables in `docs/results`.

A verdict other than *not measured* takes the paper's data and sizes, and *holds* or *does not hold*
an interval that decides it ([decision 0055](../decisions/0055-verdicts-by-intervals.md)). What
miniatures show stands beside it, with 95% intervals where there are seeds; it decides nothing.
Points that a GPU measured outside of a sweep are on [their own page](contact/README.md).
"""


def page_of(directories: Sequence[Path]) -> str:
    """The page in Markdown. Raises `ResultsError` where a run cannot be read."""
    findings = judge_claims(load_results(directories).used)
    counts = {verdict: sum(one.verdict is verdict for one in findings) for verdict in Verdict}
    summary = ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n)
    rows = [_claim_row(one) for one in findings]
    runs = list(_run_rows(directories))
    total = sum(hours for _, _, hours, _ in runs)
    spent = [(name, cells, f"{hours:.2g}", command) for name, cells, hours, command in runs]
    columns = {"": "---", "claim": "---", "verdict": "---", "what there is": "---"}
    return "\n".join(
        [
            f"{_INTRODUCTION}\n{summary}.\n",
            markdown_table(rows, columns),
            "## What they cost\n",
            f"{total:.1f} hours of training, of all trials and seeds, on the machines that ran them"
            " (which often had other work). Cells taken over from another run count in both:\n",
            markdown_table(
                spent, {"run": "---", "cells": "--:", "hours": "--:", "command": "---"}
            ).rstrip("\n"),
            "",
        ]
    )


def _claim_row(finding: Finding) -> tuple[str, ...]:
    parts = [finding.reason]
    if finding.verdict is Verdict.UNDECIDED:
        parts.append(f"Would be decided by {finding.outcome.decided_by}")
    if finding.contradiction:
        parts.append(f"*Beside it: {finding.contradiction}*")
    cells = (finding.claim, finding.statement, str(finding.verdict), ". ".join(parts))
    return tuple(cell.replace("|", "\\|") for cell in cells)


def _run_rows(directories: Iterable[Path]) -> Iterable[tuple[str, str, float, str]]:
    """Name, cells, hours and command of each run that has a finished cell."""
    for directory in directories:
        used = load_results([directory]).used
        if not used.empty:
            hours = sum(hours_of(used).values())
            yield (
                f"`{directory.name}`",
                str(used["cell_id"].nunique()),
                hours,
                f"`{command_of(directory)}`",
            )

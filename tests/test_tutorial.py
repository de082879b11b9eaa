"""The tutorial as a reader follows it: its files written, its commands run, what they print."""

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kcap_ray import read_results

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)
SECTIONS = ("countries", "layer")

# So that a sweep takes seconds; what it prints has the same cells with other numbers.
SHORT = {
    "countries": ["--set", "train.exposures=[2, 3, 4]", "--set", "tune.trials=1"],
    "layer": ["--set", "train.exposures=1", "--set", "tune.trials=1"],
}


def commands(name: str) -> list[tuple[list[str], str]]:
    """Commands of the section that is about a sweep, and what the page says they print."""
    found = []
    for (kind, _, text), (next_kind, _, output) in itertools.pairwise(BLOCKS):
        if kind == "bash" and f" {name}" in text:
            assert next_kind == "text"
            found.append((text.splitlines(), output))
    return found


def printed(lines: list[str], folder: Path) -> str:
    """What the commands print, one after another."""
    found = ""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "200",
        # One worker's imports are enough.
        "RAY_OVERRIDE_RESOURCES": '{"CPU": 1}',
    }
    for line in lines:
        verb, *words = line.split()
        assert verb == "kcap"
        command = [sys.executable, "-m", "kcap_ray.cli", *words]
        if words[0] == "sweep":
            command += SHORT[words[1]]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found += done.stdout
    return found


def without_ends(text: str) -> list[str]:
    """The lines without the spaces at their ends."""
    return [line.rstrip() for line in text.strip("\n").splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("name", SECTIONS)
def test_the_commands_do_what_the_page_says(name: str, tmp_path: Path) -> None:
    """In a fresh directory with the page's files: what `init` and `plan` print is on the page to
    the letter, and the table of the sweep has its cells.
    """
    for _, title, text in BLOCKS:
        if title:
            (tmp_path / title).write_text(text)
    (planned, plan_text), (run, table_text) = commands(name)
    assert without_ends(printed(planned, tmp_path)) == without_ends(plan_text)
    shown, found = without_ends(table_text), without_ends(printed(run, tmp_path))
    n_cells = len(read_results(tmp_path / "runs" / name))
    # So short a run learns nothing, which its status says too.
    found = [re.sub(r"ok: (nothing|no values) learnt$", "ok", line) for line in found]
    shown = [re.sub(r"ok: (nothing|no values) learnt$", "ok", line) for line in shown]
    for on_page, now in zip(shown[1 : 1 + n_cells], found[1 : 1 + n_cells], strict=True):
        assert len(now.split()) <= len(on_page.split())  # without what is at an edge
        people, _, *rest = now.split()
        assert [people, *rest[:2]] == [on_page.split()[0], *on_page.split()[2:4]]
        assert now.split()[-1] == on_page.split()[-1] == "ok"
    assert (
        shown[-2:]
        == found[-2:]
        == [
            f"report: runs/{name}/report.html",
            f"table:  runs/{name}/results.parquet",
        ]
    )


@pytest.mark.parametrize("name", SECTIONS)
def test_the_numbers_are_those_of_the_committed_run(name: str) -> None:
    """Model, exposures and R of each row; the run was made by the commands of the page."""
    _, (_, text) = commands(name)
    heading, *rows = without_ends(text)
    table = read_results(ROOT / "docs" / "results" / f"tutorial_{name}")
    assert "R_max" in heading
    for row, line in zip(table.to_dict("records"), rows, strict=False):
        people, exposures, model, _, bits, ratio, most, *_ = line.split()
        assert (int(people), int(exposures.replace(",", ""))) == (
            row["n_people"],
            row["exposures"],
        )
        assert model == row["model"]
        assert bits == f"{row['stored_bits']:,.0f}"
        assert (ratio, most) == (
            f"{row['capacity_ratio']:.3f}",
            f"{row['max_capacity_ratio']:.3f}",
        )

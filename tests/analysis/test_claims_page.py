"""The page of the paper's claims: what it says of a run; the committed one is up to date."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.claims.claims_page import DIGEST_END, DIGEST_START, page_of, write_page

ROOT = Path(__file__).parents[2]


def test_each_claim_has_a_row_with_its_verdict(
    make_rows: Callable, write_run: Callable, tmp_path: Path
) -> None:
    """An undecided one says what would decide it; each run has its hours."""
    rows = make_rows(n_people=(200_000, 500_000, 1_000_000), exposures=(1000,))
    page = page_of([write_run(tmp_path / "run", rows)])
    (line,) = [line for line in page.splitlines() if line.startswith("| 1a | ")]
    assert line.count(" | ") == 3
    assert "| undecided |" in line and "Would be decided by" in line
    assert f"| `run` | {rows['cell_id'].nunique()} | " in page


def test_the_digest_stands_between_its_marks_and_nowhere_else(
    make_rows: Callable, write_run: Callable, tmp_path: Path
) -> None:
    """What stands before and behind them stays; without them nothing is written."""
    run = write_run(tmp_path / "run", make_rows(exposures=(100,)))
    test = {"claims": "4, 5", "n_cells": 3, "device_hours": 5.0, "dollars": 9.2, "also": ""}
    prices = {"price": "$1.84", "tests": [{**test, "commands": ["kcap sweep x"]}]}
    (tmp_path / "claim_prices.json").write_text(json.dumps(prices))
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{DIGEST_START}\nlast time\n{DIGEST_END}\nbehind\n")
    write_page([run], tmp_path / "claims.md")
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith("\nbehind\n") and "last time" not in text
    (line,) = [line for line in text.splitlines() if line.startswith("| 4 |")]
    assert line.endswith("| $9 |")
    write_page([run], tmp_path / "claims.md")
    assert readme.read_text() == text
    readme.write_text("no marks")
    write_page([run], tmp_path / "claims.md")
    assert readme.read_text() == "no marks"


@pytest.mark.slow
def test_the_committed_pages_are_what_the_tables_say(tmp_path: Path) -> None:
    """`make claims` changes nothing."""
    found = [*ROOT.glob("docs/results/*/results.parquet")]
    found = sorted(file.parent for file in found if file.parent.name != "behind_strangers")
    found += sorted(file.parent for file in ROOT.glob("docs/results/contact/*/results.parquet"))
    committed = ROOT / "docs" / "results"
    for name in ("README.md", "claim_prices.json"):
        shutil.copy(committed / name, tmp_path / name)
    write_page(found, tmp_path / "claims.md")
    for name in ("README.md", "claims.md"):
        assert (committed / name).read_text() == (tmp_path / name).read_text()

"""The page of the paper's claims: what it says of a run; the committed one is up to date."""

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.claims.claims_page import page_of

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


@pytest.mark.slow
def test_the_committed_page_is_what_the_tables_say() -> None:
    """`make claims` changes nothing."""
    found = [*ROOT.glob("docs/results/*/results.parquet")]
    found = sorted(file.parent for file in found if file.parent.name != "behind_strangers")
    found += sorted(file.parent for file in ROOT.glob("docs/results/contact/*/results.parquet"))
    page = (ROOT / "docs" / "results" / "claims.md").read_text(encoding="utf-8")
    assert page == page_of(found)

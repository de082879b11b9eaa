"""The pages of docs/decisions: one form, one index, and evidence that exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "decisions"
PAGES = sorted(FOLDER.glob("[0-9]*.md"))
PARTS = ["Context", "Decision", "Evidence", "Consequence"]
LINK = re.compile(r"\]\(([^)#]+\.md)\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name[:4])
def test_a_decision_has_number_date_and_all_parts(page):
    """The number in its title is that of its file; every part says something."""
    text = page.read_text(encoding="utf-8")
    assert re.match(rf"# {page.name[:4]}: \S.*\n\nDate: \d{{4}}-\d\d-\d\d", text)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == PARTS
    assert all(part.strip() for part in re.split(r"^## .+$", text, flags=re.MULTILINE))


@pytest.mark.parametrize("page", [*PAGES, FOLDER / "README.md"], ids=lambda page: page.name[:6])
def test_files_that_a_decision_names_exist(page):
    """Evidence that was moved or deleted is found out."""
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`((?:benchmarks|docs|tests|sweeps|kcap_ray|analysis)/[^` ]+)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert [link for link in LINK.findall(text) if not (FOLDER / link).is_file()] == []


def test_the_index_lists_every_decision_once_in_order_with_title_and_date():
    """Nothing is decided twice under one number, and nothing is missing."""
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    lines = []
    for page in PAGES:
        title, _, date = page.read_text(encoding="utf-8").splitlines()[:3]
        lines.append(f"| [{title[2:]}]({page.name}) | {date.removeprefix('Date: ')} |")
    assert re.findall(r"^\| \[.+$", index, re.MULTILINE) == lines
    assert [int(page.name[:4]) for page in PAGES] == list(range(1, len(PAGES) + 1))

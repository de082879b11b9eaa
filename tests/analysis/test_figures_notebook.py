"""docs/figures.ipynb draws every figure that the pages of docs/results show.

Its code is executed cell by cell with `exec`, in one namespace, as a notebook does: Jupyter would
bring a hundred packages for the same.
"""

import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

DOCS = Path(__file__).parents[2] / "docs"
SHOWN = re.compile(r"!\[[^\]]*\]\((?:docs/results/)?([^)]+\.(?:png|svg))\)")


def shown_figures() -> set[str]:
    """Figures of docs/results that its pages or the README show, by their place there."""
    results = DOCS / "results"
    pages = {page: page.parent.relative_to(results) for page in results.rglob("*.md")}
    pages[DOCS.parent / "README.md"] = Path()
    return {
        (folder / place).as_posix()
        for page, folder in pages.items()
        for place in SHOWN.findall(page.read_text(encoding="utf-8"))
    }


@pytest.mark.slow
def test_the_notebook_draws_every_figure_that_is_shown(tmp_path, monkeypatch):
    """From the tables alone; no other file than its own is written, and no figure stays open."""
    cells = json.loads((DOCS / "figures.ipynb").read_text(encoding="utf-8"))["cells"]
    assert all(not cell["outputs"] for cell in cells if cell["cell_type"] == "code")
    monkeypatch.chdir(DOCS)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.syspath_prepend(str(DOCS.parent / "benchmarks"))
    namespace: dict[str, object] = {"__name__": "notebook"}
    for i, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"cell {i}", "exec"), namespace)
    out = namespace["OUT"]
    assert isinstance(out, Path) and out.is_relative_to(tmp_path)
    drawn = {path.relative_to(out).as_posix() for path in out.rglob("*.*")}
    assert shown_figures() - drawn == set()
    assert len(shown_figures()) >= 15
    assert plt.get_fignums() == []

"""The report: complete, self-contained, and honest about what is missing."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from analysis.load import ResultsError
from analysis.report import write_report

VOID = {"meta", "img", "br"}


class Balance(HTMLParser):
    """Fails on a closing tag that does not match, and collects visible text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def parse(path):
    page = Balance()
    page.feed(path.read_text(encoding="utf-8"))
    assert page.open == []
    return page.text


@pytest.fixture(scope="module", name="folder")
def folder_fixture(make_rows, spoil, write_run, tmp_path_factory):
    """A run with a report, for tests that only read it."""
    sizes = ((2, 2), (4, 2), (4, 3), (6, 4))
    rows = spoil(make_rows(exposures=(100, 1000), n_people=(50_000, 200_000), sizes=sizes))
    folder = write_run(tmp_path_factory.mktemp("report") / "run", rows)
    assert write_report(folder) == folder / "report.html"
    return folder


@pytest.mark.slow
def test_report_shows_every_row_and_needs_nothing_from_elsewhere(folder):
    """One well-formed file: each row, failures with reason, escaped text, no outside reference."""
    path = folder / "report.html"
    text = parse(path)
    assert "out of memory <GPU & co>" in text
    assert "does c grow with <exposures>?" in text
    assert "kcap sweep sweeps/synthetic.yaml" in text
    source = path.read_text(encoding="utf-8")
    # Of the 16 rows 3 failed; a failed row is greyed, not left out.
    assert source.count('<tr class="excluded">') == 3
    assert re.findall(r'(?:src|href)="(?!data:)', source) == []
    assert "http" not in re.sub(r"data:[^\"]*", "", source)


@pytest.mark.slow
def test_figures_are_written_in_every_format(folder):
    """PDF for papers, SVG for pages, PNG for slides."""
    for name in ("capacity", "ratio", "exposures", "tuning", "training"):
        for ending in ("pdf", "svg", "png"):
            assert (folder / "figures" / f"{name}.{ending}").stat().st_size > 0


def test_a_run_in_which_every_cell_failed_still_has_a_report(make_rows, write_run, tmp_path):
    """Nothing to fit or draw is said in words; the rows and their reasons are there."""
    rows = make_rows(exposures=(100,), n_people=(50_000,), sizes=((2, 2), (4, 2)))
    rows = rows.assign(status="failed", reason="boom", stored_bits=np.nan, capacity_ratio=np.nan)
    path = write_report(write_run(tmp_path / "run", rows))
    text = parse(path)
    assert text.count("failed: boom") == 2
    assert "not measured" in text
    assert "<img" not in path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_bare_run_needs_only_results(make_rows, write_run, tmp_path):
    """Without sweep file, environment, trials and histories it is shorter; and the same twice."""
    rows = make_rows(exposures=(100,), n_people=(50_000,), sizes=((2, 2),))
    folder = write_run(tmp_path / "run", rows, with_cells=False)
    (folder / "sweep.yaml").unlink()
    (folder / "environment.json").unlink()
    path = write_report(folder)
    first = path.read_bytes()
    text = parse(path)
    assert "gpt2-2-2" in text
    assert "too few points" in text
    assert write_report(folder).read_bytes() == first


def test_a_directory_without_results_is_refused_and_left_alone(tmp_path):
    """No half-made report appears."""
    with pytest.raises(ResultsError):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []

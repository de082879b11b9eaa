"""The report: complete, self-contained, and honest about what is missing."""

import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.fit import fit_groups
from analysis.headline import headline
from analysis.load import ResultsError, load_results
from analysis.page import Head, Row, Table, adaptive, condensed, svg_width, text_cell
from analysis.report import write_report
from analysis.trackers import find_tracked
from analysis.words import N_PARTS, Names, dataset_parts, dataset_words, tell_apart

RESULTS = Path(__file__).parents[2] / "docs" / "results"

VOID = {"meta", "img", "br", "input"}


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
    assert "Does c grow with <exposures>?" in text
    assert "kcap sweep sweeps/synthetic.yaml" in text
    source = path.read_text(encoding="utf-8")
    # Of the 16 rows 3 failed; a failed row is greyed, not left out.
    assert source.count('<tbody class="excluded">') == 3
    assert re.findall(r'(?:src|href)="(?!data:)', source) == []
    assert "://" not in re.sub(r"data:[^\"]*", "", source)


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


@pytest.mark.slow
def test_the_first_screen_has_question_answer_figure_and_table(folder):
    """In this order, and the claims behind them; what is not measured takes one line."""
    source = (folder / "report.html").read_text(encoding="utf-8")
    places = [
        source.index(text)
        for text in (
            "Does c grow with &lt;exposures&gt;?</h1>",
            "A parameter holds ",
            "<img",
            "<table",
            "Claims of the paper</h2>",
            "<summary>Not measured here: ",
        )
    ]
    assert places == sorted(places)


def test_figures_follow_a_dark_page():
    """Greys become variables with a value for each preference; colours stay."""
    svg = '<svg width="72pt"><g style="fill: #ffffff; stroke: #0173b2"><path/></g></svg>'
    found = adaptive(svg)
    assert "stroke: #0173b2" in found
    assert "fill: var(--g255)" in found
    assert "--g255:#161616" in found.split("prefers-color-scheme: dark")[1]
    assert svg_width(svg) == 96


def test_columns_that_say_the_same_are_said_once():
    """Below the table; always-shown columns stay, and what is empty is not said."""
    heads = (Head(name="Model", place="always"), Head(name="Seed"), Head(name="R"), Head(name="p"))
    values = (("a", "0", "1", "-"), ("a", "0", "2", "-"))
    rows = tuple(Row(cells=tuple(text_cell(v) for v in row)) for row in values)
    found = condensed(Table(heads=heads, rows=rows))
    assert [head.name for head in found.heads] == ["Model", "R"]
    assert found.text == "The same in every row: Seed 0."


def test_names_of_a_single_row_are_said_below_it():
    """They are what makes it too wide; its numbers are what it is for."""
    heads = (
        Head(name="Data", kind="name"),
        Head(name="Exposures", place="always"),
        Head(name="Cells"),
        Head(name="Status", kind="name", place="always"),
    )
    row = Row(cells=tuple(text_cell(v) for v in ("bioS", "100", "4", "ok")))
    found = condensed(Table(heads=heads, rows=(row,), text="Of c."))
    assert [head.name for head in found.heads] == ["Exposures", "Cells", "Status"]
    assert found.text == "Of c. In this row: Data bioS."
    assert condensed(Table(heads=heads, rows=())).heads == heads


def test_text_of_the_results_is_never_markup(make_rows, write_run, tmp_path):
    """Names, reasons and settings are the user's; a template escapes them all."""
    rows = make_rows(exposures=(100,), n_people=(50_000,), sizes=((2, 2), (4, 2)))
    evil = "<script>alert(1)</script>"
    rows = rows.assign(
        sweep=evil, dataset=f"bioS-{evil}", status="failed", reason=evil, device=evil
    )
    folder = write_run(tmp_path / "run", rows, with_cells=False)
    (folder / "sweep.yaml").write_text(f"# Question: {evil}\n")
    (folder / "environment.json").write_text(json.dumps({evil: evil, "command": evil}))
    source = write_report(folder).read_text(encoding="utf-8")
    assert evil not in source
    assert source.count("<script>") == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bioD-K6-C1-D50-L1-T2000-mini", "bioD, 6 attributes, each 1 of 50 words, "
         "2,000 words in all, small pools"),
        ("bioS-zipf0.5", "bioS, Zipf frequencies (0.5)"),
        ("bioS-mini-junk7x100K-token", "bioS, small pools, 7:1 junk of 100K people, domain token"),
        ("tuples-elements", "own facts (elements)"),
        ("whatever it is", "whatever it is"),
    ],
)  # fmt: skip
def test_data_sets_are_named_in_words(name, words):
    """Names of another form stay as they are."""
    assert dataset_words(name) == words
    assert len(dataset_parts(name)) == N_PARTS


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bioS-mini-birth_city+major", "bioS, small pools, birth city, major"),
        ("bioS-mini+0.5xbioS:200", "bioS, small pools, and 0.5 times as much bioS (200 people)"),
        ("random-L16-T256", "random strings of 16 tokens, 256 kinds"),
    ],
)
def test_a_plus_is_another_attribute_or_another_table(name, words):
    """By what follows it."""
    assert dataset_words(name) == words


def test_data_sets_are_told_apart_by_what_differs():
    """What all share is said once; one with nothing of its own has its kind."""
    shared, own = tell_apart(["bioS-mini", "bioS-mini-zipf1"])
    assert shared == "bioS, small pools"
    assert own == {"bioS-mini": "bioS", "bioS-mini-zipf1": "Zipf frequencies (1)"}


def test_every_committed_data_set_has_words():
    """No figure or table of docs/results has a name that only kcap reads."""
    for path in RESULTS.glob("*/results.parquet"):
        for name in pd.read_parquet(path, columns=["dataset"])["dataset"].unique():
            assert dataset_parts(name)[0] != name or "-" not in name, name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "start"),
    [
        ("laptop", "A parameter holds more than 0.638 bits after 100 exposures; "),
        ("laptop_architectures", "Of 14 comparisons with gpt2, "),
        ("laptop_junk", "Useful capacity, where that without junk at 100 exposures is 1: from "),
        ("laptop_knowledge", "Of 7 data sets, the share of the demand that is stored"),
        ("laptop_zipf", "Stored, of the demand: "),
        ("laptop_quantization", "In full models gptq-int8-g128 leaves "),
    ],
)
def test_each_kind_of_run_has_its_sentence(run, start):
    """It says the result, and its interval or that there is none."""
    results = load_results([RESULTS / run])
    names = Names.of(results.rows["dataset"])
    sentence = headline(results.used, fit_groups(results.used), names).sentence
    assert sentence.startswith(start)
    assert "interval" in sentence


@pytest.mark.slow
def test_runs_in_trackers_are_linked(make_rows, write_run, tmp_path):
    """By address where a browser opens it; else the place, and the command that shows it. An
    address of another scheme is no link.
    """
    rows = make_rows(exposures=(100,), n_people=(50_000,), sizes=((2, 2), (4, 2)))
    folder = write_run(tmp_path / "my run", rows)
    first, second = rows["cell_id"]
    (folder / "cells" / first / "tensorboard" / "trial0").mkdir(parents=True)
    places = {
        "wandb": {first: "https://wandb.ai/me/kcap/runs/1", second: "javascript:alert(1)"},
        "mlflow": {first: "http://mlflow.local/#/experiments/1/runs/2"},
    }
    logged = {
        name: {cell: {"written_at": 1, "place": place} for cell, place in cells.items()}
        for name, cells in places.items()
    }
    (folder / "trackers.json").write_text(json.dumps(logged))
    tensorboard, mlflow, wandb = find_tracked(folder)
    assert shlex.split(tensorboard.command) == ["tensorboard", "--logdir", str(folder / "cells")]
    assert (mlflow.command, wandb.command[:10]) == ("", "wandb sync")
    path = write_report(folder)
    source = path.read_text(encoding="utf-8")
    assert set(re.findall(r'href="(.*?)"', source)) == {
        "https://wandb.ai/me/kcap/runs/1",
        "http://mlflow.local/#/experiments/1/runs/2",
    }
    text = parse(path)
    assert tensorboard.command in text
    assert f"{second}: javascript:alert(1)" in text


@pytest.mark.slow
def test_a_cell_that_has_learnt_nothing_has_a_note(make_rows, write_run, tmp_path):
    """And no other one."""
    rows = make_rows(exposures=(100,), n_people=(50_000,), sizes=((2, 2), (4, 2)))
    rows.loc[0, ["stored_bits", "capacity_ratio"]] = [-10.0, -0.001]
    text = parse(write_report(write_run(tmp_path / "run", rows)))
    assert text.count("nothing learnt: more exposures or a higher rate") == 1

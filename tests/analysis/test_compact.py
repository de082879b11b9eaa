"""The compact form of a run: everything that was measured, and the same analysis."""

import json
import re
import subprocess
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from analysis.compact import belongs, write_compact
from analysis.load import ResultsError, load_histories, load_results, load_trials
from kcap_ray.runs.record import TrialRow
from kcap_ray.runs.schema import arrow_schema, names_of

ROOT = Path(__file__).parents[2]
COMMITTED = sorted((ROOT / "docs" / "results").glob("**/trials.parquet"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.fixture
def run(make_rows, spoil, write_run, tmp_path):
    """A run of which two cells failed and one has a curve with a column of its own."""
    rows = spoil(make_rows(exposures=(100,)))
    # `spoil` leaves two cells without trials; the first cell routes its tokens to experts.
    folder = write_run(tmp_path / "run", rows.iloc[[0, 1, 7, 8]])
    curve = next(folder.glob("cells/*/history.parquet"))
    pd.read_parquet(curve).assign(expert_load_max=0.5).to_parquet(curve)
    (folder / "cells.json").write_text(json.dumps({"files": {"facts.csv": "5e0f"}}))
    return folder


def test_every_trial_and_every_point_of_every_curve_is_in_the_tables(run, tmp_path):
    """With equal values, in the order of the files, and nothing besides; so is the table of
    results, and what the files of facts held.
    """
    unfinished = run / "cells" / "unfinished"
    unfinished.mkdir()
    (unfinished / "trials.jsonl").write_text('{"lr": 0.1, "status": "ok", "groups": "[1]"}\n')
    out = write_compact(run, tmp_path / "compact")
    trials = pq.read_table(out / "trials.parquet").to_pylist()
    points = pq.read_table(out / "curves.parquet").to_pylist()
    for table, name, read in (
        (trials, "trials.jsonl", _json_lines),
        (points, "history.parquet", lambda path: pq.read_table(path).to_pylist()),
    ):
        files = list(run.glob(f"cells/*/{name}"))
        assert len(files) > 1
        for path in files:
            own = [row for row in table if row["cell_id"] == path.parent.name]
            expected = [{"cell_id": path.parent.name} | record for record in read(path)]
            assert [_known(row) for row in own] == [_known(row) for row in expected]
        assert len(table) == sum(len(read(path)) for path in files)
    assert pq.read_table(out / "results.parquet").equals(pq.read_table(run / "results.parquet"))
    environment = json.loads((out / "environment.json").read_text())
    assert environment.pop("files") == {"facts.csv": "5e0f"}
    assert environment == json.loads((run / "environment.json").read_text())


def test_trials_after_the_search_are_kept_and_are_no_trials_of_it(run, tmp_path):
    """With fresh seeds and beyond an edge: named by their part, and the search reads as before."""
    before, _ = load_trials(load_results([run]))
    cell = next(run.glob("cells/*/trials.jsonl")).parent
    for name, ratio in (("lr1-wd1-seed1000000", 1.5), ("lr1-wd1-beyond", 1.7)):
        (cell / "parts" / name).mkdir(parents=True)
        line = {"lr": 1.0, "weight_decay": 1.0, "status": "ok", "capacity_ratio": ratio}
        (cell / "parts" / name / "trials.jsonl").write_text(json.dumps(line) + "\n")
    out = write_compact(run, tmp_path / "compact")
    rows = pq.read_table(out / "trials.parquet").to_pylist()
    after = {row["part"]: (row["cell_id"], row["capacity_ratio"]) for row in rows if row["part"]}
    assert after == {
        "lr1-wd1-seed1000000": (cell.name, 1.5),
        "lr1-wd1-beyond": (cell.name, 1.7),
    }
    for folder in (run, out):
        trials, notes = load_trials(load_results([folder]))
        assert notes == ()
        pd.testing.assert_frame_equal(trials[list(before)], before)


def test_tables_of_trials_have_the_columns_and_types_of_the_schema(
    run, make_rows, write_run, tmp_path
):
    """Whichever columns the lines have, and where all of a column is nothing."""
    other = write_run(tmp_path / "other", make_rows(exposures=(30,)).iloc[:1])
    (path,) = other.glob("cells/*/trials.jsonl")
    line = {"trial": 0, "lr": 1, "weight_decay": 0, "status": "ok", "groups": None, "steps": 3}
    path.write_text(json.dumps(line) + "\n")
    for folder in (run, other):
        out = write_compact(folder, tmp_path / f"{folder.name}-compact")
        assert pq.read_schema(out / "trials.parquet").equals(arrow_schema(TrialRow))
    assert pq.read_table(out / "trials.parquet").to_pylist()[0] == {
        **dict.fromkeys(names_of(TrialRow)),
        **line,
        "cell_id": path.parent.name,
    }


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
def test_committed_tables_of_trials_are_read_whatever_their_columns(path):
    """Those from before there was one schema, where columns without a value have no type."""
    trials, notes = load_trials(load_results([path.parent]))
    assert notes == () and len(trials) > 0
    assert pd.api.types.is_float_dtype(trials["ratio"])


def _json_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def _known(record):
    return {name: value for name, value in record.items() if value is not None}


@pytest.mark.parametrize("load", [load_trials, load_histories])
def test_the_analysis_reads_both_forms_alike(load, run, tmp_path):
    """Trials and curves of a live run and of its compact form are the same table."""
    live, notes = load(load_results([run]))
    compact, compact_notes = load(load_results([write_compact(run, tmp_path / "compact")]))
    assert len(live) > 0
    assert set(compact) <= set(live)
    compact = compact.reindex(columns=live.columns)
    pd.testing.assert_frame_equal(compact, live, check_dtype=False, check_exact=True)
    assert notes == compact_notes == ()


@pytest.mark.parametrize("name", ["trials.parquet", "curves.parquet"])
def test_a_torn_table_is_noted_once(name, run, tmp_path):
    """Not once per cell; the other table is still read."""
    out = write_compact(run, tmp_path / "compact")
    (out / name).write_bytes(b"torn")
    results = load_results([out])
    (trials, trial_notes), (curves, curve_notes) = load_trials(results), load_histories(results)
    assert [trials.empty, curves.empty] == [name == "trials.parquet", name == "curves.parquet"]
    assert len(trial_notes) + len(curve_notes) == 1


def _with_half_a_line(run, out):
    path = next(run.glob("cells/*/trials.jsonl"))
    path.write_text(path.read_text() + '{"lr": 0.00')


def _with_a_torn_curve(run, out):
    next(run.glob("cells/*/history.parquet")).write_bytes(b"torn")


def _with_a_finished_cell_that_has_no_row(run, out):
    (run / "cells" / "another").mkdir()
    (run / "cells" / "another" / "result.json").write_text("{}")


def _without_results(run, out):
    (run / "results.parquet").unlink()


def _with_a_column_that_is_none_of_a_trial(run, out):
    next(run.glob("cells/*/trials.jsonl")).write_text('{"lr": 0.1, "warmth": 0.5}\n')


def _with_a_text_for_a_number(run, out):
    next(run.glob("cells/*/trials.jsonl")).write_text('{"lr": "small"}\n')


def _into_a_directory_of_something_else(run, out):
    out.mkdir()
    (out / "thesis.tex").write_text("chapter one")


@pytest.mark.parametrize(
    ("spoil_run", "said"),
    [
        (_with_half_a_line, "1 unreadable line"),
        (_with_a_torn_curve, "cannot be read"),
        (_with_a_finished_cell_that_has_no_row, "another has finished but has no row"),
        (_with_a_column_that_is_none_of_a_trial, "warmth is no column of a trial"),
        (_with_a_text_for_a_number, "small"),
        (_without_results, "no cell has finished"),
        (_into_a_directory_of_something_else, "holds thesis.tex"),
    ],
)
def test_what_would_lose_something_is_refused_before_anything_is_written(
    spoil_run, said, run, tmp_path
):
    """One line that says what is wrong; the place named keeps what it had."""
    out = tmp_path / "compact"
    spoil_run(run, out)
    before = sorted(out.rglob("*"))
    with pytest.raises(ResultsError, match=said):
        write_compact(run, out)
    assert sorted(out.rglob("*")) == before


def test_committed_runs_are_compact_and_their_figures_are_those_that_a_page_shows():
    """Nothing in the repository can be drawn from something else in it, but what a reader sees."""
    listed = subprocess.run(
        ["git", "ls-files", "docs/results"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    files = {ROOT / line for line in listed.stdout.splitlines()}
    results = ROOT / "docs" / "results"
    parts_of = [path.relative_to(results).parts for path in files]
    runs = {parts[0] for parts in parts_of if parts[1:] == ("results.parquet",)}
    own = {parts[1] for parts in parts_of if parts[0] in runs}
    assert [name for name in own if not belongs(name) or name == "report.html"] == []
    shown = {
        (page.parent / link).resolve()
        for page in PAGES
        for link in re.findall(r"!\[[^\]]*\]\(([^)]+\.png)\)", page.read_text(encoding="utf-8"))
    }
    assert {path for path in files if path.parent.name == "figures"} == {
        path for path in shown if path.parent.name == "figures"
    }

"""Reading result files: what is used, what is set aside, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis.files
from analysis.architectures import compare_architectures
from analysis.bands import find_bands
from analysis.claims.paper import judge_claims
from analysis.columns import DEFAULTS
from analysis.files import read_parquet
from analysis.load import ResultsError, load_histories, load_results, load_trials

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def test_rows_without_a_result_stay_in_the_table_with_a_reason(
    make_rows, spoil, write_run, tmp_path
):
    """No row is dropped; rows that are not ok are excluded, with status and reason."""
    rows = spoil(make_rows(exposures=(1000,)))
    results = load_results([write_run(tmp_path / "run", rows, with_cells=False)])
    assert len(results.rows) == len(rows)
    assert len(results.used) == len(rows) - 3
    assert results.excluded["excluded_because"].str.contains("out of memory|loss is nan").all()


def test_negative_bits_are_used_not_excluded(make_rows, spoil, write_run, tmp_path):
    """A model that knows less than nothing is a measurement; only its logarithm cannot be drawn."""
    rows = spoil(make_rows(exposures=(1000,)))
    results = load_results([write_run(tmp_path / "run", rows, with_cells=False)])
    assert (results.used["stored_bits"] < 0).sum() == 1


def test_a_later_row_of_the_same_cell_replaces_the_earlier(make_rows, write_run, tmp_path):
    """One cell counts once per quantization, with what was written last."""
    rows = make_rows(exposures=(100,), n_people=(50_000,))
    later = rows.assign(stored_bits=2 * rows["stored_bits"])
    results = load_results(
        [write_run(tmp_path / "run", pd.concat([rows, later]), with_cells=False)]
    )
    assert results.used["stored_bits"].tolist() == later["stored_bits"].tolist()
    assert results.excluded["stored_bits"].tolist() == rows["stored_bits"].tolist()


def test_a_copied_run_directory_counts_once(make_rows, write_run, tmp_path):
    """The same cells with the same bits are one measurement: the copy is listed, not fitted."""
    rows = make_rows(exposures=(100,), n_people=(50_000,))
    folders = [write_run(tmp_path / name, rows, with_cells=False) for name in ("a", "b")]
    results = load_results([*folders, folders[0]])
    assert len(results.used) == len(rows)
    assert results.excluded["excluded_because"].eq(f"a copy of the cell in {folders[0]}").all()
    assert len(results.excluded) == len(rows)


def test_runs_of_one_cell_that_differ_are_both_used(make_rows, write_run, tmp_path):
    """Another version measured otherwise: that is a measurement of its own."""
    rows = make_rows(exposures=(100,), n_people=(50_000,))
    other = rows.assign(stored_bits=0.99 * rows["stored_bits"])
    folders = [
        write_run(tmp_path / name, table, with_cells=False)
        for name, table in (("a", rows), ("b", other))
    ]
    assert len(load_results(folders).used) == 2 * len(rows)


def test_rows_with_impossible_numbers_are_excluded(make_rows, write_run, tmp_path):
    """An ok row whose numbers are missing or infinite is not drawn, and says so."""
    rows = make_rows(exposures=(100,), n_people=(50_000,))
    rows.loc[0, "capacity_ratio"] = np.inf
    rows.loc[1, "n_params"] = 0
    excluded = load_results([write_run(tmp_path / "run", rows, with_cells=False)]).excluded
    assert len(excluded) == 2
    assert (excluded["excluded_because"] != "").all()


def test_files_from_before_a_column_was_written_mean_what_was_usual_then(
    make_cells, write_run, tmp_path
):
    """AdamW, one seed, all weights active, no bands: every comparison comes out the same."""
    rows = make_cells({"gpt2": 1.0, "llama": 0.8}, seeds=(0,))
    old = rows.drop(columns=[*DEFAULTS, "n_params_active"])
    used = [
        load_results([write_run(tmp_path / name, table, with_cells=False)]).used
        for name, table in (("new", rows), ("old", old))
    ]
    # As text, because a variance of one seed is NaN, which does not equal itself.
    assert repr(compare_architectures(used[1])) == repr(compare_architectures(used[0]))
    assert (used[1]["n_params_active"] == used[1]["n_params"]).all()
    assert find_bands(used[1])[0].empty


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.parent.name for path in RESULTS.glob("*/*.parquet")))
def test_every_committed_results_file_is_read(name):
    """Those made by earlier versions too."""
    results = load_results([RESULTS / name])
    assert len(results.used) > 0
    assert judge_claims(results.used)


def _without_file(folder):
    (folder / "results.parquet").unlink()


def _corrupt(folder):
    path = folder / "results.parquet"
    path.write_bytes(path.read_bytes()[:100])


def _without_columns(folder):
    path = folder / "results.parquet"
    pd.read_parquet(path).drop(columns=["demand_bits", "arch"]).to_parquet(path)


def _empty(folder):
    path = folder / "results.parquet"
    pd.read_parquet(path).iloc[:0].to_parquet(path)


def _with_words_for_numbers(folder):
    path = folder / "results.parquet"
    pd.read_parquet(path).assign(n_params="many").to_parquet(path)


@pytest.mark.parametrize(
    ("spoil_file", "said"),
    [
        (_without_file, "no results.parquet"),
        (_corrupt, "cannot be read"),
        (_without_columns, "arch, demand_bits"),
        (_empty, "no rows"),
        (_with_words_for_numbers, "n_params must hold numbers"),
    ],
)
def test_unreadable_results_are_refused_in_two_lines(
    spoil_file, said, make_rows, write_run, tmp_path
):
    """A file that is missing, torn or of another shape raises one error that names the file."""
    rows = make_rows(exposures=(100,), n_people=(50_000,))
    folder = write_run(tmp_path / "run", rows, with_cells=False)
    spoil_file(folder)
    with pytest.raises(ResultsError) as caught:
        load_results([folder])
    message = str(caught.value)
    assert said in message
    assert str(folder) in message
    assert len(message.splitlines()) <= 2


def test_a_table_that_cannot_be_read_for_no_reason_that_is_said_is_refused_in_a_line(
    tmp_path, monkeypatch
):
    """Errors may come without a message."""

    def fails(*_):
        raise OSError

    monkeypatch.setattr(analysis.files.pq, "ParquetFile", fails)
    with pytest.raises(ResultsError, match=r"cannot be read as parquet: OSError$"):
        read_parquet(tmp_path / "results.parquet")


def test_a_missing_directory_is_refused(tmp_path):
    """The message names the directory as given."""
    with pytest.raises(ResultsError, match="no such run directory"):
        load_results([tmp_path / "nowhere"])


def test_half_a_line_of_trials_is_reported_and_the_rest_is_read(make_rows, write_run, tmp_path):
    """A killed writer leaves half a line; it is neither guessed at nor silently dropped."""
    rows = make_rows(exposures=(100,), n_people=(50_000,), sizes=((2, 2),))
    folder = write_run(tmp_path / "run", rows)
    path = next(folder.glob("cells/*/trials.jsonl"))
    path.write_text(path.read_text() + '{"lr": 0.00')
    trials, notes = load_trials(load_results([folder]))
    assert len(trials) == 5
    assert len(notes) == 1


def test_a_trial_without_result_has_no_ratio(make_rows, write_run, tmp_path):
    """Bits per parameter of a failed trial are NaN, whatever its record says."""
    rows = make_rows(exposures=(100,), n_people=(50_000,), sizes=((2, 2),))
    folder = write_run(tmp_path / "run", rows)
    path = next(folder.glob("cells/*/trials.jsonl"))
    records = [{"lr": 1e-3, "bits": 9.9, "status": "diverged"}, {"lr": 2e-3, "status": "ok"}]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    trials, _ = load_trials(load_results([folder]))
    assert trials["ratio"].isna().all()


def test_a_corrupt_history_is_noted_and_the_others_are_read(make_rows, write_run, tmp_path):
    """One torn file does not hide the other cells' curves."""
    rows = make_rows(exposures=(100,), n_people=(50_000,), sizes=((2, 2), (4, 2)))
    folder = write_run(tmp_path / "run", rows)
    next(folder.glob("cells/*2-2*/history.parquet")).write_bytes(b"torn")
    histories, notes = load_histories(load_results([folder]))
    assert set(histories["model"]) == {"gpt2-4-2"}
    assert len(notes) == 1

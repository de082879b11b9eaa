"""The intervals of c hold the truth as often as they say."""

import json
from pathlib import Path

import pytest

from analysis.coverage import RANGE, REGIMES, measure, write_study

COMMITTED = Path(__file__).parents[2] / "docs" / "results" / "coverage.json"
BY_NAME = {regime.name: regime for regime in REGIMES}


@pytest.mark.parametrize(
    "name",
    [
        "8 cells",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in (
                "14 cells, 20% noise",
                "20 saturated and 6 more",
                "6 cells x 3 seeds, cells 5%",
                "5 N x 6 cells, N 10%",
                "3 N x 8 shapes, shapes 8%",
            )
        ),
    ],
)
def test_intervals_cover_the_truth_at_the_stated_rate(name):
    """400 runs: the share stays within 0.95 plus or minus three and a half standard errors."""
    found = measure(BY_NAME[name], 400, seed=1)
    assert found.given_frac > 0.8
    assert found.interval_coverage == pytest.approx(0.95, abs=3.5 * (0.95 * 0.05 / 400) ** 0.5)


@pytest.mark.parametrize("name", ["3 cells", "4 cells", "quickstart's 4 cells"])
def test_too_few_cells_have_no_interval(name):
    """Two parameters, three or four cells: nothing is left to tell the scatter by."""
    assert measure(BY_NAME[name], 100, seed=1).given_frac < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c not reached", "c hardly reached"])
def test_a_bound_is_true(name):
    """Cells that demand no more than c give `c > x`, and x is below c."""
    found = measure(BY_NAME[name], 200, seed=1)
    assert found.bound_frac > 0.9
    assert found.bound_coverage is not None and found.bound_coverage >= 0.95
    assert found.false_frac <= 0.05


def test_the_committed_table_is_of_these_regimes_and_says_what_it_must():
    """At least 20 regimes; statements that exclude the truth are at most as rare as stated."""
    record = json.loads(COMMITTED.read_text())
    assert [one["regime"] for one in record["regimes"]] == [regime.name for regime in REGIMES]
    assert len(REGIMES) >= 20
    for one in record["regimes"]:
        assert one["false_frac"] <= 1 - RANGE[0]
        if one["interval_coverage"] is not None:
            assert one["interval_coverage"] >= RANGE[0]


@pytest.mark.slow
def test_the_study_writes_what_it_measured(tmp_path):
    """Both files, with the command; the table has a line for each regime."""
    path = write_study(tmp_path / "new", n_runs=4, command="python -m analysis coverage --runs 4")
    assert "--runs 4" in path.read_text()
    assert path.read_text().count("\n| ") == len(REGIMES) + 1
    assert json.loads((tmp_path / "new" / "coverage.json").read_text())["n_runs"] == 4

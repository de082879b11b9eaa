"""Small wrong changes of the analysis, each of which some test must notice."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# File, what stands there, what stands there in the mutant, and the test that must fail.
MUTANTS = {
    "normal instead of Student's quantile": (
        "intervals.py",
        "special.stdtrit(np.maximum(self.degrees_B, 1.0), level)",
        "special.ndtri(level)",
        "test_coverage.py::test_intervals_cover_the_truth_at_the_stated_rate",
    ),
    "residuals not corrected for what was fitted": (
        "intervals.py",
        "np.where(value_Bk > 1e-8, 1 / np.sqrt(np.maximum(value_Bk, 1e-8)), 0.0)",
        "np.ones_like(value_Bk)",
        "test_coverage.py::test_intervals_cover_the_truth_at_the_stated_rate",
    ),
    "an interval whatever the degrees of freedom": (
        "inference.py",
        "MIN_DEGREES = 1.9",
        "MIN_DEGREES = 0.1",
        "test_coverage.py::test_too_few_cells_have_no_interval",
    ),
    "cells of one number of people as independent": (
        "inference.py",
        "differs_B = ~(p_B > POOLING_LEVEL)",
        "differs_B = p_B > 2.0",
        "test_coverage.py::test_intervals_cover_the_truth_at_the_stated_rate",
    ),
    "a capacity that no cell demands": (
        "inference.py",
        "is_reached_B = np.where(has_degrees_B, is_closed_B, clears_B)",
        "is_reached_B = np.ones_like(clears_B)",
        "test_coverage.py::test_a_bound_is_true",
    ),
    "seeds as cells": (
        "groups.py",
        'return {"cell": cell,',
        'return {"cell": np.arange(len(rows)),',
        "test_groups.py::test_seeds_share_a_cell_and_people_and_shapes_are_clusters",
    ),
    "the share of a peak that data limit": (
        "groups.py",
        "DEMAND_LIMITED_SHARE = 0.9",
        "DEMAND_LIMITED_SHARE = 0.99",
        "test_groups.py::test_nine_tenths_of_what_there_is_counts_as_limited_by_it",
    ),
    "the first of two rows of a cell": (
        "load.py",
        'keep="last"',
        'keep="first"',
        "test_load.py::test_a_later_row_of_the_same_cell_replaces_the_earlier",
    ),
    "copies of a run as further cells": (
        "load.py",
        'reasons[copied] = "a copy',
        'reasons[copied & False] = "a copy',
        "test_load.py::test_a_copied_run_directory_counts_once",
    ),
    "a limit for whatever curve fits best": (
        "exposure_fit.py",
        "not best.form.has_limit or lead < CLEAR_AICC",
        "False",
        "test_exposure_fit.py::test_a_power_law_is_given_no_limit",
    ),
    "no Holm": (
        "multiple_tests.py",
        "(n - rank) * p_values[i]",
        "p_values[i] / 50",
        "test_fit.py::test_cells_of_one_law_seldom_fail_the_tests_of_it",
    ),
    "a capacity for each shape at the price of one": (
        "inference.py",
        "gain_B / above_B / (",
        "gain_B / (",
        "test_lack_of_fit.py::test_shapes_of_one_capacity_seldom_look_different",
    ),
    "a cell held against a law that it bends": (
        "lack_of_fit.py",
        "MAX_DELETED = 40",
        "MAX_DELETED = 0",
        "test_lack_of_fit.py::test_one_cell_in_ten_is_named_wherever_it_lies",
    ),
    "copies of one number as certainty": (
        "peaks.py",
        "self.n_seeds > 1 and self.spread.variance > 0",
        "self.n_seeds > 1",
        "test_wrong_verdicts.py::test_copies_of_one_seed_decide_nothing",
    ),
    "a capacity for a family that does not reach it": (
        "predict.py",
        "if all(errors) and not is_beyond:",
        "if all(errors):",
        "test_predict.py::test_a_family_that_does_not_reach_its_capacity_is_not_told_one",
    ),
    "new people as well predicted as known ones": (
        "predict.py",
        "errors = [self.errors.get(name) for name in self._new(question)]",
        "errors = [Errors(told=0.005, saturated=0.005, n_folds=9)]",
        "test_predict.py::test_intervals_hold_new_cells_of_a_planted_law",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_the_mutant_is_noticed(name, tmp_path):
    """The named test fails on a copy of the analysis with the change, and is there to fail."""
    file, before, after, test = MUTANTS[name]
    shutil.copytree(ROOT / "analysis", tmp_path / "analysis")
    shutil.copytree(ROOT / "tests" / "analysis", tmp_path / "tests" / "analysis")
    shutil.copytree(ROOT / "docs" / "results", tmp_path / "docs" / "results", ignore=_large)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = tmp_path / "analysis" / file
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{file} no longer holds what this mutant changes"
    path.write_text(text.replace(before, after), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, f"tests/analysis/{test}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout[-2000:]  # 1: tests were run, and failed


def _large(folder: str, names: list[str]) -> set[str]:
    """Run directories, which these tests do not read."""
    return {name for name in names if (Path(folder) / name).is_dir()}

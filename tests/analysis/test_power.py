"""Seeds needed to see a difference."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.load import load_results
from analysis.power import scatter_of, seeds_needed, write_spread
from analysis.seeds import (
    MAX_SEEDS,
    TABLE,
    Scatter,
    committed_scatter,
    nearest_scatter,
    seeds_at,
    seeds_for_difference,
    seeds_to_resolve,
)

ROOT = Path(__file__).parents[2]
ONE_SIZE = ((4, 2),)


def p_values(samples: np.ndarray) -> np.ndarray:
    """Of a two-sided t-test of each row's mean against 0."""
    tested: Any = stats.ttest_1samp(samples, 0, axis=1)
    return tested.pvalue


@pytest.mark.parametrize("ratio", [0.3, 0.7, 1.5])
def test_the_seeds_that_are_asked_for_see_the_difference_at_the_stated_rate(ratio):
    """A t-test at 95% on that many seeds sees a gap of `ratio` standard deviations in 80% of
    experiments or a little more, and on one seed fewer less often. 1000 experiments each: six
    standard errors are 7.6%.
    """
    n, rng = seeds_to_resolve(ratio, 1.0), np.random.default_rng(0)
    found = [float((p_values(rng.normal(ratio, 1, (1000, m))) < 0.05).mean()) for m in (n, n // 2)]
    assert 0.8 - 0.076 < found[0] < 0.8 + 0.15
    assert found[1] < 0.7


@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.9, 2.0, 6.0, 100.0])
def test_it_is_the_smallest_number_of_seeds_for_the_formula(ratio):
    """Found here one after another, from two on."""

    def is_enough(n):
        return n >= ((stats.t.ppf(0.975, n - 1) + stats.t.ppf(0.8, n - 1)) / ratio) ** 2

    expected = next(n for n in range(2, MAX_SEEDS) if is_enough(n))
    assert seeds_to_resolve(ratio, 1.0) == expected


def test_no_gap_needs_more_seeds_than_there_are_and_no_scatter_needs_two():
    """Neither is a number that one would plan by."""
    assert seeds_to_resolve(0.0, 1.0) == MAX_SEEDS + 1
    assert seeds_to_resolve(1e-9, 1.0) == MAX_SEEDS + 1
    assert seeds_to_resolve(0.1, 0.0) == 2


def test_seeds_follow_the_scatter_of_the_runs(make_cells):
    """Twice the scatter needs about four times the seeds; the scatter is found again."""
    names = [f"llama-{word}" for word in ("a", "b", "c", "d", "e", "f", "g", "h")]
    found = {}
    for log_sd in (0.05, 0.1):
        rows = make_cells(
            dict.fromkeys(names, 0.8),
            sizes=ONE_SIZE,
            n_people=(12_800,),
            seeds=range(8),
            log_sd=log_sd,
            common_log_sd=0.0,
        )
        (found[log_sd],) = seeds_needed(rows, 0.05)
        assert found[log_sd].log_sd_low < log_sd < found[log_sd].log_sd_high
        assert found[log_sd].df == 7 * len(names)
    assert found[0.1].n_seeds == pytest.approx(4 * found[0.05].n_seeds, rel=0.1)


def test_a_run_given_twice_counts_once(make_cells):
    """Copies have no scatter of their own."""
    rows = make_cells({"gpt2": 1.0}, sizes=ONE_SIZE)
    twice = rows.assign(run_dir="copy")
    both = seeds_needed(pd.concat([rows, twice], ignore_index=True), 0.05)
    (once,) = seeds_needed(rows, 0.05)
    assert both[0].n_seeds == once.n_seeds and both[0].df == once.df
    assert both[0].n_left_out == len(rows)


def test_the_table_of_scatter_is_written_as_it_was_found(make_cells, write_run, tmp_path):
    """With the command that made it, and a line's end."""
    run = write_run(tmp_path / "run", make_cells({"gpt2": 1.0, "llama": 0.7}))
    text = write_spread([run], tmp_path / "spread.json").read_text()
    found = json.loads(text)
    assert text.endswith("}\n") and found["command"] == f"python -m analysis.power {run}"
    assert found["scatter"] == [asdict(one) for one in scatter_of(load_results([run]).used)]
    assert found["scatter"][0]["n_models"] >= 2


def test_a_model_that_has_hardly_learnt_tells_nothing_of_scatter(make_cells):
    """Neither in bits per parameter nor as a share of R_max: its log R scatters without end."""
    learnt = make_cells({"gpt2": 1.0, "llama": 0.7})
    rows = pd.concat([learnt, make_cells({"mistral": 0.03}, log_sd=0.5)]).assign(
        max_capacity_ratio=2.0
    )
    assert scatter_of(rows) == scatter_of(learnt.assign(max_capacity_ratio=2.0))
    small = make_cells({"gpt2": 0.03}).assign(max_capacity_ratio=0.05)
    assert len(scatter_of(small)) == 1


def test_one_seed_tells_nothing_of_scatter(make_cells):
    """No number is made up; and a difference of nothing is a mistake."""
    rows = make_cells({"gpt2": 1.0}, seeds=(0,))
    assert seeds_needed(rows, 0.05) == []
    with pytest.raises(ValueError, match="above 0"):
        seeds_needed(rows, 0.0)


def test_copies_of_one_seed_tell_no_scatter(make_cells):
    """ "2 seeds, scatter 0.0%" would be a plan made of nothing."""
    rows = make_cells({"gpt2": 1.0}, seeds=(0,))
    copies = pd.concat([rows.assign(seed=seed) for seed in range(3)])
    assert seeds_needed(copies, 0.05) == [] and scatter_of(copies) == []
    real = make_cells({"llama": 1.0}).assign(run_dir="run")
    (found,) = seeds_needed(pd.concat([copies.assign(run_dir="run"), real]), 0.05)
    (alone,) = seeds_needed(real, 0.05)
    assert (found.log_sd, found.n_models) == (alone.log_sd, alone.n_models)
    assert found.n_left_out == alone.n_left_out + len(copies)


def test_the_committed_scatter_is_that_of_the_committed_runs():
    """Its command, run again, gives the table that `kcap plan --power` reads."""
    directories = json.loads(TABLE.read_text())["command"].split()[3:]
    rows = load_results([ROOT / name for name in directories]).used
    found, kept = scatter_of(rows), committed_scatter()
    assert len(directories) >= 4 and len(kept) >= 2
    assert [one.exposures for one in found] == [one.exposures for one in kept]
    for one, other in zip(found, kept, strict=True):
        assert (one.df, one.n_models) == (other.df, other.n_models)
        assert one.log_sd == pytest.approx(other.log_sd, rel=1e-9)


def test_one_or_two_models_do_not_speak_for_others():
    """However near their exposures; where there are no others, they do."""
    few, many = (
        Scatter(exposures=exposures, log_sd=0.1, df=df, n_models=n)
        for exposures, df, n in ((600.0, 4.0, 2), (300.0, 22.0, 11))
    )
    assert nearest_scatter(600.0, [few, many]) == many
    assert nearest_scatter(600.0, [few]) == few


def test_a_plan_says_how_many_seeds_each_of_its_exposures_needs():
    """By the scatter at the nearest exposures, which are named where they are others; fewer seeds
    where seeds scatter less.
    """
    at_100, at_250 = (one.text() for one in seeds_at([100, 250, 100], 0.05))
    known = {one.exposures: one for one in committed_scatter()}
    for line, exposures in ((at_100, 100), (at_250, 300)):
        n = seeds_for_difference(0.05, known[exposures].log_sd)
        assert f": {n} (" in line
    assert "nearest known" in at_250 and "nearest known" not in at_100
    with pytest.raises(ValueError, match="above 0"):
        seeds_at([100], 0.0)

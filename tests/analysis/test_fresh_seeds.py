"""Rows that are means over fresh seeds: used as they are, and their seeds are replicates."""

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from analysis.architectures import compare_architectures
from analysis.columns import with_optional_columns
from analysis.peak_table import find_peaks
from analysis.power import scatter_of, seeds_needed
from analysis.quantized import compare_quantized
from analysis.quantizers import find_quantized
from analysis.runs import by_seed, runs_of

FRESH = (1_000_000, 1_000_001, 1_000_002)


def folded(rows: pd.DataFrame, *, selected: float = 1.2) -> pd.DataFrame:
    """Of rows of several seeds the rows of one, each the mean over what the seeds were; `selected`:
    R of the kept weights over that mean.
    """
    found = []
    for _, own in rows.groupby("model", sort=False):
        ratios = own["capacity_ratio"].tolist()
        first = {str(name): value for name, value in own.iloc[0].items()}
        fresh = dict(zip(map(str, FRESH), ratios, strict=True))
        mean = float(np.mean(ratios))
        found.append(
            first
            | {
                "capacity_ratio": mean,
                "stored_bits": mean * first["n_params"],
                "n_confirm_seeds": len(ratios),
                "capacity_ratio_sd": float(np.std(ratios, ddof=1)),
                "confirmed": json.dumps(fresh),
                "selected_capacity_ratio": selected * mean,
            }
        )
    return with_optional_columns(pd.DataFrame(found))


@pytest.fixture(name="rows")
def rows_fixture(make_cells):
    """GPT2 and LLaMA, three sizes, three seeds."""
    return make_cells({"gpt2": 1.0, "llama": 0.7})


def test_fresh_seeds_give_the_interval_that_rows_of_as_many_seeds_give(rows):
    """Ratio, interval and number of seeds of a comparison, and the peak of the table."""
    (one,), (apart,) = compare_architectures(folded(rows)), compare_architectures(rows)
    assert one.ratio == apart.ratio and one.ratio is not None and one.ratio.low is not None
    assert one.n_replicates == 3
    for found, expected in zip(find_peaks(folded(rows)), find_peaks(rows), strict=True):
        assert found.ratio == pytest.approx(expected.ratio, rel=1e-12)
        assert (found.model, found.n_seeds) == (expected.model, 3)


def test_rows_of_several_seeds_are_replicates_as_they_are(rows):
    """Each was tuned by itself, and what that scatters is between them alone; and where one side
    has no fresh seeds, those of the other have no partners: both are what was chosen.
    """
    again = folded(rows).assign(seed=7, cell_id=lambda rows: rows["cell_id"] + "again")
    two = runs_of(pd.concat([folded(rows), again], ignore_index=True))
    assert by_seed(two) == (two,)
    one, plain = runs_of(folded(rows)), runs_of(rows[rows["seed"] == 0])
    assert by_seed(one, plain) == ([run.as_kept for run in one], plain)
    assert len(by_seed(one)[0]) == 3 * len(one)


def test_quantized_weights_are_compared_with_the_weights_that_they_were(rows):
    """Those of the best trial, not the mean over seeds, in tables and figures."""
    before = folded(rows[rows["arch"] == "gpt2"], selected=1.25)
    after = before.assign(
        quantization="gptq-int8-g128",
        capacity_ratio=before["selected_capacity_ratio"] * 0.9,
        n_confirm_seeds=0,
        confirmed=None,
        selected_capacity_ratio=np.nan,
        quantization_config=None,
    )
    both = pd.concat([before, after], ignore_index=True)
    for one in compare_quantized(both):
        assert one.ratio is not None and one.ratio.value == pytest.approx(0.9)
    shown = {one.run.size: one.run.ratio for one in find_quantized(both) if one.quantizer.is_float}
    expected = before["selected_capacity_ratio"].tolist()
    assert sorted(shown.values()) == pytest.approx(sorted(expected))


def test_scatter_inside_of_rows_is_scatter_of_seeds(rows):
    """Seeds needed and the table of scatter are those of rows of as many seeds."""
    (found,), (expected,) = seeds_needed(folded(rows), 0.05), seeds_needed(rows, 0.05)
    assert found.log_sd == pytest.approx(expected.log_sd)
    assert (found.df, found.n_seeds) == (expected.df, expected.n_seeds)
    assert [one.df for one in scatter_of(folded(rows))] == [expected.df]


def test_models_of_other_batches_are_no_seeds_of_one_another(make_rows: Callable) -> None:
    """They are sizes of their own, in every comparison; a single batch is not named."""
    rows = make_rows(n_people=(50_000,), exposures=(1000,), sizes=((2, 2),))
    plain = runs_of(rows.assign(batch_windows=4))
    both = pd.concat([rows.assign(batch_windows=4), rows.assign(batch_windows=2, cell_id="b")])
    (first, second) = runs_of(both)
    assert [run.size for run in plain] == [first.size.removesuffix(" b4")]
    assert second.size == first.size.removesuffix(" b4") + " b2" != plain[0].size


def test_a_batch_of_its_own_is_compared_with_the_same_batch(make_rows: Callable) -> None:
    """LLaMA has one batch, GPT-2 has it and another one."""
    rows = make_rows(n_people=(50_000,), exposures=(1000,), sizes=((2, 2),))
    llama = rows.assign(arch="llama", model="llama-2-2", cell_id="l", batch_windows=4)
    gpt2 = [rows.assign(batch_windows=n, cell_id=f"g{n}") for n in (4, 8)]
    (found,) = compare_architectures(with_optional_columns(pd.concat([llama, *gpt2])))
    assert found.ratio is not None and found.ratio.value == pytest.approx(1.0)
    assert found.subject.sizes == found.baseline.sizes
    # Each with one batch of its own: then that is no part of what is compared.
    (other,) = compare_architectures(with_optional_columns(pd.concat([llama, gpt2[1]])))
    assert other.ratio is not None and other.ratio.value == pytest.approx(1.0)


def test_runs_that_share_cells_keep_their_fresh_seeds(make_cells: Callable) -> None:
    """Two rows of one seed are no two seeds: both runs together know as many as each."""
    rows = folded(make_cells({"gpt2": 1.0, "llama": 0.8}))
    both = pd.concat([rows.assign(run_dir=name) for name in ("first", "second")])
    alone, together = (by_seed(runs_of(own.reset_index(drop=True))) for own in (rows, both))
    assert {run.replicate for run in together[0]} == {run.replicate for run in alone[0]}
    assert len({run.replicate for run in together[0]}) == len(FRESH)

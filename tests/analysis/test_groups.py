"""Which rows belong together, and the peak of each group."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.figures.parts import PARTS, bar_of
from analysis.groups import (
    cluster_labels,
    family_of,
    full_pool_bits,
    has_full_pools,
    optimizer_of,
    rows_of_largest_mean,
    split_groups,
)
from analysis.load import load_results
from analysis.peak_table import find_peaks
from analysis.published import published_rows


@pytest.mark.parametrize(
    ("arch", "model", "family"),
    [
        ("gpt2", "gpt2-2-2", "gpt2"),
        ("llama", "llama-4-4-standard", "llama-standard"),
        ("gpt2", "gpt2-12-12-mlp1/4", "gpt2-mlp1/4"),
        ("gpt2", "some/model", "gpt2"),
    ],
)
def test_family_is_the_model_without_its_size(arch, model, family):
    """Sizes of one architecture share a law; variants do not."""
    assert family_of(arch, model) == family


def test_an_optimizer_other_than_adamw_is_a_family_of_its_own(make_cells):
    """Its rows have their own law and their own peaks."""
    rows = make_cells({"gpt2": 1.0, "gpt2 (muon)": 1.3}, seeds=(0,))
    groups = {key.family: set(group["optimizer"]) for key, group in split_groups(rows)}
    assert groups == {"gpt2": {"adamw"}, "gpt2 (muon)": {"muon"}}
    assert all({optimizer_of(family)} == optimizers for family, optimizers in groups.items())
    assert [peak.group.family for peak in find_peaks(rows)] == ["gpt2", "gpt2 (muon)"]


def test_every_row_is_in_exactly_one_group(make_rows):
    """Groups are a partition of the rows."""
    rows = make_rows(n_people=(50_000,))
    groups = [group for _, group in split_groups(rows)]
    assert sorted(pd.concat(groups).index) == sorted(rows.index)


def test_quantized_rows_are_their_own_group(make_rows):
    """The same cells at int4 follow another law."""
    rows = make_rows(exposures=(1000,))
    both = pd.concat([rows, rows.assign(quantization="gptq-int4-g128")], ignore_index=True)
    assert {key.quantization for key, _ in split_groups(both)} == {"none", "gptq-int4-g128"}


def test_peak_is_the_largest_ratio_of_each_number_of_people(make_rows):
    """One peak per N and exposures; no model of that N is above it."""
    rows = make_rows(exposures=(100, 1000))
    peaks = find_peaks(rows)
    assert len(peaks) == 6
    for peak in peaks:
        same = rows[
            (rows["n_people"] == peak.n_people) & (rows["exposures"] == peak.group.exposures)
        ]
        assert peak.ratio == same["capacity_ratio"].max()
        assert peak.model in set(same["model"])


def test_a_peak_is_of_means_over_seeds(make_cells):
    """Forty seeds of three models that store the same, with noise: the peak is near what they
    store, where the largest of the 120 runs lies two standard deviations above; and the model at
    the peak is that of the largest mean, in the figure of parts too.
    """
    rows = make_cells({"gpt2": 0.8}, n_people=(12_800,), seeds=range(40), common_log_sd=0.0)
    (peak,) = find_peaks(rows)
    means = rows.groupby("model")["capacity_ratio"].mean()
    assert peak.ratio == pytest.approx(means.max(), rel=1e-12)
    assert peak.model == means.idxmax() and peak.n_seeds == 40
    assert rows["capacity_ratio"].max() > 1.04 * peak.ratio
    assert set(rows_of_largest_mean(rows, "capacity_ratio")["model"]) == {peak.model}
    bar = bar_of(rows.assign(pools="", family="gpt2", **dict.fromkeys(PARTS, rows["stored_bits"])))
    assert (bar.model, bar.ratio) == (peak.model, pytest.approx(peak.ratio))
    assert bar.ratio_parts == pytest.approx((peak.ratio,) * len(PARTS))


def test_a_peak_of_a_model_that_lacks_a_seed_is_of_the_seeds_that_all_have(make_cells):
    """Where no seed has every model, each has its own."""
    rows = make_cells({"gpt2": 0.8}, n_people=(12_800,))
    lacking = rows.drop(rows.index[(rows["model"] == "gpt2-2-1") & (rows["seed"] == 2)])
    (peak,) = find_peaks(lacking)
    assert peak.n_seeds == 2
    apart = rows[rows["seed"] == rows["model"].map({"gpt2-2-1": 0, "gpt2-4-1": 1, "gpt2-4-2": 2})]
    (peak,) = find_peaks(apart)
    assert (peak.ratio, peak.n_seeds) == (apart["capacity_ratio"].max(), 1)


def test_a_peak_that_the_data_set_limits_says_so(make_rows):
    """Where the model at the peak stored everything, it might have shown more."""
    rows = make_rows(n_people=(10_000, 500_000), exposures=(1000,), log_sd=0.0)
    assert [peak.is_demand_limited for peak in find_peaks(rows)] == [True, False]


@pytest.mark.parametrize(("share", "is_limited"), [(0.85, False), (0.93, True), (0.97, True)])
def test_nine_tenths_of_what_there_is_counts_as_limited_by_it(make_rows, share, is_limited):
    """On a corner of the usual sharpness a model at 90% of R_max is at 84% of c."""
    rows = make_rows(n_people=(50_000,), exposures=(1000,), sizes=((2, 2), (4, 2)))
    rows["capacity_ratio"] = share * rows["max_capacity_ratio"]
    (peak,) = find_peaks(rows)
    assert peak.is_demand_limited is is_limited
    # Another model that demands more, and stores less, says nothing of the one at the peak.
    is_small = rows["max_capacity_ratio"] == rows["max_capacity_ratio"].max()
    rows.loc[is_small, "capacity_ratio"] = 0.1
    (peak,) = find_peaks(rows)
    assert peak.is_demand_limited is is_limited


def test_seeds_share_a_cell_and_people_and_shapes_are_clusters(make_cells):
    """Labels of 3 shapes x 2 N x 3 seeds: six cells, whichever seed."""
    rows = make_cells({"gpt2": 1.0}, n_people=(400, 800))
    labels = cluster_labels(rows)
    assert {name: len(set(values)) for name, values in labels.items()} == {
        "cell": 6,
        "people": 2,
        "shape": 3,
    }
    assert len(set(labels["cell"][rows["seed"] == 0])) == 6


def test_published_peaks_are_those_of_the_fact_sheet():
    """Digitised peaks of Figure 1(a), in bits per parameter."""
    rows = published_rows()
    peaks = {p.n_people: p.ratio for p in find_peaks(rows[rows["exposures"] == 1000])}
    expected = {50_000: 1.93, 100_000: 2.16, 200_000: 2.35, 500_000: 2.72, 1_000_000: 2.71}
    for n_people, ratio in expected.items():
        assert peaks[n_people] == pytest.approx(ratio, abs=0.005)


def test_full_pools_are_told_from_miniature_ones_by_their_entropy(make_rows):
    """bioS(N) demands N log2(1.6e8 / N) + 47.592 N bits with the paper's pools (2.96 Mbit at 50K);
    miniature pools demand less.
    """
    people = np.array([50_000.0, 2e6])
    expected = people * np.log2(1.6e8 / people) + 47.592 * people
    assert full_pool_bits(people) == pytest.approx(expected, rel=1e-5)
    assert has_full_pools(make_rows(exposures=(100,))).all()
    assert not has_full_pools(make_rows(exposures=(100,), mini=True, n_people=(500,))).any()


def test_seeds_of_the_committed_sweeps_have_nothing_in_common():
    """Two-way layouts of architectures and seeds, log R: F of seeds is that of chance.

    So seeds repeat a cell and are no cluster across cells (docs/decisions.md).
    """
    names = ("laptop_architectures", "laptop_architectures300", "laptop_optimizers")
    results = Path(__file__).parents[2] / "docs" / "results"
    rows = load_results([results / name for name in names]).used
    rows = rows[rows["exposures"] >= 100]  # Before, some cells store nothing.
    rows = rows.assign(log_ratio=np.log(rows["capacity_ratio"]))
    cell = ["run_dir", "model", "optimizer"]
    found = {}
    for exposures, own in rows.groupby("exposures"):
        off = own["log_ratio"] - own.groupby(cell)["log_ratio"].transform("mean")
        by_seed = off.groupby(own["seed"]).mean()
        n_cells, n_seeds = len(own) // len(by_seed), len(by_seed)
        explained = n_cells * float((by_seed**2).sum())
        degrees = n_seeds - 1, (n_cells - 1) * (n_seeds - 1)
        f = explained / degrees[0] / ((float((off**2).sum()) - explained) / degrees[1])
        found[exposures] = (round(f, 2), float(stats.f.sf(f, *degrees)))
    assert {key: f for key, (f, _) in found.items()} == {100.0: 0.74, 300.0: 1.12}
    assert min(p for _, p in found.values()) > 0.3

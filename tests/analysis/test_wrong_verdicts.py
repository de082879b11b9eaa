"""Tables that a verdict by point estimates gets wrong: each is one that it got wrong.

Verdicts are compared as text, which is what users and files see.
"""

import numpy as np
import pandas as pd
import pytest

from analysis.claims.judge import Part, Region, Unit, judge
from analysis.claims.paper import CLAIMS
from analysis.groups import full_pool_bits
from tests.analysis.plain_runs import peaks_of

FULL = {
    "mini": False,
    "dataset": "bioS",
    "n_people": (1_000_000,),
    "sizes": ((6, 6), (16, 4), (8, 8)),
}
HOLDS, FAILS = "holds", "does not hold"


def verdict(rows, claim):
    found = next(one for one in CLAIMS if one.name == claim)
    return str(found.judge(rows.reset_index(drop=True)).verdict)


def quantized(make_cells, int8, int4):
    """Full models of 2 bits per parameter, and what 8 and 4 bits leave of R, to 0.5%."""
    rows = make_cells({"gpt2": 2.0}, **FULL, exposures=(1000,)).assign(run_dir="run")
    rng = np.random.default_rng(0)
    others = [
        rows.assign(
            quantization=name,
            capacity_ratio=rows["capacity_ratio"] * (share + rng.normal(0, 0.005, len(rows))),
        )
        for name, share in (("gptq-int8-g128", int8), ("gptq-int4-g128", int4))
    ]
    return pd.concat([rows, *others])


def test_int8_that_loses_a_fifth_costs_something(make_cells):
    """0.81 is within 25% of nothing lost, and a loss all the same."""
    assert verdict(quantized(make_cells, 0.81, 0.4), "8") == FAILS


def test_int4_that_loses_1_67_times_does_not_lose_more_than_2(make_cells):
    """0.6 is within 25% of a half, and more than a half."""
    assert verdict(quantized(make_cells, 0.99, 0.6), "8") == FAILS


@pytest.mark.parametrize("int4", [0.2, 0.1, -0.05])
def test_int4_that_loses_5_times_or_all_loses_more_than_2(make_cells, int4):
    """More is more; and models that store less than nothing have been measured too."""
    assert verdict(quantized(make_cells, 0.99, int4), "8") == HOLDS


def test_architectures_at_0_81_do_not_peak_as_gpt2(make_cells):
    """Every one of them 19% lower is not the same."""
    names = ("llama", "mistral", "gpt2-mlp1/4", "gpt2-mlp0")
    capacities = {"gpt2": 1.6, **dict.fromkeys(names, 1.6 * 0.81)}
    rows = make_cells(capacities, **FULL, exposures=(1000,), log_sd=0.003)
    assert verdict(rows, "5") == FAILS


def test_peaks_of_1_94_at_100_exposures_are_1_or_more(make_cells):
    """The sentence has no upper end."""
    settings = {**FULL, "n_people": (1_000_000, 2_000_000)}
    rows = make_cells({"gpt2": 1.94}, **settings, common_log_sd=0.02)
    assert verdict(rows, "4") == HOLDS


def test_copies_of_one_seed_decide_nothing(make_cells):
    """Three rows of one number under three seeds: not even that it is far above the bound."""
    settings = {**FULL, "n_people": (1_000_000, 2_000_000)}
    rows = make_cells({"gpt2": 1.94}, **settings, seeds=(0,))
    copies = pd.concat([rows.assign(seed=seed) for seed in range(3)])
    assert verdict(copies, "4") == "undecided"
    found = next(one for one in CLAIMS if one.name == "4").judge(copies.reset_index(drop=True))
    assert "the same in all to the last digit" in found.outcome.decided_by


@pytest.mark.slow
def test_a_false_peak_is_not_made_true_by_the_luck_of_its_models(make_cells):
    """Capacity 0.95, three seeds: "1 or more" held for 24 of 30 such tables. At most 1 in 20 may,
    and more than 5 of 30 come with a probability of 0.3% then.
    """
    sizes = ((6, 6), (16, 4), (9, 6), (8, 8), (10, 8), (12, 6), (7, 8), (6, 8))
    settings = {**FULL, "n_people": (500_000, 1_000_000), "sizes": sizes}
    held = sum(
        verdict(make_cells({"gpt2": 0.95}, **settings, rng_seed=i), "4") == HOLDS for i in range(30)
    )
    assert held <= 5


def test_a_small_model_that_stores_little_does_not_vouch_for_a_full_one(make_cells):
    """A peak of 1.03 to 1.22 refuted "about 2", and ratios of 1 "more than 1.5 times lower", where
    the models at the peaks had stored 98% of what there was.
    """
    settings = {**FULL, "n_people": (50_000, 60_000), "sizes": ((1, 2), (12, 2))}
    names = ("gpt2", "gpt2-mlp1/4", "gpt2-mlp0")
    rows = make_cells(dict.fromkeys(names, 9.0), **settings, exposures=(1000,))
    noise = np.random.default_rng(0).normal(0, 0.005, len(rows))
    limit = rows["max_capacity_ratio"]
    rows["capacity_ratio"] = (limit * (0.98 + noise)).where(rows["n_layer"] == 12, 0.6 + noise)
    gpt2 = rows[rows["arch"].eq("gpt2") & ~rows["model"].str.contains("mlp")]
    for claim in ("1a", "1c"):
        assert verdict(gpt2, claim) == "not measured"
    assert verdict(rows.assign(exposures=100), "6") == "not measured"


def test_runs_that_share_a_seed_are_not_more_seeds(make_cells):
    """Three directories with the same cells of seed 0, a little apart, had shown 1b."""
    settings = {**FULL, "n_people": (10_000, 20_000), "seeds": (0,)}
    rows = make_cells({"gpt2": 9.0}, **settings, exposures=(1000,))
    rows["capacity_ratio"] = 0.985 * rows["max_capacity_ratio"]
    assert rows["max_capacity_ratio"].max() <= 1.8
    thrice = [
        rows.assign(run_dir=str(i), capacity_ratio=rows["capacity_ratio"] * (1 + i * 5e-4))
        for i in range(3)
    ]
    assert verdict(pd.concat(thrice), "1b") == verdict(rows, "1b") == "undecided"
    apart = [own.assign(seed=i) for i, own in enumerate(thrice)]
    assert verdict(pd.concat(apart), "1b") == HOLDS


@pytest.mark.slow
@pytest.mark.parametrize("n_seeds", [3, 8])
def test_the_noisiest_model_at_the_peak_is_no_surer_than_it_is(n_seeds):
    """Models beside it that scatter less lent it their variance: a true peak at the bound was said
    to be above in 15% and below in 23% of such tables.
    """
    rng = np.random.default_rng(0)
    said = {HOLDS: 0, FAILS: 0, "undecided": 0}
    for _ in range(400):
        noisy = np.exp(rng.normal(0, 0.2, n_seeds))
        peaks = peaks_of([noisy, *0.4 * np.exp(rng.normal(0, 0.03, (7, n_seeds)))])
        region = Region(low=1.0, criterion="at least 1")
        part = Part(name="peak", region=region, units=(Unit(where="", peaks=peaks),))
        said[str(judge([part]).verdict)] += 1
    # 5% of 400, and three standard errors.
    assert max(said[HOLDS], said[FAILS]) <= 20 + 3 * (400 * 0.05 * 0.95) ** 0.5


@pytest.mark.parametrize(
    ("claim", "datasets"),
    [
        ("2", ("bioS_simple", "bioR")),
        ("3", ("bioD-K6-C1-D50-L1-T2000-mini", "bioD-K2-C1-D50-L1-T2000-mini")),
    ],
)
@pytest.mark.parametrize("capacity", [0.9, 2.2])
def test_miniatures_do_not_judge_claims_about_the_papers_data(
    make_cells, claim, datasets, capacity
):
    """Neither for nor against: small pools, and models of 10 to 40 thousand parameters."""
    parts = [
        make_cells({"gpt2": capacity}, dataset=name, n_people=(1600, 3200), exposures=(1000,))
        for name in datasets
    ]
    assert verdict(pd.concat(parts), claim) not in (HOLDS, FAILS)


def test_full_pools_in_miniature_models_do_not_judge_them_either(make_cells):
    """The name of the data set alone does not make them the paper's."""
    rows = make_cells({"gpt2": 0.9}, dataset="bioS", n_people=(12_000, 24_000), exposures=(1000,))
    demand = full_pool_bits(rows["n_people"])
    rows = rows.assign(demand_bits=demand, max_capacity_ratio=demand / rows["n_params"])
    for claim in ("1a", "1b", "1c"):
        assert verdict(rows, claim) not in (HOLDS, FAILS)

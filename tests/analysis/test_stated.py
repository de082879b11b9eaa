"""Verdicts on the ratios that the paper states."""

import json

import numpy as np
import pandas as pd
import pytest

from analysis.claims.claim import Verdict
from analysis.claims.paper import CLAIMS

FULL = {"mini": False, "dataset": "bioS", "n_people": (1_000_000,), "sizes": ((8, 8), (10, 8))}
FAMILIES_100 = {"gpt2": 1.4, "llama": 1.08, "mistral": 1.1, "gpt2-mlp1/4": 1.4, "gpt2-mlp0": 0.8}
LADDER = {
    "llama": 1.04,
    "llama-standard": 1.35,
    "llama-standard-tied": 1.35,
    "llama-standard-tied-gelu": 1.35,
    "llama-standard-tied-gelu-layernorm": 1.35,
    "llama-standard-tied-gelu-layernorm-bias": 1.35,
}


def judged(rows, claim):
    found = next(one for one in CLAIMS if one.name == claim)
    return found.judge(rows.reset_index(drop=True))


def make_quantized(rows, factors):
    """The rows and, for each quantization, what it leaves of R, to 0.2%."""
    rows, rng = rows.assign(run_dir="run"), np.random.default_rng(0)
    others = [
        rows.assign(
            quantization=name,
            capacity_ratio=rows["capacity_ratio"] * (factor + rng.normal(0, 0.002, len(rows))),
        )
        for name, factor in factors.items()
    ]
    return pd.concat([rows, *others])


def make_junk(make_cells, capacities):
    """Cells by (ending of the data set, exposures), each with its capacity."""
    return pd.concat(
        [
            make_cells(
                {"gpt2": capacity}, **{**FULL, "dataset": f"bioS{junk}", "exposures": (exposures,)}
            )
            for (junk, exposures), capacity in capacities.items()
        ]
    )


def papers_rows(claim, make_cells):
    """Rows that behave as the paper says."""
    if claim == "5":
        return make_cells(dict.fromkeys(FAMILIES_100, 1.7), **FULL, exposures=(1000,))
    if claim == "6":
        return make_cells(FAMILIES_100, **FULL)
    if claim == "7":
        return make_cells(LADDER, **FULL)
    if claim == "8":
        rows = make_cells({"gpt2": 2.0}, **FULL, exposures=(1000,))
        return make_quantized(rows, {"gptq-int8-g128": 0.99, "gptq-int4-g128": 0.4})
    if claim == "9":
        many = {**FULL, "n_people": (20_000_000,)}
        return pd.concat(
            [
                make_cells({"gpt2": 2.0, "gpt2-moe32": 2.0 / 1.3}, **many, exposures=(1000,)),
                make_cells({"gpt2": 1.2, "gpt2-moe32": 1.2 / 1.5}, **many, exposures=(100,)),
            ]
        )
    random, token = "-junk7x100M", "-junk7x100M-token"
    capacities = {
        "10": {(random, 100): 0.06, (random, 300): 0.4, (random, 600): 0.8, (random, 1000): 0.92},
        "11": {("-junk7x1K", 100): 1.2},
        "12": {(token, 100): 0.6, (token, 300): 1.2},
    }
    return make_junk(make_cells, {("", 100): 1.2, **capacities[claim]})


STATED = ["5", "6", "7", "8", "9", "10", "11", "12"]


@pytest.mark.parametrize("claim", STATED)
def test_the_papers_own_ratios_hold_in_the_papers_setting(claim, make_cells):
    """Full pools, its exposures, people and sizes; the reason shows the band."""
    finding = judged(papers_rows(claim, make_cells), claim)
    assert finding.verdict is Verdict.HOLDS, finding.reason
    assert "needed: " in finding.reason
    assert finding.numbers


@pytest.mark.parametrize("claim", STATED)
def test_other_ratios_do_not_hold(claim, make_cells):
    """The same cells with what is compared halved or worse, or not lowered at all."""
    rows = papers_rows(claim, make_cells)
    is_baseline = (
        (rows["arch"].eq("gpt2") if claim in "56" else ~rows["dataset"].str.contains("junk"))
        & ~rows["model"].str.contains("mlp|moe")
        & rows["quantization"].eq("none")
    )
    if claim == "7":
        is_baseline = rows["model"].str.contains("layernorm")
    wrong = rows["capacity_ratio"].where(is_baseline, rows["capacity_ratio"] / 3)
    finding = judged(rows.assign(capacity_ratio=wrong), claim)
    assert finding.verdict is Verdict.FAILS, finding.reason
    assert "outside" in finding.reason


@pytest.mark.parametrize("claim", STATED)
def test_in_miniature_nothing_is_tested_but_the_ratio_is_shown(claim, make_cells):
    """The same ratios with other pools: the reason says what is missing and what was measured."""
    rows = papers_rows(claim, make_cells)
    rows = rows.assign(demand_bits=rows["demand_bits"] * 0.7)
    finding = judged(rows, claim)
    assert finding.verdict is Verdict.NOT_MEASURED
    assert "full pools" in finding.reason
    assert "in miniature: " in finding.reason
    assert "x of " in finding.reason


@pytest.mark.parametrize("claim", STATED)
def test_findings_do_not_depend_on_the_order_of_the_rows(claim, make_cells):
    """And are valid JSON."""
    rows = papers_rows(claim, make_cells)
    finding = judged(rows, claim)
    assert judged(rows.sample(frac=1.0, random_state=1), claim) == finding
    found = finding.to_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_claim_about_several_architectures_needs_them_all(make_cells):
    """What is there is shown to agree; what lacks is named."""
    rows = make_cells({name: FAMILIES_100[name] for name in ("gpt2", "llama")}, **FULL)
    finding = judged(rows, "6")
    assert finding.verdict is Verdict.NOT_MEASURED
    assert "llama of gpt2 at 100 exposures 0.7" in finding.reason and "needed: " in finding.reason
    assert "mistral" in finding.reason and "gpt2-mlp0" in finding.reason


def test_one_size_or_few_people_are_not_the_papers_setting(make_cells):
    """Peaks need several sizes, and the paper's figure begins at 50,000 people."""
    for change in ({"sizes": ((8, 8),)}, {"n_people": (40_000,), "sizes": ((1, 2), (2, 2))}):
        finding = judged(make_cells(FAMILIES_100, **{**FULL, **change}), "6")
        assert finding.verdict is Verdict.NOT_MEASURED
        assert "in other settings: " in finding.reason


def test_an_architecture_by_muon_is_not_the_papers(make_cells):
    """Its claims are about AdamW."""
    rows = make_cells({f"{name} (muon)": c for name, c in FAMILIES_100.items()}, **FULL)
    finding = judged(rows, "6")
    assert finding.verdict is Verdict.NOT_MEASURED
    assert finding.numbers == {}


def test_junk_and_uneven_frequencies_are_not_bioD_of_other_numbers(make_cells):
    """Claim 3 is about bioD alone."""
    rows = make_cells({"gpt2": 0.3}, exposures=(1000,))
    names = ("bioD-K1-C1-D9-L1-T20-junk7x1K", "bioD-K1-C1-D9-L1-T20-zipf1", "bioS+1xbioDn5")
    for name in names:
        assert judged(rows.assign(dataset=name), "3").verdict is Verdict.NOT_MEASURED


def test_a_ladder_may_end_at_gpt2_by_either_name(make_cells):
    """LLaMA with every one of GPT-2's settings is GPT-2, and the shipped sweep names it so."""
    last = "llama-standard-tied-gelu-layernorm-bias"
    named = {"gpt2" if name == last else name: capacity for name, capacity in LADDER.items()}
    for families in (LADDER, named):
        finding = judged(make_cells(families, **FULL), "7")
        assert finding.verdict is Verdict.HOLDS, finding.reason


def test_a_loss_is_judged_in_every_model_and_not_at_the_peak_alone(make_cells):
    """int8 that costs a fifth of one of two models costs something."""
    rows = make_cells({"gpt2": 2.0}, **FULL, exposures=(1000,))
    rows = make_quantized(rows, {"gptq-int8-g128": 0.99, "gptq-int4-g128": 0.4})
    is_one = rows["quantization"].eq("gptq-int8-g128") & rows["model"].str.contains("10-8")
    lost = rows["capacity_ratio"].where(~is_one, rows["capacity_ratio"] * 0.81)
    assert judged(rows, "8").verdict is Verdict.HOLDS
    assert judged(rows.assign(capacity_ratio=lost), "8").verdict is Verdict.FAILS


def test_peaks_that_the_data_limit_are_not_of_capacities(make_cells):
    """Both sides near R_max look equal, whatever they could hold."""
    rows = make_cells({"gpt2": 3.0, **dict.fromkeys(list(FAMILIES_100)[1:], 2.6)}, **FULL)
    finding = judged(rows.assign(exposures=1000.0), "5")
    assert finding.verdict is Verdict.NOT_MEASURED


def test_what_is_told_of_other_settings_is_told_within_a_run(make_cells):
    """A model of one run over gpt2 of another, which was tuned otherwise, is no ratio of models."""
    settings = {"n_people": (3200,), "sizes": ((2, 2),), "seeds": (0,), "log_sd": 0.0}
    first = make_cells({"gpt2": 1.0, "gpt2-mlp0": 0.8}, **settings).assign(run_dir="first")
    second = make_cells({"gpt2": 0.4}, **settings).assign(run_dir="second")
    reason = judged(pd.concat([second, first]), "6").reason
    assert reason == judged(first, "6").reason
    assert "gpt2-mlp0 0.80x of gpt2" in reason

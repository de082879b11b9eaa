"""Verdicts on the paper's claims."""

import json

import numpy as np
import pandas as pd
import pytest

from analysis.claims.claim import Verdict
from analysis.claims.paper import CLAIMS, judge_claims
from analysis.published import published_rows


def verdicts(rows):
    return {finding.claim: finding for finding in judge_claims(rows)}


def published(exposures):
    rows = published_rows()
    rows = rows[rows["exposures"] == exposures]
    return rows.assign(cell_id=rows["model"])


def in_seeds(rows, *factors):
    """The same rows in several seeds, each with all its R times a factor."""
    parts = [
        rows.assign(
            seed=seed,
            cell_id=rows["cell_id"] + f"-s{seed}",
            capacity_ratio=rows["capacity_ratio"] * factor,
            stored_bits=rows["stored_bits"] * factor,
        )
        for seed, factor in enumerate(factors)
    ]
    return pd.concat(parts, ignore_index=True)


def test_every_claim_gets_one_finding_with_a_reason(make_rows):
    """Nothing is passed over in silence."""
    findings = judge_claims(make_rows(exposures=(30,)))
    assert [finding.claim for finding in findings] == [claim.name for claim in CLAIMS]
    assert all(finding.reason for finding in findings)


def test_the_papers_own_points_decide_nothing_for_lack_of_seeds():
    """One seed each: what they show is told, and how many seeds would decide."""
    for exposures, claims in ((1000, ("1a", "1b", "1c")), (100, ("4",))):
        found = verdicts(published(exposures))
        for claim in claims:
            assert found[claim].verdict is Verdict.UNDECIDED
            assert "at least 3 seeds" in found[claim].outcome.decided_by
    assert "2.72" in verdicts(published(1000))["1c"].reason


def test_the_paper_passes_its_own_peaks_and_saturation_but_not_its_ceiling():
    """Its digitised points in three seeds that agree to 0.5%: Results 1(a), 1(b) hold; 1(c),
    R <= 2.3, is contradicted by 2.72; and those read off at 100 exposures lie above 1.
    """
    found = verdicts(in_seeds(published(1000), 1.0, 0.995, 0.998))
    assert found["1a"].verdict is Verdict.HOLDS, found["1a"]
    assert found["1b"].verdict is Verdict.HOLDS, found["1b"]
    assert found["1c"].verdict is Verdict.FAILS
    assert "N=500,000" in found["1c"].reason
    assert found["bound"].verdict is Verdict.HOLDS
    assert found["4"].verdict is Verdict.NOT_MEASURED
    at_100 = verdicts(in_seeds(published(100), 1.0, 0.95, 1.02))["4"]
    assert at_100.verdict is Verdict.HOLDS, at_100


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        ("1a", "0.74 at 10,000"),
        ("1c", "2.72"),
        ("6", "30%"),
        ("8", "0.7"),
        ("9", "10 times"),
        ("10", "48 times"),
        ("12", "10 times"),
    ],
)
def test_what_contradicts_a_claim_stands_beside_it(make_rows, claim, words):
    """Whatever the verdict."""
    finding = verdicts(make_rows(exposures=(30,)))[claim]
    assert words in finding.contradiction
    assert finding.to_json()["contradiction"] == finding.contradiction


def test_miniature_pools_do_not_test_claims_about_full_ones(make_rows):
    """The reason names the data set that is there."""
    rows = make_rows(mini=True, n_people=(1000,), exposures=(1000,), sizes=((1, 1), (1, 2)))
    found = verdicts(rows)
    for claim in ("1a", "1b", "1c", "4"):
        assert found[claim].verdict is Verdict.NOT_MEASURED
        assert "bioS-mini" in found[claim].reason
    assert found["bound"].verdict is Verdict.HOLDS


def test_other_exposures_are_named_where_a_claim_cannot_be_tested(make_rows):
    """A reader sees what was run instead of what the claim needs."""
    finding = verdicts(make_rows(exposures=(30, 300)))["1a"]
    assert finding.verdict is Verdict.NOT_MEASURED
    assert "30, 300" in finding.reason


def test_exposures_of_other_data_are_not_named(make_rows):
    """What other data sets were seen is no answer to what bioS lacks."""
    other = make_rows(exposures=(100,)).assign(dataset="bioR")
    finding = verdicts(pd.concat([make_rows(exposures=(1000,)), other]))["4"]
    assert "no rows at 100 exposures (found: 1000)" in finding.reason


def test_a_low_peak_fails_and_is_named(make_rows):
    """A data set that could have shown 2 bits and showed 1.4 contradicts the claim."""
    rows = make_rows(exposures=(1000,), n_people=(500_000,))
    finding = verdicts(in_seeds(rows, 0.65, 0.63, 0.66))["1a"]
    assert finding.verdict is Verdict.FAILS
    assert "N=500,000" in finding.reason


def test_a_data_set_too_small_for_its_models_is_left_out_of_the_peaks(make_rows):
    """10K people cannot show 2 bits on models of 0.8M parameters or more."""
    rows = make_rows(exposures=(1000,), n_people=(10_000, 500_000, 1_000_000))
    rows = in_seeds(rows, 1.0, 0.99, 0.98)
    finding = verdicts(rows)["1a"]
    assert finding.verdict is Verdict.HOLDS, finding
    assert "not testable" in finding.reason
    only_small = rows[rows["n_people"] == 10_000]
    assert verdicts(only_small)["1a"].verdict is Verdict.NOT_MEASURED


def test_models_that_demand_little_more_than_they_hold_refute_nothing(make_rows):
    """At R_max up to 2.2 a capacity of 2.1 shows as 1.8, which is no capacity below 2."""
    rows = make_rows(exposures=(1000,), n_people=(200_000, 500_000))
    rows = rows[rows["max_capacity_ratio"] < 2.2]
    assert rows["capacity_ratio"].max() < 1.95
    assert verdicts(in_seeds(rows, 1.0, 0.99, 0.98))["1a"].verdict is Verdict.NOT_MEASURED


def test_one_number_of_people_does_not_show_what_is_said_of_all(make_rows):
    """It can refute it; and the finding says what would decide."""
    rows = in_seeds(make_rows(exposures=(1000,), n_people=(500_000,)), 1.0, 0.99, 0.98)
    finding = verdicts(rows)["1a"]
    assert finding.verdict is Verdict.UNDECIDED
    assert "2 numbers of people" in finding.outcome.decided_by


def test_storing_more_than_there_is_fails_the_bound(make_rows):
    """R > R_max is a measuring error, and the cell is named."""
    rows = make_rows(exposures=(30,))
    rows.loc[4, "stored_bits"] = rows.loc[4, "demand_bits"] * 1.02
    finding = verdicts(rows)["bound"]
    assert finding.verdict is Verdict.FAILS
    assert rows.loc[4, "cell_id"] in finding.reason


def test_quantized_rows_do_not_speak_for_full_precision(make_rows):
    """Claims 1 to 4 are about trained weights as they are."""
    rows = make_rows(exposures=(1000,)).assign(quantization="gptq-int4-g128")
    assert verdicts(rows)["1a"].verdict is Verdict.NOT_MEASURED


@pytest.mark.parametrize("exposures", [30, 1000])
def test_findings_are_valid_json(make_rows, exposures):
    """No NaN and no NumPy scalar reaches a JSON file."""
    found = [f.to_json() for f in judge_claims(make_rows(exposures=(exposures,)))]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_no_usable_rows_means_nothing_is_tested(make_rows):
    """An empty table has a verdict on nothing, not an error."""
    empty = make_rows(exposures=(1000,)).iloc[:0]
    assert {f.verdict for f in judge_claims(empty)} == {Verdict.NOT_MEASURED}
    assert isinstance(empty, pd.DataFrame)
    assert np.isnan(empty["capacity_ratio"].mean())


def test_one_kind_of_biod_does_not_show_a_claim_about_all_kinds():
    """Two kinds whose peaks are high enough do; one whose peak is too low refutes it alone."""
    rows = in_seeds(published(1000).query("n_people == 200_000"), 1.0, 0.99, 0.98)
    one = rows.assign(dataset="bioD-K6-C1-D50-L1-T2000")
    other = rows.assign(dataset="bioD-K2-C1-D50-L1-T2000", cell_id=rows["cell_id"] + "-other")
    assert verdicts(one)["3"].verdict is Verdict.UNDECIDED
    assert "one data set says little" in verdicts(one)["3"].outcome.decided_by
    assert verdicts(pd.concat([one, other]))["3"].verdict is Verdict.HOLDS
    low = one.assign(capacity_ratio=one["capacity_ratio"] / 2, stored_bits=one["stored_bits"] / 2)
    assert verdicts(low)["3"].verdict is Verdict.FAILS

"""The study of verdicts: its tables say what they claim to, and a bounded number of draws."""

import numpy as np
import pytest
from scipy import stats

from analysis.claims.claim import Verdict
from analysis.claims.paper import CLAIMS
from analysis.study.case import AMPLE_SEEDS
from analysis.study.cases import all_cases
from analysis.study.verdicts import MAX_UNDECIDED, MAX_WRONG, score, to_markdown
from analysis.study.worlds import Noise, Table, true_rows

CASES = all_cases()
STILL = Noise(log_sd=1e-4, common_log_sd=1e-4)
DECIDABLE = [case for case in CASES if case.truth != "undecidable" and case.n_seeds >= AMPLE_SEEDS]


def test_every_claim_has_a_true_a_false_and_an_undecidable_table():
    """All twelve results, and the parts of the first."""
    claims = [claim.name for claim in CLAIMS if claim.name != "bound"]
    truths = {claim: {case.truth for case in CASES if case.claim == claim} for claim in claims}
    assert truths == {name: {"true", "false", "undecidable"} for name in claims}


@pytest.mark.slow
@pytest.mark.parametrize("case", DECIDABLE, ids=lambda case: f"{case.claim}: {case.name}")
def test_without_noise_the_verdict_is_the_truth(case):
    """So what a case is called true or false for is what the rows hold."""
    rng = np.random.default_rng(0)
    claim = next(one for one in CLAIMS if one.name == case.claim)
    finding = claim.judge(Table(true_rows(case.worlds), case.n_seeds, STILL).draw(rng))
    assert finding.verdict is {"true": Verdict.HOLDS, "false": Verdict.FAILS}[case.truth], finding


@pytest.mark.slow
@pytest.mark.parametrize("claim", sorted({case.claim for case in CASES}))
def test_verdicts_are_seldom_wrong_and_mostly_given_where_data_are_ample(claim):
    """12 draws of each table. A share at its limit leaves these bounds 1 time in 10,000."""
    n_draws = 12
    for case in (case for case in CASES if case.claim == claim):
        found = score(case, n_draws, seed=1)
        assert found.wrong * n_draws <= stats.binom.ppf(0.9999, n_draws, MAX_WRONG), case.name
        if case.is_ample:
            limit = stats.binom.ppf(0.9999, n_draws, MAX_UNDECIDED)
            assert found.undecided * n_draws <= limit, case.name


def test_the_table_has_a_line_for_each_case_and_the_worst_of_them_on_top():
    """What it says at its head is the largest share in its lines."""
    cases = [case for case in CASES if case.claim == "11"]
    scores = [score(case, 3) for case in cases]
    text = to_markdown(scores)
    assert text.count("\n| 11 | ") == len(cases)
    assert f"wrong verdicts: {max(one.wrong for one in scores):.1%}" in text

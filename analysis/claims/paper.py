"""What the measured rows say about each claim of arXiv 2404.05405 that they can speak to.

A claim is data: what it says, and the check that turns rows into a verdict. To add one, add a
`Claim` to `CLAIMS`. Bands are suggested pass bands, wider than the paper's wording, because the
paper's own figure leaves its wording here and there; each verdict prints the numbers it rests on.
"""

import pandas as pd

from analysis.claims.claim import Claim, Finding
from analysis.claims.levels import (
    check_bound,
    check_ceiling,
    check_peaks,
    check_saturation,
    over_several_settings,
)
from analysis.claims.relative import (
    ARCHITECTURES_100,
    ARCHITECTURES_1000,
    EXPERTS,
    JUNK_RANDOM,
    JUNK_REPEATED,
    JUNK_TOKEN,
    LADDER_100,
    QUANTIZED,
)
from analysis.claims.scope import Scope, within
from analysis.claims.stated import check_ratios

BIOS_1000 = Scope(datasets=("bioS",), exposures=1000, needs_full_pools=True)
CLAIMS = (
    Claim(
        name="1a",
        statement="1000 exposures, GPT2 on bioS: every N peaks at about 2 bit/parameter or more",
        check=within(BIOS_1000, check_peaks(1.9, 2.8)),
    ),
    Claim(
        name="1b",
        statement="1000 exposures, GPT2 on bioS: at R_max up to 1.8, R is close to R_max",
        check=within(BIOS_1000, check_saturation),
    ),
    Claim(
        name="1c",
        statement="1000 exposures, GPT2 on bioS: no model stores more than 2.3 bits per parameter",
        check=within(
            BIOS_1000,
            check_ceiling(2.3, "the published figure itself reaches 2.72, at N=500,000"),
        ),
    ),
    Claim(
        name="2",
        statement="1000 exposures, bioS_simple and bioR: peaks at about 2 as well, slightly lower",
        check=within(
            Scope(datasets=("bioS_simple", "bioR"), exposures=1000), check_peaks(1.5, 2.8)
        ),
    ),
    Claim(
        name="3",
        statement="1000 exposures, bioD of any K, C, D, L, T: peaks at about 2 bits per parameter",
        check=within(
            Scope(datasets=("bioD*",), exposures=1000), over_several_settings(check_peaks(1.9, 2.8))
        ),
    ),
    Claim(
        name="4",
        statement="100 exposures, GPT2 on bioS: every N peaks at 1 bit per parameter or more",
        check=within(
            Scope(datasets=("bioS",), exposures=100, needs_full_pools=True), check_peaks(1.0, 1.8)
        ),
    ),
    Claim(
        name="5",
        statement="1000 exposures: LLaMA, Mistral, GPT2 with a small MLP or none all peak as GPT2",
        check=check_ratios(*ARCHITECTURES_1000),
    ),
    Claim(
        name="6",
        statement=(
            "100 exposures: LLaMA and Mistral peak up to 1.3 times lower than GPT2, a quarter of "
            "the MLP costs nothing, no MLP more than 1.5 times"
        ),
        check=check_ratios(*ARCHITECTURES_100),
    ),
    Claim(
        name="7",
        statement=(
            "100 exposures: a standard MLP instead of the gated one brings LLaMA back to GPT2; "
            "gelu and biases do nothing"
        ),
        check=check_ratios(*LADDER_100),
    ),
    Claim(
        name="8",
        statement="int8 costs no capacity, even in full models; int4 costs more than 2 times",
        check=check_ratios(*QUANTIZED),
    ),
    Claim(
        name="9",
        statement=(
            "32 experts peak 1.3 times lower than dense models at 1000 exposures, 1.5 times at 100"
        ),
        check=check_ratios(*EXPERTS),
    ),
    Claim(
        name="10",
        statement=(
            "7 of 8 tokens about 100M junk people: useful capacity falls up to 20 times at 100 "
            "exposures, 3, 1.5 and 1.3 times at 300, 600 and 1000"
        ),
        check=check_ratios(*JUNK_RANDOM),
    ),
    Claim(
        name="11",
        statement="100 exposures, 7 of 8 tokens about 1,000 junk people: no useful capacity lost",
        check=check_ratios(*JUNK_REPEATED),
    ),
    Claim(
        name="12",
        statement=(
            "Junk, and a token in front of the useful: half of the capacity at 100 exposures, all "
            "of it at 300"
        ),
        check=check_ratios(*JUNK_TOKEN),
    ),
    Claim(
        name="bound",
        statement="Every row: stored bits do not exceed the entropy of the data (R <= R_max)",
        check=within(Scope(datasets=("*",), family=None), check_bound),
    ),
)


def judge_claims(used_rows: pd.DataFrame) -> list[Finding]:
    """A finding for every claim, in the paper's order; rows are those of `Results.used`."""
    return [claim.judge(used_rows) for claim in CLAIMS]

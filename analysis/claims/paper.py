"""What the measured rows say about each claim of arXiv 2404.05405 that they can speak to.

A claim is data: what it says, and the check that turns rows into a verdict. To add one, add a
`Claim` to `CLAIMS`. Where a sentence needs a margin to be tested it stands in
`analysis.claims.regions`; each verdict prints the numbers and the margin that it rests on, and
beside it stands where the sources contradict the claim or each other.
"""

import pandas as pd

from analysis.claims.claim import Claim, Finding
from analysis.claims.levels import (
    check_bound,
    check_ceiling,
    check_peaks,
    check_saturation,
)
from analysis.claims.quantized_peaks import INT4_PEAK, check_quantized_peaks
from analysis.claims.regions import about_or_more
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

BIOS_1000 = Scope(datasets=("bioS",), exposures=1000)
ABOUT_TWO = about_or_more(2.0, margin=0.05)
CLAIMS = (
    Claim(
        name="1a",
        statement="1000 exposures, GPT2 on bioS: every N peaks at about 2 bit/parameter or more",
        check=within(BIOS_1000, check_peaks(ABOUT_TWO, min_people=2)),
        contradiction=(
            "said of N from 10,000, but the published models are too big to show 2 there: 0.74 at "
            "10,000, 1.32 at 20,000; and the printed steps are 172 tokens an exposure up to "
            "N=200,000, 85.5 beyond, for biographies of 73.9"
        ),
    ),
    Claim(
        name="1b",
        statement="1000 exposures, GPT2 on bioS: at R_max up to 1.8, R is close to R_max",
        check=within(BIOS_1000, check_saturation),
    ),
    Claim(
        name="1c",
        statement="1000 exposures, GPT2 on bioS: no model stores more than 2.3 bits per parameter",
        check=within(BIOS_1000, check_ceiling(2.3)),
        contradiction="the published figure itself reaches 2.72, at N=500,000",
    ),
    Claim(
        name="2",
        statement="1000 exposures, bioS_simple and bioR: peaks at about 2 as well, slightly lower",
        check=within(
            Scope(datasets=("bioS_simple", "bioR"), exposures=1000),
            check_peaks(
                about_or_more(2.0, margin=0.2), datasets=("bioS_simple", "bioR"), min_people=2
            ),
        ),
    ),
    Claim(
        name="3",
        statement="1000 exposures, bioD of any K, C, D, L, T: peaks at about 2 bits per parameter",
        check=within(
            Scope(datasets=("bioD",), exposures=1000), check_peaks(ABOUT_TWO, min_datasets=2)
        ),
    ),
    Claim(
        name="4",
        statement="100 exposures, GPT2 on bioS: every N peaks at 1 bit per parameter or more",
        check=within(
            Scope(datasets=("bioS",), exposures=100, min_people=50_000),
            check_peaks(about_or_more(1.0), min_people=2),
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
        contradiction="Part 4.1 finds a gated MLP to lose about 30%, 1.4 times, at 100 exposures",
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
        contradiction=(
            "the introduction says that int4 leaves 0.7 bits per parameter, which is 2.9 times "
            "less than 2: judged apart, as 8b"
        ),
    ),
    Claim(
        name="8b",
        statement="1000 exposures, GPT2 on bioS: models in int4 peak at 0.7 bits per parameter",
        check=check_quantized_peaks(4, INT4_PEAK),
        contradiction=(
            "section 8 says only that int4 costs more than 2 times; at peaks of 2, 0.7 is 2.9 times"
        ),
    ),
    Claim(
        name="9",
        statement=(
            "32 experts peak 1.3 times lower than dense models at 1000 exposures, 1.5 times at 100"
        ),
        check=check_ratios(*EXPERTS),
        contradiction="Part 4.1 says that 32 experts may store 10 times less at 100 exposures",
    ),
    Claim(
        name="10",
        statement=(
            "7 of 8 tokens about 100M junk people: useful capacity falls up to 20 times at 100 "
            "exposures, 3, 1.5 and 1.3 times at 300, 600 and 1000"
        ),
        check=check_ratios(*JUNK_RANDOM),
        contradiction=(
            "Appendix E gives 48 times the training of no junk at 100 exposures for 1000, where "
            "its tokens make 80 (48 is 600 exposures); footnote 20 has a junk person seen 0.2 "
            "times at N=200,000, where seven tokens of eight make 1.4"
        ),
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
        contradiction=(
            "the authors' talk says that the token makes it 10 times better than without, which at "
            "20 times lower without is 2 times lower with it"
        ),
    ),
    Claim(
        name="bound",
        statement="Every row: stored bits do not exceed the entropy of the data (R <= R_max)",
        check=lambda rows: check_bound(rows[rows["quantization"] == "none"]),
    ),
)


def judge_claims(used_rows: pd.DataFrame) -> list[Finding]:
    """A finding for every claim, in the paper's order; rows are those of `Results.used`."""
    return [claim.judge(used_rows) for claim in CLAIMS]

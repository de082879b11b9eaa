"""The ratios of capacities that arXiv 2404.05405 states: Results 5 to 12."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from analysis.architectures import compare_families
from analysis.claims.judge import Region
from analysis.claims.regions import (
    WEIGHTS_MARGIN,
    equal,
    more_than_times_lower,
    no_loss,
    times_higher,
    times_lower,
    up_to_times_lower,
)
from analysis.claims.scope import MIN_PARAMS
from analysis.claims.stated import StatedRatio
from analysis.comparison import Comparison
from analysis.junk import compare_junk_runs
from analysis.quantized import compare_quantized_runs, find_full
from analysis.runs import Run

Find = Callable[[Sequence[Run]], Sequence[Comparison]]

# Models below 10M parameters count as tiny in the paper: there LLaMA's second embedding costs more
# than its MLP does, and Results 5 to 7 speak of them apart.
LARGE = 10_000_000
_STANDARD = "llama-standard"
# LLaMA with GPT-2's MLP, embedding, activation, norm and biases is GPT-2: both names are used.
_LAST = f"{_STANDARD}-tied-gelu-layernorm-bias"
_STEP_BEFORE = f"{_STANDARD}-tied-gelu-layernorm"


def _as_trained(runs: Sequence[Run]) -> list[Run]:
    """Those that were not quantized."""
    return [run for run in runs if run.quantization == "none"]


def _family(subject: str, baseline: str = "gpt2") -> Find:
    def find(runs: Sequence[Run]) -> list[Comparison]:
        runs = _as_trained(runs)
        if all(run.family != "gpt2" for run in runs):
            runs = [replace(r, family="gpt2") if r.family == _LAST else r for r in runs]
        own = [run for run in runs if run.family in (subject, baseline)]
        return compare_families(own, baseline)

    return find


def stated_family(
    subject: str,
    region: Region,
    exposures: float,
    *,
    baseline: str = "gpt2",
    min_params: int = MIN_PARAMS,
) -> StatedRatio:
    """R of one family over that of another, by their names."""
    return StatedRatio(
        name=subject,
        find=_family(subject, baseline),
        region=region,
        exposures=exposures,
        # The paper's figures begin at 10,000 people for 1000 exposures, at 50,000 for 100.
        min_people=10_000 if exposures == 1000 else 50_000,
        min_params=min_params,
    )


ARCHITECTURES_1000 = (
    stated_family("llama", equal(), 1000, min_params=LARGE),
    stated_family("mistral", equal(), 1000, min_params=LARGE),
    stated_family("gpt2-mlp1/4", equal(), 1000),
    stated_family("gpt2-mlp0", equal(), 1000),
)

ARCHITECTURES_100 = (
    stated_family("llama", up_to_times_lower(1.3), 100, min_params=LARGE),
    stated_family("mistral", up_to_times_lower(1.3), 100, min_params=LARGE),
    stated_family("gpt2-mlp1/4", no_loss(), 100),
    stated_family("gpt2-mlp0", more_than_times_lower(1.5), 100),
)

LADDER_100 = (
    stated_family(_STANDARD, times_higher(1.3), 100, baseline="llama", min_params=LARGE),
    stated_family(_STANDARD, equal(), 100, baseline="gpt2", min_params=LARGE),
    stated_family(f"{_STANDARD}-tied-gelu", equal(), 100, baseline=f"{_STANDARD}-tied"),
    stated_family("gpt2", equal(), 100, baseline=_STEP_BEFORE),
)

EXPERTS = (
    stated_family("gpt2-moe32", times_lower(1.3), 1000),
    stated_family("gpt2-moe32", times_lower(1.5), 100),
)


def papers_quantization(bits: int) -> re.Pattern[str]:
    """Labels of what the paper's tool does by default: settings that a label names are others."""
    return re.compile(rf"\bgptq-int{bits}-(g\d+|row)(-auto-gptq|-gptqmodel)?$")


def _quantized(bits: int, *, full_only: bool) -> Find:
    def find(runs: Sequence[Run]) -> list[Comparison]:
        wanted = papers_quantization(bits)
        found = [c for c in compare_quantized_runs(runs) if wanted.search(c.subject.name)]
        return find_full(found) if full_only else found

    return find


def _stated_bits(bits: int, region: Region, *, full_only: bool) -> StatedRatio:
    return StatedRatio(
        name=f"int{bits}",
        find=_quantized(bits, full_only=full_only),
        region=region,
        exposures=1000,
        family="gpt2",
    )


# A model that is not full has weights to spare, so that only full ones show what int4 costs; that
# int8 costs nothing is said of all.
QUANTIZED = (
    _stated_bits(8, no_loss(WEIGHTS_MARGIN), full_only=False),
    _stated_bits(4, more_than_times_lower(2), full_only=True),
)


def _junk(*, token: bool, repeated: bool) -> Find:
    def find(runs: Sequence[Run]) -> list[Comparison]:
        return [
            point.comparison
            for point in compare_junk_runs(_as_trained(runs), reference=100)
            if point.case is not None
            and point.case.token == token
            and point.case.is_repeated(point.comparison.subject.n_people) == repeated
        ]

    return find


def _stated_junk(
    name: str,
    dataset: str,
    region: Region,
    exposures: float,
    *,
    token: bool = False,
    repeated: bool = False,
) -> StatedRatio:
    return StatedRatio(
        name=name,
        find=_junk(token=token, repeated=repeated),
        region=region,
        exposures=exposures,
        baseline_exposures=100,
        datasets=(dataset,),
        family="gpt2",
    )


_RANDOM = "bioS-junk7x100M"
JUNK_RANDOM = (
    # At least what 300 exposures leave, or more exposures would not help.
    _stated_junk("junk", _RANDOM, up_to_times_lower(20, at_least=3), 100),
    _stated_junk("junk", _RANDOM, times_lower(3), 300),
    _stated_junk("junk", _RANDOM, times_lower(1.5), 600),
    _stated_junk("junk", _RANDOM, times_lower(1.3), 1000),
)
JUNK_REPEATED = (_stated_junk("repeated junk", "bioS-junk7x1K", no_loss(), 100, repeated=True),)
JUNK_TOKEN = (
    _stated_junk("junk and token", f"{_RANDOM}-token", times_lower(2), 100, token=True),
    _stated_junk("junk and token", f"{_RANDOM}-token", no_loss(), 300, token=True),
)

_LLAMA, _MISTRAL = "llama-tied", "mistral-tied"
"""With tied weights: a second embedding is most of so small a model, as the paper says of its own
small ones.
"""
_TIED_STANDARD = f"{_LLAMA}-standard"


def _of_architectures(by: str = "") -> dict[str, tuple[StatedRatio, ...]]:
    """What is asked of architectures. Both sides are AdamW's, or as `by` says behind a name."""

    def stated(
        subject: str, region: Region, exposures: float, baseline: str = "gpt2"
    ) -> StatedRatio:
        return stated_family(f"{subject}{by}", region, exposures, baseline=f"{baseline}{by}")

    return {
        "5": (
            stated(_LLAMA, equal(), 1000),
            stated(_MISTRAL, equal(), 1000),
            stated("gpt2-mlp1/4", equal(), 1000),
            stated("gpt2-mlp0", equal(), 1000),
        ),
        "6": (
            stated(_LLAMA, up_to_times_lower(1.3), 100),
            stated(_MISTRAL, up_to_times_lower(1.3), 100),
            stated("gpt2-mlp1/4", no_loss(), 100),
            stated("gpt2-mlp0", more_than_times_lower(1.5), 100),
        ),
        "7": (
            stated(_TIED_STANDARD, times_higher(1.3), 100, _LLAMA),
            stated(_TIED_STANDARD, equal(), 100),
            stated(f"{_TIED_STANDARD}-gelu", equal(), 100, _TIED_STANDARD),
            stated(f"{_TIED_STANDARD}-gelu", times_higher(1.3), 100, _LLAMA),
            stated(f"{_TIED_STANDARD}-gelu", equal(), 100),
        ),
        "9": (
            stated("gpt2-moe32", times_lower(1.3), 1000),
            stated("gpt2-moe32", times_lower(1.5), 100),
            # 32 experts are nearly all of the smallest models.
            stated("gpt2-moe8", times_lower(1.3), 1000),
            stated("gpt2-moe8", times_lower(1.5), 100),
        ),
        # Of Physics of Language Models, Part 4.1: a gated MLP loses about 30%.
        "Part 4.1": (stated("gpt2-gated", times_lower(1.4), 100),),
    }


_BY_ADAMW, _BY_MUON = _of_architectures(), _of_architectures(" (muon)")
IN_MINIATURE: dict[str, tuple[StatedRatio, ...]] = {
    **{claim: (*stated, *_BY_MUON[claim]) for claim, stated in _BY_ADAMW.items()},
    "8": QUANTIZED,
    "10": JUNK_RANDOM,
    "11": JUNK_REPEATED,
    "12": JUNK_TOKEN,
}
"""What is asked of a miniature for each claim that states ratios."""

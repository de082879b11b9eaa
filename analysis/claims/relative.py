"""The ratios of capacities that arXiv 2404.05405 states: Results 5 to 12."""

import re
from collections.abc import Callable, Sequence

import pandas as pd

from analysis.architectures import compare_architectures
from analysis.claims.stated import StatedRatio, around
from analysis.comparison import Comparison
from analysis.groups import families_of
from analysis.junk import compare_junk
from analysis.quantized import compare_quantized

Find = Callable[[pd.DataFrame], Sequence[Comparison]]

# Models below 10M parameters count as tiny in the paper: there LLaMA's second embedding costs more
# than its MLP does, and Results 5 to 7 speak of them apart.
LARGE = 10_000_000
CLOSE = around(1.0)


def _family(subject: str, baseline: str = "gpt2") -> Find:
    def find(rows: pd.DataFrame) -> list[Comparison]:
        return compare_architectures(rows[families_of(rows).isin([subject, baseline])], baseline)

    return find


def _stated_family(
    subject: str,
    band: tuple[float, float],
    exposures: float,
    *,
    baseline: str = "gpt2",
    min_people: int = 50_000,
    min_params: int = 0,
    is_up_to: bool = False,
) -> StatedRatio:
    return StatedRatio(
        name=subject,
        find=_family(subject, baseline),
        band=band,
        exposures=exposures,
        min_people=min_people,
        min_params=min_params,
        is_up_to=is_up_to,
    )


ARCHITECTURES_1000 = (
    _stated_family("llama", CLOSE, 1000, min_people=10_000, min_params=LARGE),
    _stated_family("mistral", CLOSE, 1000, min_people=10_000, min_params=LARGE),
    _stated_family("gpt2-mlp1/4", CLOSE, 1000, min_people=10_000),
    _stated_family("gpt2-mlp0", CLOSE, 1000, min_people=10_000),
)

ARCHITECTURES_100 = (
    _stated_family("llama", around(1 / 1.3), 100, min_params=LARGE, is_up_to=True),
    _stated_family("mistral", around(1 / 1.3), 100, min_params=LARGE, is_up_to=True),
    _stated_family("gpt2-mlp1/4", CLOSE, 100),
    # More than 1.5 times worse: no lower end.
    _stated_family("gpt2-mlp0", (0.0, around(1 / 1.5)[1]), 100),
)

_STANDARD = "llama-standard"
# LLaMA with GPT-2's MLP, embedding, activation, norm and biases is GPT-2.
_LAST = f"{_STANDARD}-tied-gelu-layernorm-bias"
LADDER_100 = (
    _stated_family(_STANDARD, around(1.3), 100, baseline="llama", min_params=LARGE),
    _stated_family(_STANDARD, CLOSE, 100, baseline=_LAST, min_params=LARGE),
    _stated_family(f"{_STANDARD}-tied-gelu", CLOSE, 100, baseline=f"{_STANDARD}-tied"),
    _stated_family(_LAST, CLOSE, 100, baseline=f"{_STANDARD}-tied-gelu-layernorm"),
)

EXPERTS = (
    _stated_family("gpt2-moe32", around(1 / 1.3), 1000, min_people=10_000),
    _stated_family("gpt2-moe32", around(1 / 1.5), 100),
)


def _quantized(bits: int) -> Find:
    def find(rows: pd.DataFrame) -> list[Comparison]:
        # Settings that a label names are others than the paper's tool has by default.
        wanted = re.compile(rf"\bgptq-int{bits}-(g\d+|row)(-auto-gptq|-gptqmodel)?$")
        return [c for c in compare_quantized(rows) if wanted.search(c.subject.name)]

    return find


def _stated_bits(bits: int, band: tuple[float, float]) -> StatedRatio:
    return StatedRatio(
        name=f"int{bits}",
        find=_quantized(bits),
        band=band,
        exposures=1000,
        family="gpt2",
    )


# From 2 bits per parameter, a loss of more than 2 times, down to 0.7.
QUANTIZED = (
    _stated_bits(8, CLOSE),
    _stated_bits(4, (around(0.7 / 2)[0], around(1 / 2)[1])),
)


def _junk(*, token: bool, repeated: bool) -> Find:
    def find(rows: pd.DataFrame) -> list[Comparison]:
        return [
            point.comparison
            for point in compare_junk(rows, reference=100)
            if point.case is not None
            and point.case.token == token
            and point.case.is_repeated(point.comparison.subject.n_people) == repeated
        ]

    return find


def _stated_junk(
    name: str,
    dataset: str,
    band: tuple[float, float],
    exposures: float,
    *,
    token: bool = False,
    repeated: bool = False,
    is_up_to: bool = False,
) -> StatedRatio:
    return StatedRatio(
        name=name,
        find=_junk(token=token, repeated=repeated),
        band=band,
        exposures=exposures,
        baseline_exposures=100,
        datasets=(dataset,),
        is_up_to=is_up_to,
        family="gpt2",
    )


_RANDOM = "bioS-junk7x100M"
JUNK_RANDOM = (
    # Up to 20 times; at least what 300 exposures leave, or more exposures would not help.
    _stated_junk("junk", _RANDOM, (around(1 / 20)[0], 1 / 3), 100, is_up_to=True),
    _stated_junk("junk", _RANDOM, around(1 / 3), 300),
    _stated_junk("junk", _RANDOM, around(1 / 1.5), 600),
    _stated_junk("junk", _RANDOM, around(1 / 1.3), 1000),
)
JUNK_REPEATED = (_stated_junk("repeated junk", "bioS-junk7x1K", CLOSE, 100, repeated=True),)
JUNK_TOKEN = (
    _stated_junk("junk and token", f"{_RANDOM}-token", around(1 / 2), 100, token=True),
    _stated_junk("junk and token", f"{_RANDOM}-token", CLOSE, 300, token=True),
)

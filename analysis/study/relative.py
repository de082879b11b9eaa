"""Tables for the claims on ratios of capacities: Results 5 to 12."""

from collections.abc import Mapping, Sequence

from analysis.study.case import Case, case_of
from analysis.study.worlds import World

RANDOM, TOKEN, REPEATED = "bioS-junk7x100M", "bioS-junk7x100M-token", "bioS-junk7x1K"


def relative_cases() -> list[Case]:
    """Claim by claim in the paper's order."""
    return [*_architectures(), *_quantized(), *_experts(), *_junk()]


def _architectures() -> list[Case]:
    names_1000 = ("llama", "mistral", "gpt2-mlp1/4", "gpt2-mlp0")
    papers_100 = {"llama": 0.78, "mistral": 0.8, "gpt2-mlp1/4": 1.0, "gpt2-mlp0": 0.55}
    last = "llama-standard-tied-gelu-layernorm"
    papers_ladder = {
        "llama": 0.76,
        "llama-standard": 1.0,
        "llama-standard-tied": 1.0,
        "llama-standard-tied-gelu": 1.0,
        last: 1.0,
    }

    def at_1000(**changes: float) -> World:
        return _relative(dict.fromkeys(names_1000, 1.0), changes, 1.6, 1000)

    def at_100(changes: Mapping[str, float]) -> World:
        return _relative(papers_100, changes, 1.3, 100)

    def ladder(changes: Mapping[str, float]) -> World:
        return _relative(papers_ladder, changes, 1.3, 100)

    return [
        case_of("5", "all as GPT2", "true", at_1000()),
        case_of("5", "all at 0.81", "false", at_1000(**dict.fromkeys(names_1000, 0.81))),
        case_of("5", "one of four at 0.81", "false", at_1000(**{"gpt2-mlp0": 0.81})),
        case_of("5", "one of four at 1.25", "false", at_1000(llama=1.25)),
        case_of("5", "one of four at 0.9", "undecidable", at_1000(mistral=0.899)),
        case_of("6", "as in the paper", "true", at_100({})),
        case_of("6", "no MLP 5 times lower", "true", at_100({"gpt2-mlp0": 0.2})),
        case_of("6", "no MLP 1.25 times lower", "false", at_100({"gpt2-mlp0": 0.8})),
        case_of("6", "a quarter of the MLP at 0.81", "false", at_100({"gpt2-mlp1/4": 0.81})),
        case_of("6", "LLaMA 2 times lower", "false", at_100({"llama": 0.5})),
        case_of("6", "no MLP 1.5 times lower", "undecidable", at_100({"gpt2-mlp0": 2 / 3})),
        case_of("7", "as in the paper", "true", ladder({})),
        case_of("7", "a standard MLP gains nothing", "false", ladder({"llama": 1.08})),
        case_of(
            "7", "a standard MLP goes half of the way", "false", ladder({"llama-standard": 0.8})
        ),
        case_of("7", "gelu costs a fifth", "false", ladder({"llama-standard-tied-gelu": 0.8})),
        case_of("7", "a standard MLP goes to 0.9", "undecidable", ladder({"llama-standard": 0.9})),
    ]


def _quantized() -> list[Case]:
    def kept(int8: Sequence[float], int4: Sequence[float]) -> World:
        shares = {"gptq-int8-g128": int8, "gptq-int4-g128": int4}
        return World(capacity={"gpt2": 2.0}, kept=shares)

    even = (0.99,)
    return [
        case_of("8", "int8 0.99, int4 2.6 times", "true", kept(even, (0.38,))),
        case_of("8", "int4 5 times", "true", kept(even, (0.2,))),
        case_of("8", "int4 leaves nothing", "true", kept(even, (-0.05,))),
        case_of("8", "int8 loses 19%", "false", kept((0.81,), (0.38,))),
        case_of(
            "8", "int8 loses 19% in one model of four", "false", kept((0.99, 0.81, 0.99), (0.38,))
        ),
        case_of("8", "int4 1.67 times", "false", kept(even, (0.6,))),
        case_of("8", "int4 1.67 times in one model of four", "false", kept(even, (0.3, 0.6, 0.3))),
        case_of("8", "int4 2 times", "undecidable", kept(even, (0.5,))),
        case_of("8b", "int4 keeps 0.7", "true", kept(even, (0.35,))),
        case_of("8b", "int4 keeps 1.2", "false", kept(even, (0.6,))),
        case_of("8b", "int4 keeps 0.3", "false", kept(even, (0.15,))),
        case_of("8b", "int4 keeps 0.3 in three models of four", "true", kept(even, (0.36, 0.15))),
        case_of("8b", "int4 keeps 0.875", "undecidable", kept(even, (0.439,))),
    ]


def _experts() -> list[Case]:
    def moe(at_1000: float, at_100: float) -> tuple[World, ...]:
        # As many parameters as the dense models, but for the router.
        return tuple(
            World(
                capacity={"gpt2": level, "gpt2-moe32": level * ratio},
                exposures=exposures,
                n_people=(1_000_000, 2_000_000),
                params_factor=1.02,
            )
            for exposures, level, ratio in ((1000, 1.6, at_1000), (100, 1.3, at_100))
        )

    return [
        case_of("9", "1.3 and 1.5 times lower", "true", *moe(1 / 1.3, 1 / 1.5)),
        case_of("9", "10 times lower at 100 exposures", "false", *moe(1 / 1.3, 0.1)),
        case_of("9", "as dense at 1000 exposures", "false", *moe(1.1, 1 / 1.5)),
        case_of("9", "1.2 times lower at 100 exposures", "undecidable", *moe(1 / 1.3, 1.25 / 1.5)),
    ]


def _junk() -> list[Case]:
    def junk(shares: Mapping[tuple[str, int], float]) -> tuple[World, ...]:
        plain = World(capacity={"gpt2": 1.3}, exposures=100)
        others = [
            World(capacity={"gpt2": 1.3 * share}, dataset=dataset, exposures=exposures)
            for (dataset, exposures), share in shares.items()
        ]
        return (plain, *others)

    def random(changes: Mapping[int, float]) -> tuple[World, ...]:
        papers = {100: 0.05, 300: 1 / 3, 600: 1 / 1.5, 1000: 1 / 1.3}
        return junk({(RANDOM, e): share for e, share in (papers | dict(changes)).items()})

    def token(at_100: float, at_300: float) -> tuple[World, ...]:
        return junk({(TOKEN, 100): at_100, (TOKEN, 300): at_300})

    return [
        case_of("10", "as in the paper", "true", *random({})),
        case_of("10", "2 times lower at 100 exposures", "false", *random({100: 0.5})),
        case_of("10", "150 times at 100, 14 at 300", "false", *random({100: 1 / 150, 300: 1 / 14})),
        case_of("10", "3 times lower at 1000", "false", *random({1000: 1 / 3})),
        case_of("10", "1.625 times lower at 1000", "undecidable", *random({1000: 1 / 1.625})),
        case_of("11", "no loss", "true", *junk({(REPEATED, 100): 1.0})),
        case_of("11", "a gain of 10%", "true", *junk({(REPEATED, 100): 1.1})),
        case_of("11", "a loss of 19%", "false", *junk({(REPEATED, 100): 0.81})),
        case_of("11", "a loss of 10%", "undecidable", *junk({(REPEATED, 100): 0.9})),
        case_of("12", "half, and all", "true", *token(0.5, 1.0)),
        case_of("12", "half, and a third more", "true", *token(0.5, 1.34)),
        case_of("12", "a seventh, and all", "false", *token(0.15, 1.0)),
        case_of("12", "half, and 0.8", "false", *token(0.5, 0.8)),
        case_of("12", "half, and 0.9", "undecidable", *token(0.5, 0.9)),
    ]


def _relative(
    shares: Mapping[str, float], changes: Mapping[str, float], gpt2: float, exposures: int
) -> World:
    """Families by their share of GPT-2's capacity."""
    capacity = {family: gpt2 * share for family, share in {**shares, **changes}.items()}
    return World(capacity={"gpt2": gpt2, **capacity}, exposures=exposures)

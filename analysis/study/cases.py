"""Adversarial tables for each claim: what is true, what is false, what no one could decide.

The false ones are those that a lenient test lets pass: one model of many that breaks the claim, a
peak that is high only by the luck of its models, a loss just too small. The true ones are those
that a careless test refutes: far better than claimed, many models, the bound nearby. On the border
itself no answer can be right but by chance, and from one seed none can be either.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from analysis.study.worlds import Noise, World

AMPLE_SEEDS = 6
FEW_SEEDS = 3
ORDINARY = Noise()
QUIET = Noise(log_sd=0.003, common_log_sd=0.002)
"""Of models that hold all there is: they scatter far less than others."""
ERRATIC = Noise(log_sd=0.14, common_log_sd=0.0)
"""As the committed runs scatter at 100 exposures (`python -m analysis power`)."""
RANDOM, TOKEN, REPEATED = "bioS-junk7x100M", "bioS-junk7x100M-token", "bioS-junk7x1K"
EVERY_N = (200_000, 1_000_000, 2_000_000)

Truth = Literal["true", "false", "undecidable"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One table, of which 200 noisy ones are drawn."""

    claim: str
    """Name of the claim in `analysis.claims.paper`."""
    name: str
    """What is the case, for the table."""
    truth: Truth
    worlds: tuple[World, ...]
    n_seeds: int = AMPLE_SEEDS
    noise: Noise = ORDINARY

    @property
    def is_ample(self) -> bool:
        """Whether the data are enough to decide, so that `undecided` should be rare."""
        return self.truth != "undecidable" and self.n_seeds >= AMPLE_SEEDS and self.noise != ERRATIC


def all_cases() -> list[Case]:
    """Every table, claim by claim in the paper's order.

    To those written down are added, for each claim, its first true table from one seed, and its
    first true and first false ones from three seeds as noisy as real ones.
    """
    cases = [
        *_levels(),
        *_kinds(),
        *_levels_at_100(),
        *_architectures(),
        *_quantized(),
        *_experts(),
        *_junk(),
    ]
    found = []
    for claim in dict.fromkeys(case.claim for case in cases):
        own = [case for case in cases if case.claim == claim]
        true = next(case for case in own if case.truth == "true")
        false = next(case for case in own if case.truth == "false")
        found += own
        found.append(_variant(true, "one seed", truth="undecidable", n_seeds=1))
        if true.noise != QUIET:
            found += [
                _variant(case, "three erratic seeds", n_seeds=FEW_SEEDS, noise=ERRATIC)
                for case in (true, false)
            ]
    return found


def _variant(
    case: Case,
    how: str,
    *,
    n_seeds: int,
    truth: Truth | None = None,
    noise: Noise | None = None,
) -> Case:
    return replace(
        case,
        name=f"{case.name}; {how}",
        truth=truth or case.truth,
        n_seeds=n_seeds,
        noise=noise or case.noise,
    )


def _gpt2(capacity: float, people: Sequence[int] = EVERY_N, *, n_alike: int = 1) -> World:
    return World(capacity={"gpt2": capacity}, n_people=people, n_alike=n_alike)


def _levels() -> list[Case]:
    low = EVERY_N[:1]
    shares = {"true": [0.985] * 6, "one": [0.985] * 5 + [0.93], "border": [0.985] * 5 + [0.95]}
    quiet = {
        name: (World(capacity={"gpt2": 2.0}, n_people=EVERY_N, saturation=tuple(own)),)
        for name, own in shares.items()
    }
    return [
        _case("1a", "peaks of 2.1", "true", _gpt2(2.1)),
        _case("1a", "peaks of 2.7", "true", _gpt2(2.7)),
        _case("1a", "peaks of 1.7", "false", _gpt2(1.7)),
        _case("1a", "one N of three at 1.7", "false", _gpt2(1.7, low), _gpt2(2.1, EVERY_N[1:])),
        _case(
            "1a", "one N of three at 1.9", "undecidable", _gpt2(1.905, low), _gpt2(2.2, EVERY_N[1:])
        ),
        Case(claim="1b", name="0.985 of R_max", truth="true", worlds=quiet["true"], noise=QUIET),
        Case(claim="1b", name="one model at 0.93", truth="false", worlds=quiet["one"], noise=QUIET),
        Case(
            claim="1b",
            name="one model at 0.95",
            truth="undecidable",
            worlds=quiet["border"],
            noise=QUIET,
        ),
        _case("1c", "peaks of 2.1", "true", _gpt2(2.1)),
        _case("1c", "peaks of 2.15 among 24 models", "true", _gpt2(2.15, n_alike=6)),
        _case("1c", "peaks of 2.6", "false", _gpt2(2.6)),
        _case("1c", "one N of three at 2.6", "false", _gpt2(2.6, low), _gpt2(2.0, EVERY_N[1:])),
        _case("1c", "peaks of 2.3", "undecidable", _gpt2(2.306)),
    ]


def _kinds() -> list[Case]:
    simple = ("bioS_simple", "bioR")
    biod = ("bioD-K6-C1-D50-L1-T2000", "bioD-K2-C1-D50-L1-T2000")

    def kinds(first: str, second: str, peaks: tuple[float, float]) -> tuple[World, ...]:
        pairs = zip((first, second), peaks, strict=True)
        return tuple(replace(_gpt2(peak), dataset=dataset) for dataset, peak in pairs)

    return [
        _case("2", "peaks of 1.85 and 1.8", "true", *kinds(*simple, (1.85, 1.8))),
        _case("2", "bioR at 1.4", "false", *kinds(*simple, (1.9, 1.4))),
        _case("2", "bioR at 1.6", "undecidable", *kinds(*simple, (1.9, 1.604))),
        _case("3", "peaks of 2.1 and 2.2", "true", *kinds(*biod, (2.1, 2.2))),
        _case("3", "one kind of two at 1.6", "false", *kinds(*biod, (2.2, 1.6))),
        _case("3", "one kind of two at 1.9", "undecidable", *kinds(*biod, (2.2, 1.905))),
    ]


def _levels_at_100() -> list[Case]:
    low = EVERY_N[:1]

    def at_100(capacity: float, people: Sequence[int] = EVERY_N, *, n_alike: int = 1) -> World:
        return replace(_gpt2(capacity, people, n_alike=n_alike), exposures=100)

    return [
        _case("4", "peaks of 1.2", "true", at_100(1.2)),
        _case("4", "peaks of 1.94", "true", at_100(1.94)),
        _case("4", "peaks of 0.85", "false", at_100(0.85)),
        _case("4", "one N of three at 0.85", "false", at_100(0.85, low), at_100(1.3, EVERY_N[1:])),
        Case(
            claim="4",
            name="peaks of 0.95 from three seeds",
            truth="false",
            worlds=(at_100(0.95),),
            n_seeds=FEW_SEEDS,
        ),
        Case(
            claim="4",
            name="peaks of 0.95 among 24 models from three seeds",
            truth="false",
            worlds=(at_100(0.95, n_alike=6),),
            n_seeds=FEW_SEEDS,
        ),
        Case(
            claim="4",
            name="peaks of 0.95 from three seeds that each move all models by 10%",
            truth="false",
            worlds=(at_100(0.95),),
            n_seeds=FEW_SEEDS,
            noise=Noise(common_log_sd=0.1),
        ),
        _case("4", "peaks of 1.0", "undecidable", at_100(1.003)),
    ]


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
        _case("5", "all as GPT2", "true", at_1000()),
        _case("5", "all at 0.81", "false", at_1000(**dict.fromkeys(names_1000, 0.81))),
        _case("5", "one of four at 0.81", "false", at_1000(**{"gpt2-mlp0": 0.81})),
        _case("5", "one of four at 1.25", "false", at_1000(llama=1.25)),
        _case("5", "one of four at 0.9", "undecidable", at_1000(mistral=0.899)),
        _case("6", "as in the paper", "true", at_100({})),
        _case("6", "no MLP 5 times lower", "true", at_100({"gpt2-mlp0": 0.2})),
        _case("6", "no MLP 1.25 times lower", "false", at_100({"gpt2-mlp0": 0.8})),
        _case("6", "a quarter of the MLP at 0.81", "false", at_100({"gpt2-mlp1/4": 0.81})),
        _case("6", "LLaMA 2 times lower", "false", at_100({"llama": 0.5})),
        _case("6", "no MLP 1.5 times lower", "undecidable", at_100({"gpt2-mlp0": 2 / 3})),
        _case("7", "as in the paper", "true", ladder({})),
        _case("7", "a standard MLP gains nothing", "false", ladder({"llama": 1.08})),
        _case("7", "a standard MLP goes half of the way", "false", ladder({"llama-standard": 0.8})),
        _case("7", "gelu costs a fifth", "false", ladder({"llama-standard-tied-gelu": 0.8})),
        _case("7", "a standard MLP goes to 0.9", "undecidable", ladder({"llama-standard": 0.9})),
    ]


def _quantized() -> list[Case]:
    def kept(int8: Sequence[float], int4: Sequence[float]) -> World:
        shares = {"gptq-int8-g128": int8, "gptq-int4-g128": int4}
        return World(capacity={"gpt2": 2.0}, kept=shares)

    even = (0.99,)
    return [
        _case("8", "int8 0.99, int4 2.6 times", "true", kept(even, (0.38,))),
        _case("8", "int4 5 times", "true", kept(even, (0.2,))),
        _case("8", "int4 leaves nothing", "true", kept(even, (-0.05,))),
        _case("8", "int8 loses 19%", "false", kept((0.81,), (0.38,))),
        _case(
            "8", "int8 loses 19% in one model of four", "false", kept((0.99, 0.81, 0.99), (0.38,))
        ),
        _case("8", "int4 1.67 times", "false", kept(even, (0.6,))),
        _case("8", "int4 1.67 times in one model of four", "false", kept(even, (0.3, 0.6, 0.3))),
        _case("8", "int4 2 times", "undecidable", kept(even, (0.5,))),
        _case("8b", "int4 keeps 0.7", "true", kept(even, (0.35,))),
        _case("8b", "int4 keeps 1.2", "false", kept(even, (0.6,))),
        _case("8b", "int4 keeps 0.3", "false", kept(even, (0.15,))),
        _case("8b", "int4 keeps 0.3 in three models of four", "true", kept(even, (0.36, 0.15))),
        _case("8b", "int4 keeps 0.875", "undecidable", kept(even, (0.439,))),
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
        _case("9", "1.3 and 1.5 times lower", "true", *moe(1 / 1.3, 1 / 1.5)),
        _case("9", "10 times lower at 100 exposures", "false", *moe(1 / 1.3, 0.1)),
        _case("9", "as dense at 1000 exposures", "false", *moe(1.1, 1 / 1.5)),
        _case("9", "1.2 times lower at 100 exposures", "undecidable", *moe(1 / 1.3, 1.25 / 1.5)),
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
        _case("10", "as in the paper", "true", *random({})),
        _case("10", "2 times lower at 100 exposures", "false", *random({100: 0.5})),
        _case("10", "150 times at 100, 14 at 300", "false", *random({100: 1 / 150, 300: 1 / 14})),
        _case("10", "3 times lower at 1000", "false", *random({1000: 1 / 3})),
        _case("10", "1.625 times lower at 1000", "undecidable", *random({1000: 1 / 1.625})),
        _case("11", "no loss", "true", *junk({(REPEATED, 100): 1.0})),
        _case("11", "a gain of 10%", "true", *junk({(REPEATED, 100): 1.1})),
        _case("11", "a loss of 19%", "false", *junk({(REPEATED, 100): 0.81})),
        _case("11", "a loss of 10%", "undecidable", *junk({(REPEATED, 100): 0.9})),
        _case("12", "half, and all", "true", *token(0.5, 1.0)),
        _case("12", "half, and a third more", "true", *token(0.5, 1.34)),
        _case("12", "a seventh, and all", "false", *token(0.15, 1.0)),
        _case("12", "half, and 0.8", "false", *token(0.5, 0.8)),
        _case("12", "half, and 0.9", "undecidable", *token(0.5, 0.9)),
    ]


def _case(claim: str, name: str, truth: Truth, *worlds: World) -> Case:
    return Case(claim=claim, name=name, truth=truth, worlds=worlds)


def _relative(
    shares: Mapping[str, float], changes: Mapping[str, float], gpt2: float, exposures: int
) -> World:
    """Families by their share of GPT-2's capacity."""
    capacity = {family: gpt2 * share for family, share in {**shares, **changes}.items()}
    return World(capacity={"gpt2": gpt2, **capacity}, exposures=exposures)

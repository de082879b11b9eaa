"""Tables for the claims on levels of capacity: Results 1 to 4."""

from collections.abc import Sequence
from dataclasses import replace

from analysis.study.case import FEW_SEEDS, QUIET, Case, case_of
from analysis.study.worlds import Noise, World

EVERY_N = (200_000, 1_000_000, 2_000_000)


def level_cases() -> list[Case]:
    """Claim by claim in the paper's order."""
    return [*_levels(), *_kinds(), *_levels_at_100()]


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
        case_of("1a", "peaks of 2.1", "true", _gpt2(2.1)),
        case_of("1a", "peaks of 2.7", "true", _gpt2(2.7)),
        case_of("1a", "peaks of 1.7", "false", _gpt2(1.7)),
        case_of("1a", "one N of three at 1.7", "false", _gpt2(1.7, low), _gpt2(2.1, EVERY_N[1:])),
        case_of(
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
        case_of("1c", "peaks of 2.1", "true", _gpt2(2.1)),
        case_of("1c", "peaks of 2.15 among 24 models", "true", _gpt2(2.15, n_alike=6)),
        case_of("1c", "peaks of 2.6", "false", _gpt2(2.6)),
        case_of("1c", "one N of three at 2.6", "false", _gpt2(2.6, low), _gpt2(2.0, EVERY_N[1:])),
        case_of("1c", "peaks of 2.3", "undecidable", _gpt2(2.306)),
    ]


def _kinds() -> list[Case]:
    simple = ("bioS_simple", "bioR")
    biod = ("bioD-K6-C1-D50-L1-T2000", "bioD-K2-C1-D50-L1-T2000")

    def kinds(first: str, second: str, peaks: tuple[float, float]) -> tuple[World, ...]:
        pairs = zip((first, second), peaks, strict=True)
        return tuple(replace(_gpt2(peak), dataset=dataset) for dataset, peak in pairs)

    return [
        case_of("2", "peaks of 1.85 and 1.8", "true", *kinds(*simple, (1.85, 1.8))),
        case_of("2", "bioR at 1.4", "false", *kinds(*simple, (1.9, 1.4))),
        case_of("2", "bioR at 1.6", "undecidable", *kinds(*simple, (1.9, 1.604))),
        case_of("3", "peaks of 2.1 and 2.2", "true", *kinds(*biod, (2.1, 2.2))),
        case_of("3", "one kind of two at 1.6", "false", *kinds(*biod, (2.2, 1.6))),
        case_of("3", "one kind of two at 1.9", "undecidable", *kinds(*biod, (2.2, 1.905))),
    ]


def _levels_at_100() -> list[Case]:
    low = EVERY_N[:1]

    def at_100(capacity: float, people: Sequence[int] = EVERY_N, *, n_alike: int = 1) -> World:
        return replace(_gpt2(capacity, people, n_alike=n_alike), exposures=100)

    return [
        case_of("4", "peaks of 1.2", "true", at_100(1.2)),
        case_of("4", "peaks of 1.94", "true", at_100(1.94)),
        case_of("4", "peaks of 0.85", "false", at_100(0.85)),
        case_of(
            "4", "one N of three at 0.85", "false", at_100(0.85, low), at_100(1.3, EVERY_N[1:])
        ),
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
        case_of("4", "peaks of 1.0", "undecidable", at_100(1.003)),
    ]

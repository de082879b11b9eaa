"""Adversarial tables for each claim: what is true, what is false, what no one could decide.

The false ones are those that a lenient test lets pass: one model of many that breaks the claim, a
peak that is high only by the luck of its models, a loss just too small. The true ones are those
that a careless test refutes: far better than claimed, many models, the bound nearby. On the border
itself no answer can be right but by chance, and from one seed none can be either.
"""

from dataclasses import replace

from analysis.study.case import ERRATIC, FEW_SEEDS, QUIET, Case, Truth
from analysis.study.levels import level_cases
from analysis.study.relative import relative_cases
from analysis.study.worlds import Noise


def all_cases() -> list[Case]:
    """Every table, claim by claim in the paper's order.

    To those written down are added, for each claim, its first true table from one seed, and its
    first true and first false ones from three seeds as noisy as real ones.
    """
    cases = [*level_cases(), *relative_cases()]
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

"""Where a number must lie for a sentence of the paper to be true, and with which margin.

The paper gives factors to one digit or two and no margins; these are ours (docs/decisions/0056). A
sentence with one side has one bound; "more than" and "or more" have no margin at all.
"""

from analysis.claims.judge import Region

FACTOR_MARGIN = 1.25
"""Around a stated factor ("1.5 times lower"): within 25%, for it and its inverse alike."""
EQUAL_MARGIN = 0.1
"""A difference of capacity that counts as none, between models trained apart."""
WEIGHTS_MARGIN = 0.05
"""The same between weights before and after rounding, where training scatters nothing."""


def times_lower(factor: float) -> Region:
    """ "1.5 times lower": within 25% of it."""
    low, high = 1 / factor / FACTOR_MARGIN, FACTOR_MARGIN / factor
    return Region(
        low=low,
        high=high,
        criterion=f"{low:.3g} to {high:.3g}: {factor:g} times lower, within 25%",
    )


def times_higher(factor: float) -> Region:
    """ "1.3 times higher": within 25% of it."""
    low, high = factor / FACTOR_MARGIN, factor * FACTOR_MARGIN
    return Region(
        low=low,
        high=high,
        criterion=f"{low:.3g} to {high:.3g}: {factor:g} times higher, within 25%",
    )


def up_to_times_lower(factor: float, *, at_least: float | None = None) -> Region:
    """ "Up to 1.3 times lower": the lowest within 25% of it, or at least `at_least` times lower."""
    low = 1 / factor / FACTOR_MARGIN
    high = FACTOR_MARGIN / factor if at_least is None else 1 / at_least
    return Region(
        low=low,
        high=high,
        of="lowest",
        criterion=f"lowest {low:.3g} to {high:.3g}: up to {factor:g} times lower",
    )


def more_than_times_lower(factor: float) -> Region:
    """ "More than 2 times lower"."""
    return Region(
        high=1 / factor, criterion=f"at most {1 / factor:.3g}: more than {factor:g} times lower"
    )


def equal(margin: float = EQUAL_MARGIN) -> Region:
    """ "The same": equivalent within the margin, in both directions."""
    low, high = 1 - margin, 1 / (1 - margin)
    return Region(
        low=low, high=high, criterion=f"{low:.3g} to {high:.3g}: the same within {margin:.0%}"
    )


def no_loss(margin: float = EQUAL_MARGIN) -> Region:
    """ "Costs nothing": not lower by more than the margin; a gain is no loss."""
    low = 1 - margin
    return Region(low=low, criterion=f"at least {low:.3g}: no loss beyond {margin:.0%}")


def about(bits: float) -> Region:
    """ "0.7 bits per parameter", of a number that is given to one digit: within 25% of it."""
    low, high = bits / FACTOR_MARGIN, bits * FACTOR_MARGIN
    return Region(low=low, high=high, criterion=f"{low:.3g} to {high:.3g} bits per parameter")


def about_or_more(bits: float, margin: float = 0.0) -> Region:
    """Peaks of so many bits per parameter or more, with a margin where it says "about"."""
    low = bits * (1 - margin)
    return Region(low=low, criterion=f"at least {low:.3g} bits per parameter")

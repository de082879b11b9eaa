"""Whether a model has learnt anything at all, and what to do if not.

A model that knows no person stores 0 bits of each on average, give or take how much people differ:
so what it stores tells of learning where it is above 0 by more than chance would bring.
"""

from collections.abc import Sequence
from statistics import NormalDist

from kcap_ray.runs.record import ResultRow

CONFIDENCE = 0.975
"""Of a model that knows nobody this share is found to have learnt nothing; with 1,000 people or 30
the mean over them is normal enough for that.
"""
ADVICE = "more exposures or a higher rate"

_ERRORS = NormalDist().inv_cdf(CONFIDENCE)


def is_nothing(bits: float, standard_error: float | None) -> bool:
    """Whether so many bits are no more than chance brings; without a standard error, whether they
    are none.
    """
    return bits <= _ERRORS * (standard_error or 0.0)


def what_is_missing(row: ResultRow) -> str:
    """`nothing learnt`, `no values learnt`, or nothing, of a row with a result."""
    if row.status != "ok" or row.quantization != "none" or row.stored_bits is None:
        return ""
    if is_nothing(row.stored_bits, row.stored_bits_se):
        return "nothing learnt"
    # Where values were asked for: of one that is measured without any, all bits are of names.
    has_values = row.value_bits is not None and bool(row.loss_value_nats)
    if has_values and is_nothing(row.value_bits or 0.0, row.value_bits_se):
        return "no values learnt"
    return ""


def learnt_notes(rows: Sequence[ResultRow]) -> list[str]:
    """A line on the cells that have learnt nothing, and one on those that know names alone."""
    notes = []
    for missing, what in (
        ("nothing learnt", "have learnt nothing"),
        ("no values learnt", "have learnt names alone, and no values"),
    ):
        found = [row for row in rows if what_is_missing(row) == missing]
        if found:
            each = "; ".join(dict.fromkeys(f"R {_at(row)}" for row in found[:3]))
            more = "; ..." if len(found) > 3 else ""
            notes.append(f"{len(found)} of {len(rows)} cells {what} ({each}{more}): {ADVICE}")
    return notes


def _at(row: ResultRow) -> str:
    return f"{row.capacity_ratio:.3f} at {row.exposures:,} exposures"

"""Whether a model has learnt anything at all, and what to do if not.

A model that knows no person stores 0 bits of each on average, give or take how much people differ:
so what it stores tells of learning where it is above 0 by more than chance would bring.
"""

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

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
    """`nothing learnt`, `no values learnt`, or nothing, of a cell with a result; nothing of
    quantized weights, which no exposures would mend.
    """
    return missing_in(row.to_dict())


def missing_in(row: Mapping[Any, Any]) -> str:
    """The same of a row by column, which may lack those of later versions."""
    if row.get("status") != "ok" or row.get("quantization", "none") != "none":
        return ""
    stored, values = _number(row, "stored_bits"), _number(row, "value_bits")
    if stored is None:
        return ""
    if is_nothing(stored, _number(row, "stored_bits_se")):
        return "nothing learnt"
    # A loss of 0 is that of data without values.
    if values is not None and _number(row, "loss_value_nats"):
        return "no values learnt" if is_nothing(values, _number(row, "value_bits_se")) else ""
    return ""


def _number(row: Mapping[Any, Any], name: str) -> float | None:
    value = row.get(name)
    return None if value is None or value != value else float(value)


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

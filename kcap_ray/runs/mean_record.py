"""The mean of trials that differ by their seed alone: one record, whose numbers belong together."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kcap_ray.runs.columns import Measured
from kcap_ray.runs.record import TrialRecord
from kcap_ray.runs.schema import names_of

# Bits are linear in the losses, and sums of bits in their parts, so means keep to all formulas.
_MEANS = (
    "bits",
    "capacity_ratio",
    "exposures_seen",
    "train_time_s",
    "measure_time_s",
    *names_of(Measured),
)


def mean_of(records: Sequence[TrialRecord]) -> TrialRecord:
    """The first of these finished records with the means of all over what was measured.

    The speed is that of the mean time. Needs at least one record.
    """
    values = {name: _mean([getattr(record, name) for record in records]) for name in _MEANS}
    speeds = [record.tokens_per_s for record in records if record.tokens_per_s is not None]
    speed = statistics.harmonic_mean(speeds) if len(speeds) == len(records) else None
    return replace(records[0], **values, tokens_per_s=speed)


def _mean(values: Sequence[Any]) -> Any:
    """Of numbers, or of the numbers inside of JSON texts of equal form; None where one is None."""
    if any(value is None for value in values):
        return None
    if isinstance(values[0], str):
        return json.dumps(_mean_inside([json.loads(value) for value in values]))
    return statistics.fmean(values)


def _mean_inside(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, dict):
        return {key: _mean_inside([value[key] for value in values]) for key in first}
    if isinstance(first, list):
        return [_mean_inside(own) for own in zip(*values, strict=True)]
    if all(value == first for value in values) or not isinstance(first, int | float):
        return first
    return statistics.fmean(values)

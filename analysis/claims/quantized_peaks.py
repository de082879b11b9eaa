"""Claims on what quantized models store: a number of bits per parameter, and no ratio."""

import pandas as pd

from analysis.claims.claim import Check, Outcome
from analysis.claims.judge import Part, Region, Unit, judge
from analysis.claims.regions import about
from analysis.claims.relative import papers_quantization
from analysis.claims.scope import MIN_PARAMS
from analysis.groups import is_full_pool_demand
from analysis.peaks import measure_peaks
from analysis.runs import Run, group_by, runs_of

EXPOSURES, MIN_PEOPLE = 1000, 50_000
"""Of the paper's figure of quantized models; GPT2 on bioS."""
INT4_PEAK = about(0.7)
"""Of its introduction, in bits per parameter."""


def check_quantized_peaks(bits: int, region: Region) -> Check:
    """The peak over models quantized to so many bits lies in the region, for every number of
    people, of which there must be two: one can refute it, but not show it.
    """

    def check(rows: pd.DataFrame) -> Outcome:
        own = [run for run in runs_of(rows) if _is_papers(run, bits)]
        groups = group_by(own, lambda run: (run.n_people, run.quantization))
        found = [(key, measure_peaks(runs)) for key, runs in sorted(groups.items())]
        units = tuple(
            Unit(where=f"N={people:,}", peaks=peaks)
            for (people, _), peaks in found
            if peaks is not None
        )
        if not units:
            where = f"GPT2 on bioS at {EXPOSURES} exposures, N from {MIN_PEOPLE:,}, full pools"
            return judge([], missing=f"not measured: int{bits} of {where}")
        is_one = len({people for people, _ in groups}) < 2
        return judge(
            [Part(name=f"peak at int{bits}", region=region, units=units)],
            too_few="a second number of people" if is_one else "",
        )

    return check


def _is_papers(run: Run, bits: int) -> bool:
    return (
        papers_quantization(bits).search(run.quantization) is not None
        and (run.dataset, run.family, run.exposures) == ("bioS", "gpt2", EXPOSURES)
        and run.n_people >= MIN_PEOPLE
        and run.n_params >= MIN_PARAMS
        and is_full_pool_demand(run.n_people, run.demand_bits)
    )

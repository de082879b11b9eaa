"""Statements about bits per parameter, and not about ratios, asked of miniatures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from analysis.claims.judge import Part, Region, Unit
from analysis.claims.levels import (
    REACH,
    SATURATED_MAX_RATIO,
    DataSet,
    can_show,
    data_sets,
    saturation_of,
)
from analysis.claims.quantized_peaks import EXPOSURES as EXPOSURES_OF_INT4
from analysis.claims.quantized_peaks import INT4_PEAK
from analysis.claims.quantized_peaks import MIN_PEOPLE as MIN_PEOPLE_OF_INT4
from analysis.claims.regions import about_or_more
from analysis.claims.relative import papers_quantization
from analysis.claims.scope import MIN_PARAMS, MIN_PEOPLE
from analysis.groups import AROUND, families_of, has_full_pools
from analysis.peaks import measure_peaks
from analysis.runs import Run, group_by, runs_of

FAMILIES = ("gpt2", "gpt2 (muon)")
PEAKS = {
    "1a, 3": (1000, about_or_more(2.0, margin=0.05)),
    "2": (1000, about_or_more(2.0, margin=0.2)),
    "4": (100, about_or_more(1.0)),
}
"""Exposures of the claims about peaks, and where these must lie, in bits per parameter."""
CEILING = Region(high=2.3, criterion="at most 2.3 bits per parameter")


@dataclass(frozen=True, kw_only=True)
class Level:
    """What is measured of one statement."""

    claim: str
    part: Part
    exposures: float
    runs: list[Run]
    """The trained models behind it."""


def levels_of(used: pd.DataFrame) -> Iterator[Level]:
    """Peaks, saturation, the ceiling and peaks in int4 of plain data sets, without the rows that
    the claims themselves are judged by.
    """
    is_plain = [name.startswith("bio") and not AROUND.search(name) for name in used["dataset"]]
    plain = used[is_plain]
    for family in FAMILIES:
        own = plain[families_of(plain) == family]
        for exposures in (100, 1000):
            rows = own[own["exposures"] == exposures]
            for _, trained in rows[~_is_papers(rows)].groupby("dataset"):
                yield from _of_data_set(trained, family, exposures)
        rows = own[own["exposures"] == EXPOSURES_OF_INT4]
        for name, rounded in rows[~_is_papers(rows, MIN_PEOPLE_OF_INT4)].groupby("dataset"):
            if not _is_of_claim_2(str(name)):
                yield from _int4_peaks(rounded, family)


def _is_of_claim_2(dataset: str) -> bool:
    """The other statements are about bioS and bioD."""
    return dataset.startswith(("bioS_simple", "bioR"))


def _of_data_set(own: pd.DataFrame, family: str, exposures: int) -> Iterator[Level]:
    noise = exposures, family
    is_of_claim_2 = _is_of_claim_2(own["dataset"].iloc[0])
    sets = [
        (one, replace(unit, pooled_with=noise))
        for one in data_sets(own)
        if (unit := one.unit()) is not None
    ]
    for claim, (wanted, region) in PEAKS.items():
        low = region.low or 0.0
        units = [(one, unit) for one, unit in sets if _shows_peak(one.runs, unit, low)]
        if exposures == wanted and units and (claim == "2") == is_of_claim_2:
            yield _joined(claim, f"peak of {family}", region, units, exposures)
    if exposures != 1000 or is_of_claim_2:
        return
    saturation = saturation_of(own)
    if saturation is not None:
        runs = [run for one, _ in sets for run in one.runs]
        yield Level(
            claim="1b",
            part=replace(
                saturation,
                name=f"R / R_max of {family}",
                units=tuple(replace(unit, pooled_with=noise) for unit in saturation.units),
            ),
            exposures=exposures,
            runs=[run for run in runs if run.max_ratio <= SATURATED_MAX_RATIO],
        )
    ceiling = CEILING.high or 0.0
    above = [pair for pair in sets if can_show(pair[0], ceiling)]
    if above:
        yield _joined("1c", f"largest R of {family}", CEILING, above, exposures)


def _int4_peaks(own: pd.DataFrame, family: str) -> Iterator[Level]:
    """Peaks of models in int4, by number of people; one shape may lie below the peak, however high
    it is.
    """
    is_int4 = papers_quantization(4)
    runs = [run for run in runs_of(own) if is_int4.search(run.quantization)]
    for (_, people), found in group_by(runs, lambda run: (run.quantization, run.n_people)).items():
        peaks = measure_peaks(found)
        if peaks is None:
            continue
        noise = EXPOSURES_OF_INT4, family, "int4"
        unit = Unit(where=f"N={people:,}", peaks=peaks, pooled_with=noise)
        if len(_shapes(found)) > 1 and _shows_peak(found, unit, INT4_PEAK.low or 0.0):
            part = Part(name=f"peak of {family} in int4", region=INT4_PEAK, units=(unit,))
            yield Level(claim="8b", part=part, exposures=EXPOSURES_OF_INT4, runs=found)


def _shows_peak(runs: Sequence[Run], unit: Unit, low: float) -> bool:
    """Whether it is as high as one must be; or, of several shapes, limited by the capacity of the
    model at the peak and not by its data.
    """
    if unit.peaks.value >= low:
        return True
    is_one_of_several = len(_shapes(runs)) > 1
    return is_one_of_several and DataSet(runs=list(runs)).max_ratio_at_peak >= REACH * low


def _shapes(runs: Sequence[Run]) -> set[str]:
    """Sizes, whatever their batches."""
    return {run.size.partition(" b")[0] for run in runs}


def _is_papers(rows: pd.DataFrame, min_people: int = MIN_PEOPLE) -> pd.Series:
    """Rows that the claims themselves are judged by; `min_people` at 1000 exposures."""
    people = rows["exposures"].map({100: 50_000}).fillna(min_people)
    large = (rows["n_params"] >= MIN_PARAMS) & (rows["n_people"] >= people)
    return large & has_full_pools(rows)


def _joined(
    claim: str,
    name: str,
    region: Region,
    units: Sequence[tuple[DataSet, Unit]],
    exposures: float,
) -> Level:
    return Level(
        claim=claim,
        part=Part(name=name, region=region, units=tuple(unit for _, unit in units)),
        exposures=exposures,
        runs=[run for one, _ in units for run in one.runs],
    )

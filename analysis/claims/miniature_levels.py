"""Statements about bits per parameter, and not about ratios, asked of miniatures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from analysis.claims.judge import Part, Region, Unit
from analysis.claims.levels import (
    REACH,
    SATURATED_MAX_RATIO,
    DataSet,
    data_sets,
    saturation_of,
)
from analysis.claims.regions import about, about_or_more
from analysis.claims.relative import papers_quantization
from analysis.claims.scope import MIN_PARAMS, MIN_PEOPLE
from analysis.groups import AROUND, families_of, has_full_pools
from analysis.peaks import measure_peaks, peak_runs
from analysis.runs import Run, by_seed, group_by, runs_of

FAMILIES = ("gpt2", "gpt2 (muon)")
PEAKS = {"1a, 3": (1000, about_or_more(2.0, margin=0.05)), "4": (100, about_or_more(1.0))}
"""Exposures of the claims about peaks, and where these must lie, in bits per parameter."""
CEILING = Region(high=2.3, criterion="at most 2.3 bits per parameter")
INT4_PEAK = about(0.7)


@dataclass(frozen=True, kw_only=True)
class Level:
    """What is measured of one statement."""

    claim: str
    part: Part
    exposures: float
    runs: list[Run]
    """The trained models behind it."""


def levels_of(used: pd.DataFrame) -> Iterator[Level]:
    """Peaks, saturation and the ceiling, of plain data sets, with whatever is not the paper's."""
    is_plain = [name.startswith("bio") and not AROUND.search(name) for name in used["dataset"]]
    plain = used[is_plain]
    plain = plain[~_is_papers(plain)]
    for family in FAMILIES:
        for exposures in (100, 1000):
            rows = plain[(families_of(plain) == family) & (plain["exposures"] == exposures)]
            for _, own in rows.groupby("dataset"):
                yield from _of_data_set(own, family, exposures)


def _of_data_set(own: pd.DataFrame, family: str, exposures: int) -> Iterator[Level]:
    sets = [(one, unit) for one in data_sets(own) if (unit := one.unit()) is not None]
    for claim, (wanted, region) in PEAKS.items():
        units = [pair for pair in sets if _shows_peak(*pair, region.low or 0.0)]
        if exposures == wanted and units:
            yield _joined(claim, f"peak of {family}", region, units, exposures)
    if exposures != 1000:
        return
    saturation = saturation_of(own)
    if saturation is not None:
        runs = [run for one, _ in sets for run in one.runs]
        yield Level(
            claim="1b",
            part=replace(saturation, name=f"R / R_max of {family}"),
            exposures=exposures,
            runs=[run for run in runs if run.max_ratio <= SATURATED_MAX_RATIO],
        )
    ceiling = CEILING.high or 0.0
    above = [pair for pair in sets if pair[0].largest_max_ratio >= REACH * ceiling]
    if above:
        yield _joined("1c", f"largest R of {family}", CEILING, above, exposures)
    yield from _int4_peaks(own, family, exposures)


def _int4_peaks(own: pd.DataFrame, family: str, exposures: int) -> Iterator[Level]:
    """Peaks of models in int4, by number of people: over several shapes, as those of the paper."""
    is_int4 = papers_quantization(4)
    runs = [run for run in runs_of(own) if is_int4.search(run.quantization)]
    for (_, people), found in group_by(runs, lambda run: (run.quantization, run.n_people)).items():
        peaks = measure_peaks(found)
        if peaks is None or len(_shapes(found)) < 2:
            continue
        unit = Unit(where=f"N={people:,}", peaks=peaks)
        part = Part(name=f"peak of {family} in int4", region=INT4_PEAK, units=(unit,))
        yield Level(claim="8b", part=part, exposures=exposures, runs=found)


def _shows_peak(one: DataSet, unit: Unit, low: float) -> bool:
    """Whether it is as high as one must be; or, of several shapes, limited by the capacity of the
    model at the peak and not by its data.
    """
    if unit.peaks.value >= low:
        return True
    best = peak_runs(*by_seed(one.runs)).values()
    return len(_shapes(one.runs)) > 1 and any(run.max_ratio >= REACH * low for run in best)


def _shapes(runs: Sequence[Run]) -> set[str]:
    """Sizes, whatever their batches."""
    return {run.size.partition(" b")[0] for run in runs}


def _is_papers(rows: pd.DataFrame) -> pd.Series:
    """Rows that the claims themselves are judged by."""
    people = rows["exposures"].map({100: 50_000}).fillna(MIN_PEOPLE)
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

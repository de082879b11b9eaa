"""Runs of models at a peak, of which size, seed and R matter alone."""

from collections.abc import Iterable

from analysis.peaks import Peaks, measure_peaks
from analysis.runs import Run


def make_runs(
    ratios_KS: Iterable[Iterable[float]], family: str = "gpt2", max_ratio: float = 100.0
) -> list[Run]:
    """A run for every model and seed."""
    return [
        Run(
            cell=("run", f"{family}-{k}-{s}"),
            quantization="none",
            dataset="bioS",
            n_people=1000,
            exposures=100.0,
            demand_bits=1e6,
            family=family,
            size=f"{k:03d}-2",
            n_params=1000,
            replicate=(s, 0),
            ratio=float(ratio),
            max_ratio=max_ratio,
        )
        for k, own in enumerate(ratios_KS)
        for s, ratio in enumerate(own)
    ]


def peaks_of(ratios_KS: Iterable[Iterable[float]]) -> Peaks:
    """The peak of models by R in each seed."""
    found = measure_peaks(make_runs(ratios_KS))
    assert found is not None
    return found

"""Runs of a model at a peak, of which size, seed and R matter alone."""

from collections.abc import Mapping, Sequence

from analysis.peaks import Peaks, measure_peaks
from analysis.runs import Run


def peaks_of(ratios: Mapping[str, Sequence[float]]) -> Peaks:
    """The peak of models by R in each seed, far from all there is to store."""
    found = measure_peaks(
        [
            Run(
                cell=("", f"{size} {seed}"),
                quantization="none",
                dataset="bioS",
                n_people=1,
                exposures=100.0,
                demand_bits=1.0,
                family="gpt2",
                size=size,
                n_params=1,
                replicate=(seed, 0),
                ratio=float(ratio),
                max_ratio=1e3,
            )
            for size, own in ratios.items()
            for seed, ratio in enumerate(own)
        ]
    )
    assert found is not None
    return found

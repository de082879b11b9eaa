"""How much people differ in what a model stores of them, and so how sure a sum over them is.

Stored bits are linear in the losses of people (`measure.bits`), so each person has a share, and the
standard error of their sum is that of a mean of independent draws: N sd / sqrt(n) for N people of
whom n were measured. People are drawn independently, so this holds where all are measured too: it
says how far another table of as many people might be off.

Shape letters: E trials, P people, G bands of frequency; 2: all bits of a person, those of values.
"""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from kcap_ray.measure.bits import NATS_PER_BIT
from kcap_ray.text.stream.source import Source

Spread = tuple[float, float]
"""Standard deviation over people of all bits that are stored of one, and of those of values."""


class Scatter:
    """Sums and squares of the bits of people, by trial and band."""

    def __init__(self, source: Source, *, n_trials: int) -> None:
        self._source, n_bands = source, int(source.bands_P.max()) + 1
        self._n_G = np.zeros(n_bands)
        self._sums_2EG = np.zeros((2, n_trials, n_bands))
        self._squares_2EG = np.zeros((2, n_trials, n_bands))

    def add(self, people_P: NDArray[np.int64], nats_3EP: NDArray[np.float64]) -> None:
        """Add these people; of each the loss on name, values and first chunks."""
        bands_P, n_bands = self._source.bands_P[people_P], len(self._n_G)
        self._n_G += np.bincount(bands_P, minlength=n_bands)
        for part, bits_EP in enumerate(_bits_of_people(self._source, people_P, nats_3EP)):
            for trial, bits_P in enumerate(bits_EP):
                for sums_2EG, values_P in (
                    (self._sums_2EG, bits_P),
                    (self._squares_2EG, bits_P**2),
                ):
                    sums_2EG[part, trial] += np.bincount(bands_P, values_P, minlength=n_bands)

    def spread(self, trial: int, band: int) -> Spread | None:
        """Over the people of a band; None for fewer than two."""
        n = self._n_G[band]
        if n < 2:
            return None
        sums_2, squares_2 = self._sums_2EG[:, trial, band], self._squares_2EG[:, trial, band]
        variance_2 = np.maximum(squares_2 - sums_2**2 / n, 0.0) / (n - 1)
        total, value = np.sqrt(variance_2).tolist()
        return total, value


def _bits_of_people(
    source: Source, people_P: NDArray[np.int64], nats_3EP: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bits of each person [E, P], of everything and of values, both from the table's mean: what is
    the same for all people is left out.
    """
    entropy = source.entropy
    assert entropy is not None, "junk is not measured"
    name_EP, value_EP, first_chunk_EP = -nats_3EP / NATS_PER_BIT
    if source.value_bits_P is not None:
        value_EP = value_EP + source.value_bits_P[people_P] - entropy.value_bits
    # A string of a diversity set is known through everybody: D of them for N K first chunks.
    per_chunk = entropy.n_diversity / (entropy.n_people * max(entropy.n_attributes, 1))
    counted_EP = 0.0 if entropy.log2_name_space is None else name_EP
    return counted_EP + value_EP + per_chunk * first_chunk_EP, value_EP


def standard_error(groups: Iterable[tuple[int, int, Spread | None]], part: int) -> float | None:
    """Of a sum over people, in bits; for each independent group its people, how many of them were
    measured, and their `Spread`, of which `part` is meant. None where a group's is not known.
    """
    variance = 0.0
    for n_people, n_measured, spread in groups:
        if spread is None:
            return None
        variance += (n_people * spread[part]) ** 2 / n_measured
    return math.sqrt(variance)

"""The people of an exposure: everybody once, some more often than others, or drawn at random.

An exposure is a set of samples, numbered from 0; `BiographyStream` puts them in random order.
Shape letters: P people or samples.
"""

from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from kcap_ray.knowledge.randomness import Purpose, below, hash64, permutation, stream_key


class Occurrences(NamedTuple):
    """Whose biographies they are."""

    people_P: NDArray[np.int64]
    """Number of each person in the table."""
    draw_P: NDArray[np.int64]
    """Number that distinguishes the samples of one exposure; their random choices depend on it."""
    time_P: NDArray[np.int64]
    """How many samples of the person came before."""


class Schedule(Protocol):
    """The people of each exposure."""

    def n_samples(self, exposure: int) -> int:
        """Samples of this exposure."""
        ...

    def occurrences(self, exposure: int, sample_P: NDArray[np.int64]) -> Occurrences:
        """The people of these samples of the exposure."""
        ...


class Everybody(NamedTuple):
    """Every person once in every exposure."""

    n_people: int

    def n_samples(self, exposure: int) -> int:
        """As many as people."""
        return self.n_people

    def occurrences(self, exposure: int, sample_P: NDArray[np.int64]) -> Occurrences:
        """Sample i is of person i."""
        return Occurrences(sample_P, sample_P, np.full(len(sample_P), exposure))


class ByFrequency:
    """Person p has f_p samples per exposure on average, and never a whole time more or less
    than e * f_p + 1 in e exposures.

    Person p's k-th sample falls into the exposure in which e * f_p + u_p passes k, where the
    offset u_p is uniform in 0..1 and a function of the seed.
    """

    def __init__(self, frequency_P: NDArray[np.float64], seed: int) -> None:
        """`frequency_P`: samples per exposure, for each person."""
        self.frequency_P = frequency_P
        key = stream_key(seed, Purpose.FREQUENCY)
        # 53 bits are what a float64 holds exactly.
        random_P = hash64(key, np.arange(len(frequency_P))) >> np.uint64(11)
        self._offset_P = random_P.astype(np.float64) / 2.0**53
        # A part of a stream may span the end of one exposure and the start of the next.
        self._counts = lru_cache(maxsize=2)(self._count)

    def _count(self, exposure: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many samples of each person come before this exposure, and the samples in it up to
        those of each person.
        """
        before_P = np.floor(exposure * self.frequency_P + self._offset_P).astype(np.int64)
        after_P = np.floor((exposure + 1) * self.frequency_P + self._offset_P).astype(np.int64)
        return before_P, np.cumsum(after_P - before_P)

    def n_samples(self, exposure: int) -> int:
        """About as many as people."""
        return int(self._counts(exposure)[1][-1])

    def occurrences(self, exposure: int, sample_P: NDArray[np.int64]) -> Occurrences:
        """The samples of person 0 come first, then those of person 1, ..."""
        before_P, stop_P = self._counts(exposure)
        people_P = np.searchsorted(stop_P, sample_P, "right")
        start_P = np.where(people_P > 0, stop_P[people_P - 1], 0)
        return Occurrences(people_P, sample_P, before_P[people_P] + sample_P - start_P)


class AtRandom(NamedTuple):
    """People drawn at random, with replacement, from a range that is never materialized."""

    first_person: int
    n_people: int
    samples_per_exposure: int
    seed: int

    def n_samples(self, exposure: int) -> int:
        """The same in every exposure: a piece of an endless stream."""
        return self.samples_per_exposure

    def occurrences(self, exposure: int, sample_P: NDArray[np.int64]) -> Occurrences:
        """Sample i is of a person who is a function of (seed, exposure, i)."""
        key = stream_key(self.seed, Purpose.JUNK, exposure)
        people_P = below(hash64(key, sample_P), self.n_people).astype(np.int64)
        return Occurrences(self.first_person + people_P, sample_P, np.zeros_like(sample_P))


def zipf_frequency(n_people: int, exponent: float, seed: int) -> NDArray[np.float64]:
    """Frequency of each person, mean 1: proportional to rank^-exponent, ranks in random order."""
    weight_R = np.arange(1, n_people + 1, dtype=np.float64) ** -exponent
    frequency_P = np.empty(n_people)
    frequency_P[permutation(stream_key(seed, Purpose.FREQUENCY, 1), n_people)] = weight_R
    return frequency_P / frequency_P.mean()


def bands_of(frequency_P: NDArray[np.float64], n_bands: int) -> NDArray[np.int64]:
    """Band of each person, 0 for the least frequent; bands hold equally many people, give or take
    one.
    """
    n_people = len(frequency_P)
    bands_P = np.empty(n_people, np.int64)
    order_P = np.argsort(frequency_P, kind="stable")
    bands_P[order_P] = np.arange(n_people) * min(n_bands, n_people) // n_people
    return bands_P

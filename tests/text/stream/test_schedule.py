from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcap_ray.text.stream.schedule import AtRandom, ByFrequency, Everybody, bands_of, zipf_frequency

N_PEOPLE = 50


def samples_of(schedule: ByFrequency | Everybody, n_exposures: int) -> np.ndarray:
    """Samples of each person in the first exposures."""
    occurrences = [
        schedule.occurrences(exposure, np.arange(schedule.n_samples(exposure))).people_P
        for exposure in range(n_exposures)
    ]
    return np.bincount(np.concatenate(occurrences), minlength=N_PEOPLE)


@given(exponent=st.floats(0, 3), n_exposures=st.integers(1, 40))
def test_people_are_sampled_as_often_as_their_frequency_says(exponent, n_exposures):
    """After any number of exposures the count is within one of frequency * exposures."""
    frequency_P = zipf_frequency(N_PEOPLE, exponent, seed=1)
    counts_P = samples_of(ByFrequency(frequency_P, seed=2), n_exposures)
    assert (np.abs(counts_P - n_exposures * frequency_P) <= 1.0).all()


def test_equal_frequencies_are_everybody_once():
    """A Zipf law of exponent 0 tells of everybody once in each exposure."""
    schedule = ByFrequency(zipf_frequency(N_PEOPLE, 0.0, seed=0), seed=0)
    for exposure in (0, 1, 17):
        own = schedule.occurrences(exposure, np.arange(N_PEOPLE))
        everybody = Everybody(N_PEOPLE).occurrences(exposure, np.arange(N_PEOPLE))
        assert (own.people_P == everybody.people_P).all()
        assert (own.time_P == everybody.time_P).all()


def test_a_persons_samples_are_counted_on_from_exposure_to_exposure():
    """`time` of a person is 0, 1, 2, ... without a gap, and no two samples draw alike."""
    schedule = ByFrequency(zipf_frequency(N_PEOPLE, 1.0, seed=0), seed=0)
    times: dict[int, list[int]] = {person: [] for person in range(N_PEOPLE)}
    for exposure in range(30):
        occurrences = schedule.occurrences(exposure, np.arange(schedule.n_samples(exposure)))
        assert len(set(occurrences.draw_P.tolist())) == len(occurrences.draw_P)
        for person, time in zip(
            occurrences.people_P.tolist(), occurrences.time_P.tolist(), strict=True
        ):
            times[person].append(time)
    assert all(found == list(range(len(found))) for found in times.values())


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_a_zipf_law_falls_with_its_exponent(exponent):
    """Sorted, frequencies are proportional to rank^-exponent, with mean 1; ranks are shuffled."""
    frequency_P = zipf_frequency(1000, exponent, seed=3)
    ranked = np.sort(frequency_P)[::-1]
    assert ranked / ranked[0] == pytest.approx(np.arange(1, 1001) ** -exponent)
    assert frequency_P.mean() == pytest.approx(1.0)
    assert (frequency_P != ranked).mean() > 0.9


def test_junk_is_drawn_evenly_from_its_own_people(is_uniform):
    """Everybody of the range is equally likely, and nobody else appears."""
    schedule = AtRandom(first_person=1000, n_people=64, samples_per_exposure=20_000, seed=0)
    people_P = schedule.occurrences(3, np.arange(20_000)).people_P
    assert is_uniform(np.bincount(people_P - 1000, minlength=64))
    other_P = schedule.occurrences(4, np.arange(20_000)).people_P
    assert (people_P == other_P).mean() < 0.05


@given(n_people=st.integers(1, 60), n_bands=st.integers(1, 8))
def test_bands_are_equally_large_and_ordered(n_people, n_bands):
    """Sizes differ by at most one; a person of a higher band is at least as frequent."""
    frequency_P = zipf_frequency(n_people, 1.0, seed=0)
    bands_P = bands_of(frequency_P, n_bands)
    sizes = np.bincount(bands_P)
    assert len(sizes) == min(n_bands, n_people)
    assert sizes.max() - sizes.min() <= 1
    order_P = np.argsort(bands_P, kind="stable")
    edges = np.cumsum(sizes)[:-1]
    parts = np.split(frequency_P[order_P], edges)
    for lower, upper in pairwise(parts):
        assert lower.max() <= upper.min()

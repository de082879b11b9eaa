import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcap_ray.knowledge.randomness import (
    Purpose,
    below,
    distinct_below,
    hash64,
    permutation,
    shuffled,
    stream_key,
)

KEYS = st.integers(0, 2**64 - 1)


def splitmix64(state: int, n: int) -> list[int]:
    """Reference SplitMix64 in plain integers."""
    mask, outputs = 2**64 - 1, []
    for _ in range(n):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        outputs.append(z ^ (z >> 31))
    return outputs


@given(KEYS)
def test_a_stream_is_splitmix64_read_at_any_position(key):
    """Position i of a stream is the i-th output of the generator, in whatever order it is read."""
    positions = np.array([3, 1, 2, 5])
    outputs = splitmix64(key, 5)
    assert hash64(key, positions).tolist() == [outputs[i - 1] for i in positions]


def test_published_outputs_of_splitmix64():
    """Seed 1234567 gives the outputs that other implementations are tested with."""
    assert hash64(1234567, [1, 2, 3]).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


@given(KEYS, st.integers(1, 300))
def test_distinct_below_is_a_permutation_of_any_size(key, size):
    """Every number below the size comes out exactly once."""
    assert sorted(distinct_below(key, np.arange(size), size).tolist()) == list(range(size))


@given(KEYS, st.integers(1, 300))
def test_permutation_has_every_number_once(key, size):
    """An order of 0..size-1 holds each number exactly once."""
    assert sorted(permutation(key, size).tolist()) == list(range(size))


def test_keys_differ_by_seed_purpose_and_number():
    """No two streams of different purpose share a key."""
    keys = [
        stream_key(seed, purpose, *numbers)
        for seed in (-1, 0, 1)
        for purpose in Purpose
        for numbers in ((), (0,), (1,), (0, 0))
    ]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("size", [2, 7, 50, 263])
def test_below_is_uniform(size, is_uniform):
    """Multiply-shift of hashes gives each number equally often."""
    numbers = below(hash64(17, np.arange(100 * size)), size)
    assert is_uniform(np.bincount(numbers.astype(int), minlength=size))


def test_places_of_a_permutation_are_uniform(is_uniform):
    """Over many keys, each number is equally often in each place."""
    orders = np.array([permutation(stream_key(0, Purpose.PEOPLE_ORDER, e), 6) for e in range(3000)])
    for place in range(6):
        assert is_uniform(np.bincount(orders[:, place], minlength=6))


def test_first_numbers_of_distinct_below_are_uniform(is_uniform):
    """Over many keys, the first of 20 distinct numbers is each number equally often."""
    firsts = [int(distinct_below(stream_key(0, Purpose.NAMES, k), [0], 20)[0]) for k in range(1500)]
    assert is_uniform(np.bincount(firsts, minlength=20))


@given(key=st.integers(0, 2**64 - 1), size=st.integers(1, 90))
def test_shuffled_places_of_a_key_are_a_permutation(key, size):
    """The places 0..size-1 under one key give each number once, whatever other keys are there."""
    keys, sizes = np.full(size, key, np.uint64), np.full(size, size)
    places = shuffled(keys, np.arange(size), sizes)
    assert sorted(places.tolist()) == list(range(size))
    mixed = shuffled(
        np.repeat(keys, 2), np.repeat(np.arange(size), 2), np.tile([size, size + 5], size)
    )
    assert mixed[::2].tolist() == places.tolist()


@pytest.mark.parametrize("size", [2, 5, 40])
def test_shuffled_places_are_uniform(size, is_uniform):
    """Over many keys, the first and the last place hold each number equally often."""
    keys = hash64(3, np.arange(100 * size))
    for place in (0, size - 1):
        numbers = shuffled(keys, np.full(len(keys), place), np.full(len(keys), size))
        assert is_uniform(np.bincount(numbers, minlength=size))

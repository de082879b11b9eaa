"""Random numbers that are a pure function of what they are for: no state, no order of drawing.

Every number is a hash of (seed, purpose, exposure, person, ...), so any process can make any part
of the data, and the result is the same on every machine and with every version of NumPy. The mixing
function is the finalizer of SplitMix64 (Steele, Lea and Flood 2014), and a stream is SplitMix64
itself, read at any position.
"""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GAMMA = 0x9E3779B97F4A7C15  # step between the states of SplitMix64: 2^64 / golden ratio, made odd
_FACTOR_1 = 0xBF58476D1CE4E5B9
_FACTOR_2 = 0x94D049BB133111EB
_MASK = (1 << 64) - 1
_FEISTEL_ROUNDS = 6


class Purpose(IntEnum):
    """What random numbers are drawn for; streams of different purposes are independent."""

    NAMES = 1
    VALUES = 2
    DIVERSITY = 3
    PEOPLE_ORDER = 4
    TEMPLATES = 5
    EVALUATION = 6
    FREQUENCY = 7
    JUNK = 8
    MIXTURE = 9
    VARIANTS = 10
    REWRITING = 11
    CALIBRATION = 12
    EXTRACTION = 13


def _mix(state: int) -> int:
    state = ((state ^ (state >> 30)) * _FACTOR_1) & _MASK
    state = ((state ^ (state >> 27)) * _FACTOR_2) & _MASK
    return state ^ (state >> 31)


def stream_key(seed: int, purpose: Purpose, *numbers: int) -> int:
    """Key of a stream of random numbers; different arguments give unrelated keys."""
    key = 0
    for number in (seed, purpose, *numbers):
        key = _mix((key + _GAMMA + (number & _MASK)) & _MASK)
    return key


def hash64(key: int | NDArray[np.uint64], positions: ArrayLike) -> NDArray[np.uint64]:
    """Random 64-bit numbers of a stream, at the given positions (any shape); with many keys, each
    of its own stream.
    """
    x = np.array(positions, dtype=np.uint64)  # a copy, mixed in place
    x *= np.uint64(_GAMMA)
    x += np.asarray(key, dtype=np.uint64)
    shifted = x >> np.uint64(30)
    x ^= shifted
    x *= np.uint64(_FACTOR_1)
    np.right_shift(x, np.uint64(27), out=shifted)
    x ^= shifted
    x *= np.uint64(_FACTOR_2)
    np.right_shift(x, np.uint64(31), out=shifted)
    x ^= shifted
    return x


def below(random: NDArray[np.uint64], size: int) -> NDArray[np.uint64]:
    """Numbers 0..size-1 from 64-bit random numbers, by multiply and shift of the upper 32 bits.

    No number is more likely than another by a factor of more than 1 + size / 2^32.
    """
    assert 0 < size < 1 << 32, "multiply-shift of 32 bits needs a size below 2^32"
    return ((random >> np.uint64(32)) * np.uint64(size)) >> np.uint64(32)


def permutation(key: int, size: int) -> NDArray[np.int64]:
    """A random order of 0..size-1: sorted by hash.

    The index rides in the low bits of the sorted key, so one plain sort does it and ties cannot
    arise.
    """
    index_bits = np.uint64(max(size - 1, 1).bit_length())
    index = np.arange(size, dtype=np.uint64)
    keys = ((hash64(key, index) >> index_bits) << index_bits) | index
    keys.sort()
    keys &= (np.uint64(1) << index_bits) - np.uint64(1)
    return keys.astype(np.int64)


def distinct_below(key: int, positions: ArrayLike, size: int) -> NDArray[np.uint64]:
    """Point-wise random permutation of 0..size-1: different positions give different numbers.

    A Feistel network permutes the smallest domain of an even number of bits that holds `size`;
    numbers that fall outside are permuted again until they fall inside (cycle walking), which keeps
    it a permutation.
    """
    half_bits = max((max(size - 1, 1).bit_length() + 1) // 2, 1)
    round_keys = [_mix((key + i * _GAMMA) & _MASK) for i in range(1, _FEISTEL_ROUNDS + 1)]
    x = np.array(positions, dtype=np.uint64)
    assert x.size == 0 or int(x.max()) < size, "a permutation of 0..size-1 has no such position"
    x = _feistel(x, half_bits, round_keys)
    outside = np.flatnonzero(x >= size)
    while outside.size:
        x[outside] = _feistel(x[outside], half_bits, round_keys)
        outside = outside[x[outside] >= size]
    return x


def shuffled(
    key_P: NDArray[np.uint64], place_P: ArrayLike, size_P: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Place of each element in a random order of 0..size-1 that belongs to its key.

    Equal keys and sizes share an order, so the places 0..size-1 under one key give each number
    once. As `distinct_below`, but with many keys and small sizes.
    """
    places = np.array(place_P, dtype=np.uint64)
    for size in np.unique(size_P).tolist():
        half_bits = max((max(size - 1, 1).bit_length() + 1) // 2, 1)
        outside = np.flatnonzero(size_P == size)
        while outside.size:
            round_keys = [
                hash64(i * _GAMMA & _MASK, key_P[outside]) for i in range(_FEISTEL_ROUNDS)
            ]
            places[outside] = _feistel(places[outside], half_bits, round_keys)
            outside = outside[places[outside] >= size]
    return places.astype(np.int64)


def _feistel(
    x: NDArray[np.uint64], half_bits: int, round_keys: Sequence[int | NDArray[np.uint64]]
) -> NDArray[np.uint64]:
    shift, mask = np.uint64(half_bits), np.uint64((1 << half_bits) - 1)
    left, right = x >> shift, x & mask
    for round_key in round_keys:
        left, right = right, left ^ (hash64(round_key, right) & mask)
    return (left << shift) | right

"""From losses to bits: the bit-complexity lower bound of arXiv 2404.05405, Definitions 4.1 and 4.3.

The only place where nats become bits. Nothing is clamped: a model that assigns less than uniform
probability to what it was taught stores a negative number of bits, and the table says so.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kcap_ray.knowledge.entropy import Entropy

NATS_PER_BIT = math.log(2.0)


@dataclass(frozen=True, kw_only=True)
class KnowledgeLoss:
    """Losses of one model on one table of people, in nats (arXiv 2404.05405, section 3)."""

    name_nats: float
    """p1: summed over the tokens of a name, mean over people."""
    value_nats: float
    """Summed over the tokens of all values of a person, mean over people: p2 of definition 4.3
    (bioS), and K times p2 of definition 4.1 (bioD), which is a mean over attributes.
    """
    value1_nats: float | None = None
    """bioD only: summed over the tokens of the first chunks of a person's values, mean over people:
    K times p3 of definition 4.1.
    """


@dataclass(frozen=True, kw_only=True)
class StoredBits:
    """Bits that a model stores about a table, by part."""

    name_bits: float
    """N log2(N0 / e^p1)."""
    value_bits: float
    """N (log2(S0) - value_nats / ln 2), with D^(C K) in place of S0 for bioD."""
    diversity_bits: float
    """K D log2(U^L / (D e^p3)) (bioD), U as in `entropy_of`, p3 = value1_nats / K; 0 for bioS,
    whose pools are given.
    """

    @property
    def total(self) -> float:
        """The numerator of the capacity ratio R(F)."""
        return self.name_bits + self.value_bits + self.diversity_bits

    def scaled(self, share: float) -> "StoredBits":
        """This share of each part."""
        return StoredBits(
            name_bits=share * self.name_bits,
            value_bits=share * self.value_bits,
            diversity_bits=share * self.diversity_bits,
        )


def memorized_bits(entropy: Entropy, nats_P: NDArray, value_bits_P: NDArray | None) -> float:
    """Bits memorized of these people as arXiv 2505.24832 counts it (section 2): of each the bits by
    which the model is shorter than a code that knows the pools alone, and 0 where it is longer.

    `nats_P`: -ln p of each one's name and values, of the values alone where names count nothing;
    `value_bits_P`: entropy of each one's values, where people differ in it. Unlike `stored_bits`
    every person is clamped, and nothing is said of diversity sets.
    """
    own_bits = entropy.value_bits if value_bits_P is None else value_bits_P
    bits_P = (entropy.log2_name_space or 0.0) + own_bits - nats_P / NATS_PER_BIT
    return float(np.maximum(bits_P, 0.0).sum())


def attribute_bits(entropy_bits: float, n_people: int, nats: float) -> float:
    """Bits stored of one attribute (or of names) of which each of these people has this entropy,
    at a mean loss of `nats`.
    """
    return n_people * (entropy_bits - nats / NATS_PER_BIT)


def stored_bits(entropy: Entropy, loss: KnowledgeLoss) -> StoredBits:
    """Bits that a model with these losses stores about knowledge of this entropy.

    A perfect model (a loss of ln N on names, none on values) stores `entropy.demand_bits` exactly;
    one that is uniform over the pools (ln S0 on values) stores no bits of value. Raises
    `ValueError` if bioD comes without its first-chunk loss.
    """
    name_bits = 0.0
    if entropy.log2_name_space is not None:
        name_bits = entropy.n_people * (entropy.log2_name_space - loss.name_nats / NATS_PER_BIT)
    value_bits = entropy.n_people * (entropy.value_bits - loss.value_nats / NATS_PER_BIT)
    if entropy.n_diversity and loss.value1_nats is None:
        raise ValueError("bioD needs the loss on the first chunk of each value")
    first_chunk_bits = (loss.value1_nats or 0.0) / max(entropy.n_attributes, 1) / NATS_PER_BIT
    return StoredBits(
        name_bits=name_bits,
        value_bits=value_bits,
        diversity_bits=entropy.n_diversity * (entropy.diversity_bits_each - first_chunk_bits),
    )


def per_weight(bits: float | None, n_weights: int) -> float | None:
    """Bits per weight; None without a number of bits, and of no weights, as those are that a model
    of embedding and head alone has outside of these.
    """
    return None if bits is None or n_weights == 0 else bits / n_weights

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcap_ray.knowledge.entropy import Entropy
from kcap_ray.measure.bits import KnowledgeLoss, stored_bits

LN2 = math.log(2.0)
BIOS = Entropy(
    n_people=4,
    log2_name_space=10.0,
    value_bits=6.0,
    n_attributes=6,
    n_diversity=0,
    diversity_bits_each=0.0,
)
# K = 3 attributes of C = 2 chunks from sets of D = 8 strings; T^L = 64.
BIOD = Entropy(
    n_people=4,
    log2_name_space=10.0,
    value_bits=18.0,
    n_attributes=3,
    n_diversity=24,
    diversity_bits_each=3.0,
)


def test_bios_stores_what_definition_4_3_says() -> None:
    """N log2(N0 / e^p1) + N log2(S0 / e^p2), at N = 4, N0 = 2^10, S0 = 2^6, p1 = 3, p2 = 2 bits."""
    stored = stored_bits(BIOS, KnowledgeLoss(name_nats=3 * LN2, value_nats=2 * LN2))
    assert stored.name_bits == pytest.approx(4 * (10 - 3))
    assert stored.value_bits == pytest.approx(4 * (6 - 2))
    assert stored.diversity_bits == 0.0
    assert stored.total == pytest.approx(28 + 16)


def test_biod_stores_what_definition_4_1_says() -> None:
    """N log2(N0 / e^p1) + N K log2(D^C / e^p2) + K D log2(T^L / (D e^p3)).

    At K = 3, C = 2, D = 8, T^L = 64, p1 of 3 bits, p2 of 1 and p3 of half a bit; the losses of a
    person are K times p2 and p3.
    """
    loss = KnowledgeLoss(name_nats=3 * LN2, value_nats=3 * LN2, value1_nats=3 * LN2 / 2)
    stored = stored_bits(BIOD, loss)
    assert stored.name_bits == pytest.approx(4 * (10 - 3))
    assert stored.value_bits == pytest.approx(4 * 3 * (2 * 3 - 1))
    assert stored.diversity_bits == pytest.approx(3 * 8 * (6 - 3 - 0.5))
    assert stored.total == pytest.approx(28 + 60 + 60)


@pytest.mark.parametrize("entropy", [BIOS, BIOD])
def test_a_perfect_model_stores_the_demand(entropy: Entropy) -> None:
    """Only the name is not certain: ln N, because anybody may come next."""
    loss = KnowledgeLoss(name_nats=math.log(entropy.n_people), value_nats=0.0, value1_nats=0.0)
    assert stored_bits(entropy, loss).total == pytest.approx(entropy.demand_bits, rel=1e-12)


@pytest.mark.parametrize("entropy", [BIOS, BIOD])
def test_a_model_that_is_uniform_over_the_pools_stores_no_value(entropy: Entropy) -> None:
    """Its loss on a person's values is their entropy."""
    nats = entropy.value_bits * LN2
    loss = KnowledgeLoss(name_nats=0.0, value_nats=nats, value1_nats=0.0)
    assert stored_bits(entropy, loss).value_bits == pytest.approx(0.0, abs=1e-9)


def test_nothing_is_clamped() -> None:
    """A model worse than uniform stores a negative number of bits, in every part."""
    stored = stored_bits(BIOD, KnowledgeLoss(name_nats=20.0, value_nats=20.0, value1_nats=20.0))
    assert max(stored.name_bits, stored.value_bits, stored.diversity_bits) < 0


@settings(deadline=None)
@given(
    name=st.floats(0, 50),
    value=st.floats(0, 50),
    value1=st.floats(0, 50),
    better=st.floats(0, 50),
    part=st.sampled_from(["name_nats", "value_nats", "value1_nats"]),
)
def test_a_smaller_loss_never_stores_less(
    name: float, value: float, value1: float, better: float, part: str
) -> None:
    """In each of the three losses, and whatever the others are."""
    loss = KnowledgeLoss(name_nats=name, value_nats=value, value1_nats=value1)
    smaller = replace(loss, **{part: min(better, getattr(loss, part))})
    assert stored_bits(BIOD, smaller).total >= stored_bits(BIOD, loss).total


def test_biod_without_its_first_chunk_loss_is_an_error() -> None:
    """The diversity term is never left out by mistake."""
    with pytest.raises(ValueError, match="first chunk"):
        stored_bits(BIOD, KnowledgeLoss(name_nats=1.0, value_nats=1.0))

from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcap_ray.config.data import DataConfig
from kcap_ray.config.errors import UserError
from kcap_ray.knowledge.diversity import draw_diversity_sets
from kcap_ray.knowledge.entropy import entropy_of
from kcap_ray.text.kinds.bios import ATTRIBUTES


@pytest.mark.parametrize(
    ("n_people", "megabits"),
    [(10_000, 0.62), (100_000, 5.82), (1_000_000, 54.91), (20_000_000, 1011.8)],
)
def test_demand_of_bios_is_the_published_one(n_people, megabits):
    """The full pools give the R_max * P of arXiv 2404.05405, definition 4.3."""
    entropy = entropy_of(DataConfig(n_people=n_people))
    assert entropy.demand_bits / 1e6 == pytest.approx(
        megabits, abs=0.05 if megabits > 1e3 else 5e-3
    )
    assert entropy.value_bits == pytest.approx(47.592, abs=1e-3)
    assert entropy.log2_name_space == pytest.approx(27.253, abs=1e-3)


@given(
    st.integers(1, 1000), *[st.integers(1, 50)] * 2, st.integers(1, 20), *[st.integers(20, 500)] * 2
)
def test_demand_of_biod_is_definition_4_1(n_people, K, C, D, L, T):
    """N log2(N0/N) + N K C log2 D + K D log2(T^L / D), where the model has all symbols."""
    data = DataConfig(kind="bioD", n_people=n_people, pools="mini", K=K, C=C, D=D, L=L, T=T)
    names = n_people * log2(160_000 / n_people)
    values = n_people * K * C * log2(D)
    diversity = K * D * (L * log2(T) - log2(D))
    demand_bits = entropy_of(data, "full").demand_bits
    assert demand_bits == pytest.approx(names + values + diversity, rel=1e-9)


@pytest.mark.slow
@given(
    st.integers(1, 1000), *[st.integers(1, 9)] * 2, st.integers(1, 20), *[st.integers(20, 500)] * 2
)
def test_a_compact_vocabulary_gives_the_symbols_away(n_people, K, C, D, L, T):
    """Strings are drawn from the U symbols that the embedding has rows for: U^L in place of T^L."""
    data = DataConfig(kind="bioD", n_people=n_people, pools="mini", K=K, C=C, D=D, L=L, T=T)
    n_symbols = len(set(draw_diversity_sets(data).ravel().tolist()))
    gap = entropy_of(data, "full").demand_bits - entropy_of(data).demand_bits
    assert gap == pytest.approx(K * D * L * log2(T / n_symbols), abs=1e-6)


def test_a_larger_alphabet_of_which_as_little_is_used_is_no_more_to_know():
    """The quickstart with 300 symbols, 2,000 and all 32,012: the same 300 strings of one symbol."""
    demands = [
        entropy_of(
            DataConfig(kind="bioD", n_people=200, pools="mini", K=6, C=1, D=50, L=1, T=T)
        ).demand_bits
        for T in (2_000, 32_012)
    ]
    assert demands[0] == pytest.approx(demands[1], rel=0.01)


def test_attributes_are_those_that_are_counted():
    """For bioS one birth date and no city of work; K for bioD."""
    biod = DataConfig(kind="bioD", n_people=5, K=4, C=1, D=10, L=1, T=20)
    assert entropy_of(DataConfig(n_people=5)).n_attributes == len(ATTRIBUTES)
    assert entropy_of(biod).n_attributes == 4


def test_too_many_people_or_too_small_an_alphabet_are_user_errors():
    """Entropy is refused for data that cannot exist."""
    with pytest.raises(UserError, match="160001 people"):
        entropy_of(DataConfig(n_people=160_001, pools="mini"))
    with pytest.raises(UserError, match="101 different strings"):
        entropy_of(DataConfig(kind="bioD", n_people=5, K=1, C=1, D=101, L=2, T=10))

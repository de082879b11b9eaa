from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcap_ray.config.data import DataConfig
from kcap_ray.config.errors import UserError
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
    """N log2(N0/N) + N K C log2 D + K D log2(T^L / D)."""
    data = DataConfig(kind="bioD", n_people=n_people, pools="mini", K=K, C=C, D=D, L=L, T=T)
    names = n_people * log2(160_000 / n_people)
    values = n_people * K * C * log2(D)
    diversity = K * D * (L * log2(T) - log2(D))
    assert entropy_of(data).demand_bits == pytest.approx(names + values + diversity, rel=1e-9)


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

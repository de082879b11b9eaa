import numpy as np
import pytest

from kcap_ray.config.data import DataConfig
from kcap_ray.config.errors import UserError
from kcap_ray.knowledge.diversity import draw_diversity_sets


def biod(**values):
    defaults = {"kind": "bioD", "n_people": 10, "K": 3, "C": 1, "D": 10, "L": 2, "T": 20}
    return DataConfig(**(defaults | values))


@pytest.mark.parametrize(
    "data",
    [
        biod(),
        biod(D=400),  # all strings there are
        biod(D=1, T=1, L=50),
        biod(D=1000, L=50, T=30_000),  # far more strings than 64 bits can number
    ],
    ids=["some", "all", "one", "long"],
)
def test_strings_of_a_set_are_distinct_and_of_the_alphabet(data):
    """Each attribute has D different strings of L symbols below T."""
    symbols_KDL = draw_diversity_sets(data)
    assert symbols_KDL.shape == (data.K, data.D, data.L)
    assert symbols_KDL.min() >= 0
    assert symbols_KDL.max() < data.T
    for symbols_DL in symbols_KDL:
        assert len(np.unique(symbols_DL, axis=0)) == data.D


def test_attributes_and_seeds_have_sets_of_their_own():
    """The sets differ between attributes and between seeds, and are the same for equal seeds."""
    sets = draw_diversity_sets(biod(L=3))
    assert (sets == draw_diversity_sets(biod(L=3))).all()
    assert (sets[0] != sets[1]).any()
    assert (sets != draw_diversity_sets(biod(L=3, seed=1))).any()


def test_symbols_are_uniform(is_uniform):
    """Every symbol is equally likely, in short strings and in long ones."""
    for L in (3, 16):
        symbols = draw_diversity_sets(biod(K=5, D=400, L=L, T=20)).ravel()
        assert is_uniform(np.bincount(symbols, minlength=20))


def test_too_few_strings_is_a_user_error_with_both_numbers():
    """The message says how many strings were asked for and how many exist."""
    with pytest.raises(UserError, match=r"401 different strings.*only 400 strings"):
        draw_diversity_sets(biod(D=401))

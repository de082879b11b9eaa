from dataclasses import replace

import numpy as np
import pytest

from kcap_ray.config.data import DataConfig
from kcap_ray.config.errors import UserError
from kcap_ray.knowledge import people as people_module
from kcap_ray.knowledge.people import BIOS_COLUMNS, column_sizes, draw_people

BIOS = DataConfig(n_people=20_000, pools="mini")
BIOD = DataConfig(kind="bioD", n_people=5_000, pools="mini", K=3, C=2, D=7, L=2, T=50)


@pytest.mark.parametrize("data", [BIOS, BIOD], ids=["bioS", "bioD"])
def test_names_are_distinct(data):
    """Names are drawn without replacement."""
    names_PC = draw_people(data)[:, :3]
    assert len(np.unique(names_PC, axis=0)) == data.n_people


def test_the_whole_name_space_can_be_used():
    """With as many people as names, every name occurs exactly once."""
    data = replace(BIOS, n_people=40 * 40 * 100)
    assert len(np.unique(draw_people(data)[:, :3], axis=0)) == data.n_people


def test_more_people_than_names_is_a_user_error_with_both_numbers():
    """The message says how many people were asked for and how many names there are."""
    with pytest.raises(UserError, match=r"160001 people.*only 160000 different names"):
        draw_people(replace(BIOS, n_people=160_001))


@pytest.mark.parametrize("data", [BIOS, BIOD], ids=["bioS", "bioD"])
def test_every_column_is_uniform(data, is_uniform):
    """Each value of each column is equally likely."""
    table_PC = draw_people(data)
    for column, size in zip(table_PC.T, column_sizes(data), strict=True):
        assert is_uniform(np.bincount(column, minlength=size))


def test_columns_are_independent(is_uniform):
    """Each pair of values of two columns is equally likely."""
    table_PC = draw_people(BIOS)
    pronoun = table_PC[:, BIOS_COLUMNS.index("pronoun")].astype(int)
    month = table_PC[:, BIOS_COLUMNS.index("birth_month")].astype(int)
    major = table_PC[:, BIOS_COLUMNS.index("major")].astype(int)
    assert is_uniform(np.bincount(pronoun * 12 + month, minlength=24))
    assert is_uniform(np.bincount(major * 12 + month, minlength=240))


def test_people_do_not_depend_on_how_many_follow(monkeypatch):
    """The first people of a large table are the people of a small one, whatever the block size."""
    small_PC = draw_people(replace(BIOS, n_people=100))
    monkeypatch.setattr(people_module, "_BLOCK", 37)
    assert (draw_people(replace(BIOS, n_people=500))[:100] == small_PC).all()


def test_the_table_is_a_function_of_the_seed():
    """Equal seeds give equal tables, different seeds different ones."""
    first, again = draw_people(BIOS), draw_people(replace(BIOS))
    other = draw_people(replace(BIOS, seed=1))
    assert (first == again).all()
    assert (first != other).any(axis=0).all()


def test_the_table_is_compact():
    """A person of bioS takes 22 bytes, so 20 million fit into half a gigabyte."""
    table_PC = draw_people(BIOS)
    assert table_PC.nbytes == 22 * BIOS.n_people

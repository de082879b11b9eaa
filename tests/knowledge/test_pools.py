import pytest

from kcap_ray.config.errors import UserError
from kcap_ray.knowledge.pools import load_name_pools, load_value_pools


@pytest.fixture
def pools(tmp_path):
    """A small directory of pools, and a way to change one file of it."""
    for part in ("first", "middle", "last"):
        (tmp_path / f"{part}_names.txt").write_text("Ada\nBo\n")
    for name in ("cities", "universities", "majors"):
        (tmp_path / f"{name}.txt").write_text("One\nTwo\nThree\n")
    (tmp_path / "employers.txt").write_text("Acme\tParis\nBolt;Rome\nCo\tParis\n")
    (tmp_path / "dates.txt").write_text("months 12\ndays 28\nyears 1990 1999\n")
    return tmp_path


def load(folder):
    return load_name_pools(str(folder)), load_value_pools(str(folder))


def test_published_pool_sizes():
    """The full pools have the sizes of arXiv 2404.05405, footnote 9."""
    names, values = load_name_pools("full"), load_value_pools("full")
    assert names.sizes == (400, 400, 1000)
    assert names.n_names == 160_000_000
    dates = (values.months, values.days, values.years)
    others = (values.cities, values.universities, values.majors, values.employers)
    assert [len(pool) for pool in (*dates, *others)] == [12, 28, 200, 200, 300, 100, 263]


def test_employers_of_a_directory_have_their_cities(pools):
    """Tab and semicolon both separate an employer from its city; equal cities are one."""
    _, values = load(pools)
    cities = [values.work_cities[i] for i in values.city_of_employer]
    assert dict(zip(values.employers, cities, strict=True)) == {
        "Acme": "Paris",
        "Bolt": "Rome",
        "Co": "Paris",
    }
    assert len(values.work_cities) == 2


def test_spaces_around_and_inside_values_are_tidied(pools):
    """A value has single spaces and no others."""
    (pools / "cities.txt").write_text("  New   York \nRome\n")
    _, values = load(pools)
    assert values.cities == ("New York", "Rome")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("cities.txt", "Rome\n\nParis\n", "line 2 is blank"),
        ("cities.txt", "Rome\nParis\nRome\n", "line 3: 'Rome' occurs twice"),
        ("majors.txt", "", "is empty"),
        ("employers.txt", "Acme\tParis\nBolt\n", "line 2: 'Bolt' names no city"),
        ("first_names.txt", "Mary Ann\n", "'Mary Ann' has a space"),
        ("dates.txt", "months 12\ndays 31\nyears 1990 1999\n", "days 28"),
        ("dates.txt", "months 12\nyears 1990 1999\n", "three lines"),
        ("dates.txt", "months twelve\ndays 28\nyears 1990 1999\n", "three lines"),
    ],
)
def test_a_wrong_file_is_a_user_error_that_says_where(pools, name, text, said):
    """The message names the file and the fault, in at most two lines."""
    (pools / name).write_text(text)
    with pytest.raises(UserError) as error:
        load(pools)
    message = str(error.value)
    assert said in message
    assert name in message
    assert message.count("\n") <= 1


def test_a_missing_file_and_a_missing_directory_are_user_errors(pools):
    """Both say what was looked for."""
    (pools / "majors.txt").unlink()
    with pytest.raises(UserError, match=r"has no majors\.txt"):
        load(pools)
    with pytest.raises(UserError, match="'fulll' is neither full nor mini nor a directory"):
        load_name_pools("fulll")


def test_text_that_is_not_utf8_is_a_user_error(pools):
    """The message names the file and the encoding that is wanted."""
    (pools / "cities.txt").write_bytes(b"Z\xfcrich\n")
    with pytest.raises(UserError, match=r"cities\.txt is not UTF-8"):
        load(pools)

"""A file of facts becomes the table that it says, in any format, or is refused in one line."""

import csv
import json
from itertools import count
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcap_ray.config.data import FrequencyConfig, KnowledgeConfig
from kcap_ray.config.errors import UserError
from kcap_ray.knowledge.entropy import entropy_of
from kcap_ray.knowledge.tuples import FactTable, fact_bits, load_tuples

Row = tuple[str, str, str | None]

ROWS: list[Row] = [
    ("Ann Ray", "employer", "Acme"),
    ("Bo", "city", "New York"),
    ("Ann Ray", "city", "Rome"),
    ("Cy Dee", "employer", "Acme"),
    ("Bo", "employer", None),
    ("Cy Dee", "city", "007"),
    ("Ann Ray", "employer", "Acme"),
]


def write(path: Path, rows: list[Row], **columns: list[Any]) -> str:
    """The rows in the format that the name of the file says, with more columns."""
    records = [
        dict(zip(("name", "attribute", "value"), row, strict=True))
        | {key: column[i] for key, column in columns.items()}
        for i, row in enumerate(rows)
    ]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["name", "attribute", "value", *columns])
            writer.writeheader()
            writer.writerows(records)
    return str(path)


def config(file: str, n_people: int, **settings: Any) -> KnowledgeConfig:
    """Knowledge of the first people of a file."""
    return KnowledgeConfig(kind="tuples", file=file, n_people=n_people, **settings)


def facts_in(table: FactTable) -> dict[str, dict[str, str]]:
    """What the table says of each person."""
    return {
        table.names[row[0]]: {
            attribute: values[number - 1]
            for attribute, values, number in zip(
                table.attributes, table.values, row[1:], strict=True
            )
            if number
        }
        for row in table.values_PC.tolist()
    }


def test_all_formats_give_the_same_table(tmp_path: Path) -> None:
    """Texts are taken as they are written: a number keeps its zeros, an empty value says nothing
    and a fact given twice counts once.
    """
    for suffix in ("csv", "jsonl", "parquet"):
        table = load_tuples(config(write(tmp_path / f"facts.{suffix}", ROWS), 3))
        assert facts_in(table) == {
            "Ann Ray": {"employer": "Acme", "city": "Rome"},
            "Bo": {"city": "New York"},
            "Cy Dee": {"employer": "Acme", "city": "007"},
        }
        assert table.attributes == ("employer", "city")
        assert table.values_PC[:, 0].tolist() == [0, 1, 2]


def test_numbers_and_dates_of_a_typed_file_are_values(tmp_path: Path) -> None:
    """JSON numbers stay as they are written, and Parquet's become their text."""
    path = tmp_path / "facts.jsonl"
    path.write_text(
        '{"name": "Bo", "attribute": "height", "value": 1.50, "more": [1]}\n\n'
        '{"name": "Bo", "attribute": "rich", "value": true}\n'
    )
    assert facts_in(load_tuples(config(str(path), 1))) == {"Bo": {"height": "1.50", "rich": "true"}}
    path = tmp_path / "facts.parquet"
    columns = {"name": pa.array(["Bo", "Cy"]).dictionary_encode(), "attribute": ["age"] * 2}
    pq.write_table(pa.table({**columns, "value": pa.array([7, None])}), path)
    assert facts_in(load_tuples(config(str(path), 1))) == {"Bo": {"age": "7"}}


NAMES = st.sampled_from(["Ann", "Ann Ray", "Bo", "\u0141ukasz", "O'Neil, Jr.", '"Q"', "7"])
FACTS = st.dictionaries(
    st.tuples(NAMES, st.sampled_from(["city", "boss", "x"])),
    st.sampled_from(["Rome", "York", "New York", "A, B", "NA", "null", None]),
    min_size=1,
).filter(lambda facts: any(facts.values()))
FILE_NUMBERS = count()


@given(facts=FACTS, data=st.data())
@settings(max_examples=50, deadline=None)
def test_the_first_names_of_a_file_have_their_facts(tmp_path_factory, facts, data) -> None:
    """For any facts in any order: people, attributes and values are numbered by appearance, and
    people without any value are not there. The pools are those of the whole file.
    """
    path = tmp_path_factory.getbasetemp() / f"facts{next(FILE_NUMBERS)}.csv"
    rows = [(name, attribute, value) for (name, attribute), value in facts.items()]
    file = write(path, [*rows, *rows[::2]])
    expected: dict[str, dict[str, str]] = {name: {} for name, _, _ in rows}
    for name, attribute, value in rows:
        expected[name] |= {attribute: value} if value else {}
    expected = {name: known for name, known in expected.items() if known}
    n_people = data.draw(st.integers(1, len(expected)))
    table = load_tuples(config(file, n_people))
    assert list(facts_in(table).items()) == list(expected.items())[:n_people]
    assert all(len(set(values)) == len(values) for values in table.values)
    everybody = load_tuples(config(file, len(expected)))
    assert everybody.values_PC[:, 1:].max(axis=0).tolist() == [*map(len, everybody.values)]
    assert table.names == everybody.names == tuple(expected)
    of_attribute = dict(zip(everybody.attributes, everybody.values, strict=True))
    assert table.values == tuple(of_attribute[attribute] for attribute in table.attributes)
    assert table.n_names_in_file == len(expected)


def test_odd_white_space_makes_no_difference(tmp_path: Path) -> None:
    """Spaces around a text, double spaces, tabs, line breaks and fixed spaces."""
    rows: list[Row] = [(" Ann  Ray", "city\t", "New\nYork "), ("Ann\u00a0Ray", "city", "New York")]
    table = load_tuples(config(write(tmp_path / "facts.csv", rows), 1))
    assert facts_in(table) == {"Ann Ray": {"city": "New York"}}


def test_a_file_that_has_changed_is_read_again(tmp_path: Path) -> None:
    """And one that has not is not."""
    data = config(write(tmp_path / "facts.csv", ROWS), 2)
    first = load_tuples(data)
    assert load_tuples(data) is first
    write(tmp_path / "facts.csv", [*ROWS, ("Bo", "pet", "Rex")])
    assert facts_in(load_tuples(data))["Bo"] == {"city": "New York", "pet": "Rex"}


def test_bits_are_those_of_the_pools_found_and_are_called_an_estimate(tmp_path: Path) -> None:
    """log2 of the different values in the whole file, for each fact that a person has; names count
    nothing.
    """
    data = config(write(tmp_path / "facts.csv", ROWS), 2)
    bits = fact_bits(data)
    assert bits.bits_P.tolist() == [log2(1) + log2(3), log2(3)]
    assert (bits.is_estimate, bits.log2_name_space) == (True, None)
    assert entropy_of(data).demand_bits == pytest.approx(2 * log2(3))
    assert entropy_of(data).is_estimate


def test_stated_pools_and_names_are_no_estimate(tmp_path: Path) -> None:
    """Pools of 8 employers and 4 cities, and 64 names: N log2(N0 / N) + bits of all facts."""
    (tmp_path / "pools.yaml").write_text("employer: 8\ncity: 4\n")
    stated = {"pool_sizes": str(tmp_path / "pools.yaml"), "name_space": 64}
    data = config(write(tmp_path / "facts.csv", ROWS), 3, **stated)
    assert fact_bits(data).bits_P.tolist() == [5.0, 2.0, 5.0]
    assert not entropy_of(data).is_estimate
    assert entropy_of(data).demand_bits == pytest.approx(3 * log2(64 / 3) + 12)
    (tmp_path / "pools.yaml").write_text("employer: 8\n")
    assert fact_bits(data).bits_P.tolist() == [3 + log2(3), log2(3), 3 + log2(3)]
    assert entropy_of(data).is_estimate


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_column_holds_the_frequency_of_each_name(tmp_path: Path, suffix: str) -> None:
    """One number a name, in any of its rows, also in one without a value."""
    views = [None, None, 2.5, 4, 10, None, 2.5]
    file = write(tmp_path / f"facts.{suffix}", ROWS, views=views)
    table = load_tuples(config(file, 3, frequency=FrequencyConfig(column="views")))
    assert table.frequency_P is not None
    assert table.frequency_P.tolist() == [2.5, 10.0, 4.0]


def test_many_values_do_not_run_over(tmp_path: Path) -> None:
    """More people and values than 16 bits can number."""
    n_people = 70_000
    numbers = [str(i) for i in range(n_people)]
    columns = {"name": numbers, "attribute": ["id"] * n_people, "value": numbers}
    pq.write_table(pa.table(columns), tmp_path / "facts.parquet")
    table = load_tuples(config(str(tmp_path / "facts.parquet"), n_people))
    assert (table.values_PC == np.arange(n_people)[:, None] + [0, 1]).all()


REFUSED = {
    "too many people": (ROWS, {"n_people": 4}, r"has 3 different names.*write at most 3"),
    "two values": ([*ROWS, ("Bo", "city", "Rome")], {}, r"'Bo'.*'city': 'New York' and 'Rome'"),
    "no name": ([*ROWS, (" ", "city", "Rome")], {}, r"row 8 has no name"),
    "no attribute": ([("Bo", "", "Rome")], {}, r"row 1 has no attribute"),
    "no facts": ([("Bo", "city", " ")], {}, r"has no facts"),
    "own word": ([("Bo", "name", "Bo")], {}, r"cannot be called 'name'; write .*'full name'"),
    "attributes": ([("Bo", str(i), "x") for i in range(101)], {}, r"101 attributes; at most 100"),
    "few names": (ROWS, {"name_space": 2}, r"name_space: 2 names, but .* has 3"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_facts_that_cannot_be_measured_are_refused(tmp_path: Path, case: str) -> None:
    """One line names the file and says what to write."""
    rows, changes, message = REFUSED[case]
    data = config(write(tmp_path / "facts.csv", rows), **{"n_people": 1, **changes})
    with pytest.raises(UserError, match=message) as error:
        fact_bits(data)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ([1, 1, 2, 1, 1, 1, 1], r"'Ann Ray' has two values of views: 1 and 2"),
        ([1, None, 1, 1, None, 1, 1], r"'Bo' has no views"),
        ([1, 0, 1, 1, 1, 1, 1], r"row 2: views is 0; write a number above 0"),
    ],
)
def test_frequencies_that_say_nothing_are_refused(tmp_path: Path, views, message) -> None:
    """Different ones of one name, none at all, or no chance ever to appear."""
    file = write(tmp_path / "facts.csv", ROWS, views=views)
    with pytest.raises(UserError, match=message):
        load_tuples(config(file, 1, frequency=FrequencyConfig(column="views")))


UNREADABLE = {
    "missing.csv": (None, "there is no such file"),
    "facts.txt": ("", r"is none of \.parquet, \.csv, \.jsonl"),
    "empty.csv": ("", "cannot be read"),
    "columns.csv": ("name,attr,value\na,b,c\n", "needs the column attribute once; it has name"),
    "twice.csv": ("name,attribute,value,value\na,b,c,d\n", "needs the column value once"),
    "ragged.csv": ("name,attribute,value\na,b\n", "cannot be read"),
    "bytes.csv": (b"name,attribute,value\na,b,\xff\n", "cannot be read"),
    "no.parquet": ("name", "cannot be read"),
    "list.jsonl": ("[1]\n", "line 1: not a JSON object"),
    "broken.jsonl": ('{"name": "Bo"\n', "line 1: not a JSON object"),
    "nan.jsonl": (
        '{"name": "a", "attribute": "b", "value": NaN}\n',
        "line 1: NaN is no value; write null",
    ),
    "surrogate.jsonl": (
        '{"name": "a", "attribute": "b", "value": "x\\ud83d"}\n',
        r"line 1: value 'x\\ud83d' has half of a surrogate pair",
    ),
    "nested.jsonl": ('{"name": "a", "attribute": "b", "value": ["c"]}\n', "line 1: value is a"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_that_cannot_be_read_is_a_user_error(tmp_path: Path, name: str) -> None:
    """The message names the file, and the line where there is one."""
    text, message = UNREADABLE[name]
    if text is not None:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=message) as error:
        load_tuples(config(str(tmp_path / name), 1))
    assert name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("town: 9\n", "no fact is about 'town'; allowed are employer, city"),
        ("city: 2\n", "city: got 2; .* has 3 different values"),
        ("city: many\n", "city: got 'many'"),
        ("city: true\n", "city: got True"),
        ("- city\n", "must hold lines such as"),
    ],
)
def test_pools_that_do_not_go_with_the_facts_are_refused(tmp_path: Path, text, message) -> None:
    """Unknown attributes, pools smaller than what was found, and what is no number."""
    (tmp_path / "pools.yaml").write_text(text)
    file = write(tmp_path / "facts.csv", ROWS)
    with pytest.raises(UserError, match=message):
        fact_bits(config(file, 1, pool_sizes=str(tmp_path / "pools.yaml")))


def test_a_mark_of_the_byte_order_is_no_part_of_a_file(tmp_path):
    """As some editors put it before JSON lines, and as CSV may have it."""
    text = '{"name": "Bo", "attribute": "city", "value": "\\ud83d\\ude00 Rome"}\n'
    (tmp_path / "plain.jsonl").write_text(text, encoding="utf-8")
    (tmp_path / "marked.jsonl").write_text(text, encoding="utf-8-sig")
    tables = [
        load_tuples(KnowledgeConfig(kind="tuples", n_people=1, file=str(tmp_path / name)))
        for name in ("plain.jsonl", "marked.jsonl")
    ]
    assert tables[0].names == tables[1].names == ("Bo",)
    assert tables[0].values == tables[1].values

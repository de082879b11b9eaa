"""Bands of frequency, as results files hold them."""

import json

import pytest

from analysis.bands import find_bands


def band(table, number, share, **others):
    numbers = {"n_people": 100, "exposures": 10.0 * (number + 1), "demand_bits": 4000.0}
    return {"table": table, "band": number, **numbers, "stored_bits": 4000.0 * share, **others}


@pytest.fixture(name="rows")
def rows_fixture(make_cells):
    return make_cells({"gpt2": 1.0}, sizes=((2, 1),))


def test_shares_and_times_are_those_of_the_file(rows):
    """One line per cell and band."""
    rows["groups"] = json.dumps([band("bioS", 0, 0.25), band("bioS", 1, -0.5)])
    found, notes = find_bands(rows)
    assert notes == ()
    assert len(found) == 2 * len(rows)
    assert found["share"].tolist() == [0.25, -0.5] * len(rows)
    assert found["times"].tolist() == [10.0, 20.0] * len(rows)


def test_two_tables_of_one_name_stay_apart(rows):
    """A mixture of bioS and bioS: bands that begin again belong to the second."""
    rows["groups"] = json.dumps([band("bioS", 0, 0.1), band("bioS", 1, 0.2), band("bioS", 0, 0.9)])
    found, _ = find_bands(rows.iloc[:1])
    assert found["table"].tolist() == ["bioS", "bioS", "bioS (2)"]


@pytest.mark.parametrize("text", ["{", "[1]", '[{"table": "bioS"}]', "null"])
def test_groups_that_cannot_be_read_are_noted_and_the_others_shown(rows, text):
    """One broken cell does not hide the rest."""
    texts = [json.dumps([band("bioS", 0, 0.5)])] * len(rows)
    rows["groups"] = [text, *texts[1:]]
    found, notes = find_bands(rows)
    assert len(found) == len(rows) - 1
    assert "1 cell(s)" in notes[0]


def test_cells_without_bands_have_none(rows):
    """All people alike, or a file from before there were bands."""
    found, notes = find_bands(rows)
    assert found.empty
    assert notes == ()

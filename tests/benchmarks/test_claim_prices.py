"""What deciding the paper's claims would cost, as committed."""

import json
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "docs" / "results" / "claim_prices.json"


@pytest.mark.parametrize("claims", ["3", "4", "7"])
def test_the_committed_prices_are_what_the_plan_says(load, claims: str) -> None:
    """The same sweeps, cells and hours, and money at the price of the day they were written."""
    prices = load("claim_prices")
    committed = {one["claims"]: one for one in json.loads(FILE.read_text())["tests"]}
    tests = {one.claims: one for one in prices.TESTS}
    assert list(committed) == list(tests)
    found, expected = prices.price_of_test(tests[claims]), committed[claims]
    assert (found.n_cells, found.commands) == (expected["n_cells"], expected["commands"])
    assert found.device_hours == pytest.approx(expected["device_hours"], rel=1e-3)

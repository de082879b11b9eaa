"""Prices: shipped ones say where they are from, and a user's own come first."""

import re

import pytest

from kcap_ray.config.errors import UserError
from kcap_ray.planning.prices import PriceKind, price_of, shipped_prices


def test_every_shipped_price_has_a_date_and_a_source():
    """A price without them could not be checked; no device and kind has two."""
    for price in shipped_prices():
        assert price.dollars_per_hour > 0
        assert re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", price.date)
        assert len(price.source) > 20
    pairs = [(price.device, price.kind) for price in shipped_prices()]
    assert len(set(pairs)) == len(pairs)
    assert {device for device, _ in pairs} == {"a100", "h100", "h200"}


def test_own_prices_come_before_shipped_ones(tmp_path):
    """Of the devices that the file names; the others keep theirs, by kind."""
    prices = tmp_path / "prices.yaml"
    prices.write_text("a100: 2\n")

    def dollars(device: str, kind: PriceKind = "block") -> float:
        price = price_of(device, file=prices, kind=kind)
        assert price is not None
        return price.dollars_per_hour

    assert dollars("a100", "spot") == 2.0
    assert dollars("h100", "block") < dollars("h100", "on_demand")
    assert price_of("cpu", file=prices) is None
    prices.write_text("mine: 3\n")
    assert dollars("mine") == 3.0


def test_a_price_is_only_for_a_device_that_there_is(tmp_path):
    """Prices name the devices of kcap, and the own one."""
    prices = tmp_path / "prices.yaml"
    prices.write_text("a100: 2\nmine: 3\n")
    with pytest.raises(UserError, match="mine: unknown device"):
        price_of("cpu", file=prices)

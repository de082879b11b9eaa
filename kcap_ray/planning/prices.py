"""What a device-hour costs: prices that come with kcap, with date and source, and yours."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from kcap_ray.config.errors import UserError
from kcap_ray.config.yaml import read_yaml
from kcap_ray.planning.cost import BUILT_IN

PriceKind = Literal["block", "on_demand", "spot"]


@dataclass(frozen=True, kw_only=True)
class Price:
    """What an hour of a device costs."""

    device: str
    kind: str
    """`block`, `on_demand` or `spot`; `yours` from a file of the user's."""
    dollars_per_hour: float
    """Of one device; nodes are billed whole."""
    date: str
    """When the source had it, year and month; empty for a user's own."""
    source: str

    def __str__(self) -> str:
        when = f", {self.date}" if self.date else ""
        kind = self.kind.replace("_", " ")
        return f"${self.dollars_per_hour:,.2f} per {self.device}-hour ({kind}{when}: {self.source})"


@cache
def shipped_prices() -> tuple[Price, ...]:
    """The prices that come with kcap."""
    _, content = read_yaml(Path(__file__).parent / "prices.yaml")
    return tuple(Price(**{**line, "date": str(line["date"])}) for line in content)


def price_of(device: str, *, kind: PriceKind = "block", file: Path | None = None) -> Price | None:
    """The price of a device: that of the user's file where it has one, else the shipped one of that
    kind; None where neither is known.

    Raises `UserError` for a file that holds anything else than lines `device: price`.
    """
    own = {} if file is None else _read(file, device)
    if device in own:
        return Price(
            device=device,
            kind="yours",
            dollars_per_hour=own[device],
            date="",
            source=str(file),
        )
    found = (price for price in shipped_prices() if (price.device, price.kind) == (device, kind))
    return next(found, None)


def _read(path: Path, device: str) -> dict[str, float]:
    """Dollars per device-hour by device, of a user's file."""
    _, content = read_yaml(path)
    if not isinstance(content, Mapping):
        raise UserError(
            f"{path}: write lines `device: dollars per hour`, for instance `a100: 1.84`"
        )
    known = dict.fromkeys((*BUILT_IN, *(price.device for price in shipped_prices()), device))
    prices = {}
    for name, price in content.items():
        if name not in known:
            raise UserError(f"{path}: {name}: unknown device; allowed are {', '.join(known)}")
        is_number = isinstance(price, int | float) and not isinstance(price, bool)
        if not is_number or not 0 <= price < math.inf:
            raise UserError(
                f"{path}: {name}: got {price!r}; write dollars per hour, for instance 1.84"
            )
        prices[name] = float(price)
    return prices

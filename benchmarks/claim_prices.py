"""What it takes to decide the paper's claims at its own sizes, by `kcap plan`.

    python benchmarks/claim_prices.py          (writes docs/results/claim_prices.json)

For each claim the smallest part of the paper's sweeps that can decide it: two numbers of people
where the claim is about each of them, one where it compares models there, large enough for models
of the claim's size; three seeds of every cell, since no verdict rests on fewer. They are fresh ones
at the best point, but for claim 8 whole cells: only the weights that a cell keeps are quantized.
Hours are planned for A100s and good to a factor of two; money is device-hours at the price of
capacity blocks, without boot and idle.
"""

import json
import shlex
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kcap_ray.planning.plan import plan_cells, summary
from kcap_ray.planning.prices import price_of
from kcap_ray.planning.sweep import load_sweep
from kcap_ray.runs.files import write_atomically

OUT = Path("docs/results/claim_prices.json")
DEVICE, SEEDS = "a100", 3
SMALL = (50_000, 100_000)
"""The smallest numbers of people at which the paper's models show their capacity."""
LARGE = (1_000_000,)
"""Where the peaks of all architectures are at models of more than ten million parameters."""
FRESH, WHOLE = {"tune.confirm_seeds": "3"}, {"seed": "[0,1,2]"}
"""Three seeds, after one search or each after its own."""


@dataclass(frozen=True, kw_only=True)
class Test:
    """What decides some claims."""

    claims: str
    sweeps: dict[str, tuple[int, ...]]
    """The paper's sweeps, each with the numbers of people that it takes; none: all of them."""
    seeds: dict[str, str] = field(default_factory=lambda: FRESH)
    also: str = ""
    """What else the claims need that cannot be planned."""


TESTS = (
    Test(claims="1a, 1b, 1c", sweeps={"exposure1000": SMALL}),
    Test(
        claims="2",
        sweeps={"bios_simple": SMALL},
        also="as much again for bioR, once its texts are written",
    ),
    Test(claims="3", sweeps={"biod": ()}),
    Test(claims="4", sweeps={"exposure100": SMALL}),
    Test(claims="5", sweeps={"architectures1000": SMALL[:1] + LARGE}),
    Test(claims="6", sweeps={"architectures100": SMALL[:1] + LARGE}),
    Test(claims="7", sweeps={"ladder100": LARGE}),
    Test(
        claims="8, 8b",
        sweeps={"exposure1000": SMALL},
        seeds=WHOLE,
        also="kcap quantize --bits 8 --bits 4 of each run, which takes minutes",
    ),
    Test(claims="9", sweeps={"moe1000": SMALL[:1], "moe100": SMALL[:1]}),
    Test(
        claims="10, 11, 12",
        sweeps={f"junk{exposures}": SMALL[:1] for exposures in (100, 300, 600, 1000)},
    ),
)


@dataclass(frozen=True, kw_only=True)
class Price:
    """One row of the table."""

    claims: str
    commands: list[str]
    also: str
    n_cells: int
    device_hours: float
    dollars: float


def price_of_test(test: Test) -> Price:
    """The cells of all its sweeps, planned as `kcap plan` does."""
    commands, rows = [], []
    for name, people in test.sweeps.items():
        settings = dict(test.seeds)
        if people:
            settings["data.n_people"] = "[" + ",".join(map(str, people)) + "]"
        rows += plan_cells(load_sweep(name, settings), device=DEVICE)
        pairs = [("--set", f"{key}={value}") for key, value in settings.items()]
        commands.append(
            shlex.join(["kcap", "sweep", name, *(word for pair in pairs for word in pair)])
        )
    total = summary(rows)
    return Price(
        claims=test.claims,
        commands=commands,
        also=test.also,
        n_cells=len(rows),
        device_hours=round(total["device_hours"], 1),
        dollars=round(total["price"], 2),
    )


def main() -> None:
    """Write the table and print it."""
    found = [price_of_test(test) for test in TESTS]
    table = {
        "device": DEVICE,
        "price": str(price_of(DEVICE)),
        "tests": [asdict(one) for one in found],
    }
    write_atomically(OUT, json.dumps(table, indent=1) + "\n")
    for one in found:
        cost = f"{one.device_hours:10,.1f} h ${one.dollars:,.0f}"
        print(f"{one.claims:20} {one.n_cells:5,} cells {cost}")


if __name__ == "__main__":
    main()

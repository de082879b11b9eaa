"""What it takes to decide the paper's claims at its own sizes, by `kcap plan`.

    python benchmarks/claim_prices.py          (writes docs/results/claim_prices.json)

For each claim the smallest part of the paper's sweeps that can decide it: two numbers of people
where the claim is about each of them, one where it compares models there, large enough for models
of the claim's size; three fresh seeds at the best point of every cell, since no verdict rests on
fewer. Hours are planned for A100s and good to a factor of two; money is device-hours at the price
of capacity blocks, without boot and idle.
"""

import json
import shlex
from dataclasses import asdict, dataclass
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
TESTS: dict[str, tuple[tuple[str, tuple[int, ...]], ...]] = {
    "1a, 1b, 1c, 8, 8b": (("exposure1000", SMALL),),
    "2": (("bios_simple", SMALL),),
    "3": (("biod", ()),),
    "4": (("exposure100", SMALL),),
    "5": (("architectures1000", SMALL[:1] + LARGE),),
    "6": (("architectures100", SMALL[:1] + LARGE),),
    "7": (("ladder100", LARGE),),
    "9": (("moe1000", SMALL[:1]), ("moe100", SMALL[:1])),
    "10, 11, 12": tuple((f"junk{n}", SMALL[:1]) for n in (100, 300, 600, 1000)),
}
"""Sweeps, and the numbers of people; none: all. Claim 2 is about bioR too, which costs as much once
its texts are written; claim 8 quantizes the models of claim 1.
"""


@dataclass(frozen=True, kw_only=True)
class Test:
    """One row of the table."""

    claims: str
    commands: list[str]
    n_cells: int
    device_hours: float
    dollars: float


def price_test(claims: str, sweeps: tuple[tuple[str, tuple[int, ...]], ...]) -> Test:
    """The cells of all its sweeps, planned as `kcap plan` does."""
    commands, rows = [], []
    for name, people in sweeps:
        settings = {"tune.confirm_seeds": str(SEEDS)}
        if people:
            settings["data.n_people"] = "[" + ",".join(map(str, people)) + "]"
        rows += plan_cells(load_sweep(name, settings), device=DEVICE)
        pairs = [("--set", f"{key}={value}") for key, value in settings.items()]
        commands.append(
            shlex.join(["kcap", "sweep", name, *(word for pair in pairs for word in pair)])
        )
    total = summary(rows)
    return Test(
        claims=claims,
        commands=commands,
        n_cells=len(rows),
        device_hours=round(total["device_hours"], 1),
        dollars=round(total["price"], 2),
    )


def main() -> None:
    """Write the table and print it."""
    tests = [price_test(claims, sweeps) for claims, sweeps in TESTS.items()]
    found = {"device": DEVICE, "price": str(price_of(DEVICE)), "tests": [asdict(t) for t in tests]}
    write_atomically(OUT, json.dumps(found, indent=1) + "\n")
    for one in tests:
        cost = f"{one.device_hours:10,.1f} h ${one.dollars:,.0f}"
        print(f"{one.claims:20} {one.n_cells:5,} cells {cost}")


if __name__ == "__main__":
    main()

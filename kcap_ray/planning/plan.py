"""What a sweep will do and cost, before anything runs: one row per cell, with neither torch nor
Ray.

Device-hours are the time of training: that of `train_time_s` in the results, of all trials, one
program after another, times devices. Neither the measurement after it is in them, which passes each
person once forward through the model where training passes it `exposures` times forward and back,
nor what Ray takes to start; and of data-parallel workers not the time that exchanging gradients
takes beyond what it overlaps.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from kcap_ray.config.cell import Cell
from kcap_ray.planning.asked import asked_of
from kcap_ray.planning.cost import Device, device_of, flops_per_token
from kcap_ray.planning.plateau import ends_on_plateau, plateau_exposures
from kcap_ray.planning.prices import PriceKind, price_of
from kcap_ray.planning.run_length import spec_of
from kcap_ray.planning.sweep import Sweep
from kcap_ray.planning.training_time import training_s
from kcap_ray.runs.columns import Asked
from kcap_ray.runs.schema import Column, section
from kcap_ray.runs.text_table import aligned


@dataclass(frozen=True, kw_only=True)
class PlanRow(Asked):
    """One cell, before it is run: the columns of results.parquet that are known by then, and what
    it takes.
    """

    lr: Annotated[float, Column("Learning rate", "Of the first trial.")]
    weight_decay: Annotated[float, Column("Weight decay", "Of the first trial.")]
    n_trials: Annotated[int, Column("Trials", "Tuning trials.")]
    n_after: Annotated[
        int,
        Column(
            "After",
            "Runs after the search: with fresh seeds (tune.confirm_seeds), and at most so many "
            "beyond the ranges (tune.widen).",
        ),
    ]
    flops: Annotated[float, Column("FLOP", "Floating-point operations of all of them.")]
    device: Annotated[str, Column("Device", "Name of the device that the hours are for.")]
    device_hours: Annotated[
        float,
        Column(
            "Hours", "Predicted hours of training of all trials, times devices (`cpu`: cores).", "h"
        ),
    ]
    price: Annotated[
        float | None,
        Column("Price", "For those hours; none where the device's price is not known.", "$"),
    ]
    plateau_exposures: Annotated[
        float | None,
        Column(
            "Plateau",
            "Exposures that such a model needs before it learns values at all, by a rule fitted to "
            "measured runs (docs/protocol.md); none where there are no measurements of its kind.",
        ),
    ]
    ends_on_plateau: Annotated[
        bool,
        Column("On plateau", "Whether the run will probably be over before that."),
    ]


def plan_cells(
    sweep: Sweep,
    *,
    device: str = "a100",
    prices: Path | None = None,
    kind: PriceKind = "block",
) -> list[PlanRow]:
    """One row per cell, in the order of the sweep; hours for `device`, which is a name or a file,
    money from file `prices`, or of that kind from those that come with kcap.

    Raises `UserError` for an unknown device or a wrong file.
    """
    found = device_of(device)
    price = price_of(found.name, kind=kind, file=prices)
    per_hour = None if price is None else price.dollars_per_hour
    return [_row(sweep.name, cell, device=found, price_per_hour=per_hour) for cell in sweep.cells]


def _row(sweep: str, cell: Cell, *, device: Device, price_per_hour: float | None) -> PlanRow:
    asked, spec = asked_of(cell, sweep=sweep), spec_of(cell)
    train, n_runs = cell.train, cell.tune.n_runs
    device_hours = training_s(cell, spec, device) * train.min_workers / 3600
    return PlanRow(
        **section(asked, Asked),
        lr=train.lr,
        weight_decay=train.weight_decay,
        n_trials=cell.tune.trials,
        n_after=n_runs - cell.tune.trials,
        flops=n_runs * asked.tokens * flops_per_token(spec, train.window_tokens),
        device=device.name,
        device_hours=device_hours,
        price=None if price_per_hour is None else device_hours * price_per_hour,
        plateau_exposures=plateau_exposures(cell, spec),
        ends_on_plateau=ends_on_plateau(cell, spec, asked.steps),
    )


def rows_as_json(rows: Sequence[PlanRow]) -> str:
    """The rows as a JSON list of objects, one per cell."""
    return json.dumps([row.to_dict() for row in rows], indent=1)


# Column heading -> how a row shows it. Bits and operations in the units that papers quote. Active
# parameters are shown where they are not all.
_COLUMNS = {
    "cell": lambda row: row.cell_id,
    "params": lambda row: f"{row.n_params:,}",
    "active": lambda row: f"{row.n_params_active:,}",
    "people": lambda row: f"{row.n_people:,}",
    "Mbit": lambda row: f"{row.demand_bits / 1e6:,.3f}",
    "R_max": lambda row: f"{row.max_capacity_ratio:.2f}",
    "batch": lambda row: f"{row.batch_windows:,}",
    "steps": lambda row: f"{row.steps:,}",
    "tokens": lambda row: f"{row.tokens:,}",
    "trials": lambda row: f"{row.n_trials}" + (f"+{row.n_after}" if row.n_after else ""),
    "FLOP": lambda row: f"{row.flops:.1e}",
    "hours": lambda row: hours_text(row.device_hours),
    "price": lambda row: dollars_text(row.price),
}


_BITS = {"fp32": 32, "bf16": 16, "fp16": 16, "auto": 0}
"""Bits of the values that matrix products read, which their time depends on."""


def hours_text(hours: float) -> str:
    return f"{hours:,.1f}" if hours >= 10 else f"{hours:.2g}"


def dollars_text(price: float | None) -> str:
    return "-" if price is None else f"${price:,.2f}"


def render_plan(
    rows: Sequence[PlanRow], *, device: str, n_left_out: int = 0, notes: Sequence[str] = ()
) -> str:
    """The rows as aligned text, then totals, and how far to trust them; `device` as it was given to
    `plan_cells`, `notes` as in `Sweep`.
    """
    if not rows:
        return "no cells"
    columns = dict(_COLUMNS)
    if all(row.n_params_active == row.n_params for row in rows):
        del columns["active"]
    table = aligned(
        {heading: "left" if heading == "cell" else "right" for heading in columns},
        [[show(row) for show in columns.values()] for row in rows],
    )
    totals = _totals(rows, device_of(device), n_left_out=n_left_out)
    return "\n".join([table, "", *totals, *notes])


def _totals(rows: Sequence[PlanRow], device: Device, *, n_left_out: int) -> list[str]:
    total = summary(rows)
    left_out = f" ({n_left_out:,} points of the grid left out by `where`)" if n_left_out else ""
    price = total["price"]
    money = f"no price known for {device.name}" if price is None else dollars_text(price)
    after = f" and at most {total['n_after']:,} runs after them" if total["n_after"] else ""
    return [
        f"{len(rows):,} cells{left_out}, {total['n_trials']:,} trials{after}, "
        f"{total['tokens']:.3g} tokens, {total['flops']:.2e} FLOP",
        f"about {hours_text(total['device_hours'])} {device.unit}-hours on {device.name}, {money}",
        *_trust(rows, device),
        *_estimates(rows),
        *_plateaus(rows),
    ]


def _trust(rows: Sequence[PlanRow], device: Device) -> list[str]:
    """Where the hours come from, and how good they are."""
    n_own = sum(row.arch == "own" or row.model.startswith(f"hf-{row.arch}-") for row in rows)
    own = [
        f"Those of the {n_own:,} cells with a model that is brought along are of a decoder of "
        "kcap's of its size: the order of magnitude, no more."
    ] * (n_own > 0)
    if device.error is None:
        return [
            "Hours are an estimate, good to a factor of about two, not a measurement: "
            f"{device.source}.",
            *own,
        ]
    lines = [
        f"Hours follow from measured step times, good to about {device.error:.0%} for a cell: "
        f"{device.source}."
    ]
    n_others = sum(_BITS[row.precision] != _BITS[device.precision] for row in rows)
    if n_others:
        lines.append(
            f"They were measured at {device.precision}; {n_others:,} cells train at another "
            "precision, and theirs are good to a factor of about two."
        )
    return lines + own


def _estimates(rows: Sequence[PlanRow]) -> list[str]:
    """A line on demands that are not known."""
    estimated = sorted({row.dataset for row in rows if row.demand_is_estimate})
    if not estimated:
        return []
    return [
        f"Mbit and R_max of {', '.join(estimated)} are estimates: pools are taken to hold the "
        "values found and no others; write data.pool_sizes if you know better."
    ]


def _plateaus(rows: Sequence[PlanRow]) -> list[str]:
    """A line on each cell that will probably learn names and no values."""
    return [
        f"{row.cell_id} will probably end on the plateau before values are learnt, which takes "
        f"such a model about {row.plateau_exposures:,.0f} exposures (docs/protocol.md)."
        for row in rows
        if row.ends_on_plateau and row.plateau_exposures is not None
    ]


def summary(rows: Sequence[PlanRow]) -> Mapping[str, Any]:
    """Sums over the rows: n_trials, n_after, tokens and flops of all of them, device_hours, price
    (None if not known).
    """
    prices = [row.price for row in rows]
    return {
        "n_trials": sum(row.n_trials for row in rows),
        "n_after": sum(row.n_after for row in rows),
        "tokens": sum((row.n_trials + row.n_after) * row.tokens for row in rows),
        "flops": sum(row.flops for row in rows),
        "device_hours": sum(row.device_hours for row in rows),
        "price": None if None in prices else sum(price for price in prices if price is not None),
    }

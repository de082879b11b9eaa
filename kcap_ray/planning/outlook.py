"""What a sweep that is under way will still take, and what it has cost: from how its cells stand
and the times that are planned for them.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError
from kcap_ray.planning.cost import BUILT_IN, device_of
from kcap_ray.planning.prices import PriceKind, price_of, shipped_prices
from kcap_ray.runs.progress import CellState
from kcap_ray.runs.watch import Outlook

_HOUR = 3600.0


class SweepOutlook:
    """Looks ahead from how the cells of a sweep stand.

    A cell that has not begun takes its planned time, times what the cells that have begun took of
    theirs; so a device that is not the planned one, or is shared, is accounted for. A running cell
    goes on at its own pace. As many programs are taken to train until the end as train now.
    """

    def __init__(
        self, cells: Sequence[Cell], *, kind: PriceKind = "block", prices: Path | None = None
    ) -> None:
        """`prices`: file of prices of the user's, as for `kcap plan`."""
        self._cells, self._prices = cells, prices
        self._kind: PriceKind = kind

    def __call__(self, states: Sequence[CellState], /) -> Outlook:
        """The outlook now."""
        return Outlook(left_s=self._left_s(states), cost=self._cost(states))

    @cached_property
    def _planned_s(self) -> dict[str, float]:
        """Planned training time by cell, in units that only their ratio matters of."""
        # These load numpy, which a sweep that has ended need not wait for.
        from kcap_ray.planning.run_length import spec_of
        from kcap_ray.planning.training_time import training_s

        planned = {}
        for cell in self._cells:
            try:
                planned[cell.cell_id] = training_s(cell, spec_of(cell), device_of("cpu"))
            except UserError:  # data or model are no longer there
                continue
        return planned

    def _left_s(self, states: Sequence[CellState]) -> float | None:
        n_programs = sum(len(state.programs) for state in states)
        if not n_programs:
            return None
        left = [state.left_s for state in states if state.programs]
        if any(one is None for one in left):
            return None
        own = [one for one in left if one is not None]
        total = sum(
            state.left_s * len(state.programs) for state in states if state.left_s is not None
        )
        rest = [state for state in states if state.state in ("waiting", "stopped")]
        if rest:
            begun = [state for state in states if state.trained_s > 0 and state.done_frac > 0]
            if any(state.cell.cell_id not in self._planned_s for state in (*begun, *rest)):
                return None
            planned = sum(self._planned_s[one.cell.cell_id] * one.done_frac for one in begun)
            if planned <= 0:
                return None
            ratio = sum(state.trained_s for state in begun) / planned
            total += ratio * sum(
                self._planned_s[one.cell.cell_id] * (1 - one.done_frac) for one in rest
            )
        return max(*own, total / n_programs)

    def _cost(self, states: Sequence[CellState]) -> float | None:
        """Dollars; None before anything was trained, or where a device has no price."""
        cost = 0.0
        trained = [state for state in states if state.device_s > 0]
        for state in trained:
            price = price_of(_short_name(state.device), kind=self._kind, file=self._prices)
            if price is None:
                return None
            cost += state.device_s / _HOUR * price.dollars_per_hour
        return cost if trained else None


def _short_name(device: str) -> str:
    """`a100` of `NVIDIA A100-SXM4-80GB`: the name that prices go by; of others as they are."""
    words = device.lower().replace("-", " ").split()
    known = {*BUILT_IN, *(price.device for price in shipped_prices())}
    return next((word for word in words if word in known), device)

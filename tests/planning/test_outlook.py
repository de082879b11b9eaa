"""What is left of a sweep under way, and what it cost."""

import dataclasses

import pytest

from kcap_ray.planning.outlook import SweepOutlook
from kcap_ray.runs.progress import CellState
from kcap_ray.runs.record import TrainingProgress
from tests.tiny import tiny_cell

PACE = 7.0
"""Seconds of a cell, of which there are six that are alike."""

CELLS = [tiny_cell(seed=seed) for seed in range(6)]


def at(time_s: float, *, device: str = "cpu") -> list[CellState]:
    """The cells as they stand when two train at a time, in order."""
    states = []
    for index, cell in enumerate(CELLS):
        spent = min(max(time_s - PACE * (index // 2), 0.0), PACE)
        program = TrainingProgress(
            step=round(1000 * spent / PACE), n_steps=1000, losses=(1.0,), seconds=spent
        )
        is_done = spent == PACE
        states.append(
            CellState(
                cell=cell,
                state="ok" if is_done else "running" if spent else "waiting",
                detail="",
                n_runs_done=int(is_done),
                programs=(program,) if spent and not is_done else (),
                trained_s=spent,
                device_s=spent,
                device=device if spent else "",
            )
        )
    return states


@pytest.mark.parametrize("time_s", [0.7, 3.5, 6.3, 8.4, 15.4, 20.3])
def test_a_sweep_at_a_steady_pace_ends_when_it_is_said(time_s: float) -> None:
    """Three rounds of two, whatever the planned time of a cell is."""
    outlook = SweepOutlook(CELLS)(at(time_s))
    assert outlook.left_s == pytest.approx(3 * PACE - time_s)


def test_cells_that_take_longer_count_for_more() -> None:
    """Twice the exposures, twice the time: by the plan."""
    long = dataclasses.replace(CELLS[5].train, exposures=2_000)
    short = dataclasses.replace(CELLS[5].train, exposures=1_000)
    states = at(3.5)[:2]
    cells = [dataclasses.replace(CELLS[5], train=train) for train in (short, long)]
    left = []
    for cell in cells:
        waiting = CellState(cell=cell, state="waiting", detail="")
        found = SweepOutlook([*CELLS[:2], cell])([*states, waiting]).left_s
        assert found is not None
        left.append(found - PACE / 2)
    assert left[1] > 1.5 * left[0]


def test_nothing_is_said_that_nothing_tells() -> None:
    """Before the first step, after the last, and of a run that stands still."""
    for time_s in (0.0, 3 * PACE):
        assert SweepOutlook(CELLS)(at(time_s)).left_s is None
    stopped = [dataclasses.replace(state, state="stopped", programs=()) for state in at(3.5)]
    assert SweepOutlook(CELLS)(stopped).left_s is None


def test_cost_is_that_of_the_devices(tmp_path) -> None:
    """By name, at the user's price or the shipped one; none where a price is not known."""
    prices = tmp_path / "prices.yaml"
    prices.write_text("a100: 3.6\n")
    states = at(7.0, device="NVIDIA A100-SXM4-80GB")
    assert SweepOutlook(CELLS, prices=prices)(states).cost == pytest.approx(2 * 7.0 * 1e-3)
    assert (SweepOutlook(CELLS)(states).cost or 0) > 0
    assert SweepOutlook(CELLS)(at(7.0)).cost is None
    assert SweepOutlook(CELLS)(at(0.0)).cost is None

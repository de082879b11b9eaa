"""Costly cells in the queue: when they start, and how they go on when they are costly no more."""

import dataclasses

import pytest

from tests.engine.machines import CELLS, IDS, NEIGHBOUR, TUNE, Machines
from tests.tiny import tiny_cell


@pytest.mark.parametrize("seed", range(3))
def test_costly_cells_start_when_all_others_have_ended(tmp_path, seed):
    """So any number of machines gives the same table, though a rule is fitted to what they found;
    and one of the others that fails is left out of it.
    """
    tune = dataclasses.replace(TUNE, trials=6, fused=None, costly_trials=2)
    costly = [
        tiny_cell(model="gpt2-2-6", batch_windows=16_384, steps=s, tune=tune.as_costly())
        for s in (100, 700)
    ]
    cheap = tuple(IDS)
    neighbour = {**NEIGHBOUR, **{cell.cell_id: cheap for cell in costly}}
    options = {"cells": [*costly, *CELLS], "neighbour": neighbour, "fails": [IDS[2]]}
    alone = Machines(tmp_path / "alone", **options)
    several = Machines(tmp_path / "several", n_slots=4, seed=seed, **options)
    assert alone.run() == several.run()
    names = [cell_id for cell_id, *_ in several.programs]
    last_cheap = max(i for i, name in enumerate(names) if name in cheap)
    firsts = [names.index(cell.cell_id) for cell in costly]
    assert all(first > last_cheap for first in firsts)
    rows = [several.directory.cell(cell.cell_id).result() for cell in costly]
    assert [row.n_trials for row in rows if row] == [2, 2]


@pytest.mark.parametrize("costly_trials", [1, 2])
@pytest.mark.parametrize("n_slots", [1, 4])
def test_a_cell_that_was_costly_goes_on_from_there_on_any_number_of_machines(
    tmp_path, n_slots, costly_trials
):
    """With a full study it tries its own point, whatever came first, and no point twice."""
    tune = dataclasses.replace(TUNE, trials=6, fused=None, costly_trials=costly_trials)
    full = tiny_cell(model="gpt2-2-6", batch_windows=16_384, steps=100, tune=tune, lr=1e-2)
    costly = dataclasses.replace(full, tune=tune.as_costly())

    def machines(cell, before):
        neighbour = {**NEIGHBOUR, cell.cell_id: before}
        return Machines(tmp_path, n_slots=n_slots, cells=[*CELLS, cell], neighbour=neighbour)

    machines(costly, tuple(IDS)).run()
    directory = machines(full, IDS[0]).directory.cell(full.cell_id)
    first = directory.trials()
    assert len(first) == costly_trials
    machines(full, IDS[0]).run()
    rates = [one.lr for one in directory.trials()]
    assert rates[:costly_trials] == [one.lr for one in first]
    assert rates[0] != rates[1] == 1e-2
    assert len(set(rates)) == 6

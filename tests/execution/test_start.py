"""What a cell's search starts from, when its neighbour fails and comes back."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from kcap_ray.config.cell import Cell, Range, TuneConfig
from kcap_ray.execution.cell import fail_cell, run_cells
from kcap_ray.execution.search import WarmStart
from kcap_ray.execution.start import start_of, to_do
from kcap_ray.runs.record import ResultRow
from kcap_ray.runs.results import RunDirectory
from kcap_ray.training.point import Point
from tests.tiny import tiny_cell

TUNE = TuneConfig(trials=2, lr=Range(low=1e-4, high=1e-1))
CELLS = [tiny_cell(exposures=exposures, tune=TUNE) for exposures in (2, 3)]
FIRST, SECOND = (cell.cell_id for cell in CELLS)
NEIGHBOUR = {FIRST: None, SECOND: FIRST}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """An empty run directory."""
    directory = RunDirectory(tmp_path / "run")
    directory.prepare()
    return directory


def go_on(run: RunDirectory, cells: list[Cell] = CELLS) -> list[ResultRow]:
    """What is left, and all rows without times."""
    run_cells(cells, NEIGHBOUR, run, sweep="tiny", device=torch.device("cpu"))
    return [
        dataclasses.replace(row, train_time_s=None, measure_time_s=None, tokens_per_s=None)
        for row in run.rows(cells)
    ]


def made_up_row(run: RunDirectory) -> ResultRow:
    """What the first cell might have ended with."""
    return dataclasses.replace(
        fail_cell(CELLS[0], run.cell(FIRST), sweep="tiny", reason=""),
        status="ok",
        stored_bits=1.0,
        capacity_ratio=0.1,
        lr=5e-3,
        weight_decay=0.1,
        n_trials=2,
    )


def test_a_neighbour_that_failed_leaves_nothing_behind(run: RunDirectory, tmp_path: Path) -> None:
    """A cell that was tuned without it is tuned again when it has a result: the table is that of an
    undisturbed run, and what was found meanwhile is kept aside.
    """
    whole = RunDirectory(tmp_path / "whole")
    whole.prepare()
    expected = go_on(whole)
    fail_cell(CELLS[0], run.cell(FIRST), sweep="tiny", reason="the disk was full")
    disturbed = go_on(run)
    assert [row.status for row in disturbed] == ["failed", "ok"]
    assert disturbed[1].lr != expected[1].lr
    assert to_do(CELLS, NEIGHBOUR, run) == []
    run.cell(FIRST).result_file.unlink()
    assert to_do(CELLS, NEIGHBOUR, run) == CELLS
    assert go_on(run) == expected
    assert (run.cell(SECOND).path / "without_neighbour" / "result.json").exists()
    assert go_on(run) == expected


def test_a_search_goes_on_from_where_it_began(run: RunDirectory) -> None:
    """Where its neighbour fails later; and from another point where what was best there is so no
    longer.
    """
    first = run.cell(FIRST)
    row = made_up_row(run)
    warm_start = WarmStart(point=Point(lr=5e-3, weight_decay=0.1), n_steps=row.steps)
    first.finish(row)
    assert start_of(CELLS[1], FIRST, run) == warm_start
    first.finish(dataclasses.replace(row, status="failed"))
    assert start_of(CELLS[1], FIRST, run) == warm_start
    first.finish(dataclasses.replace(row, lr=6e-3))
    changed = start_of(CELLS[1], FIRST, run)
    assert changed is not None and changed.point.lr == 6e-3


def test_a_start_written_by_an_earlier_version_is_read(run: RunDirectory) -> None:
    """Under the names that it has on disk, with no result of the neighbour to go by."""
    point = {"lr": 5e-3, "weight_decay": 0.1}
    start = {"neighbour": FIRST, "hint": {"point": point, "n_steps": 7}}
    folder = run.cell(SECOND).path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "start.json").write_text(json.dumps(start))
    assert start_of(CELLS[1], FIRST, run) == WarmStart(point=Point(**point), n_steps=7)


def test_a_search_that_began_from_another_cell_keeps_what_it_has(run: RunDirectory) -> None:
    """As those of versions do that chose neighbours otherwise: no trial is lost."""
    row = made_up_row(run)
    run.cell(FIRST).finish(row)
    run.cell("other").finish(dataclasses.replace(row, cell_id="other", lr=7e-3))
    began = start_of(CELLS[1], "other", run)
    assert began is not None and began.point.lr == 7e-3
    trials_file = run.cell(SECOND).trials_file
    trials_file.write_text("trials")
    assert start_of(CELLS[1], FIRST, run) == began
    assert trials_file.read_text() == "trials"


@pytest.mark.usefixtures("in_float64")
def test_more_trials_are_those_of_a_longer_search(run: RunDirectory, tmp_path: Path) -> None:
    """Six from the start are three and three more; fewer than there are leave the row alone."""
    tune = TuneConfig(trials=3, lr=Range(low=1e-4, high=1e-1), weight_decay=Range(low=0.1, high=1))
    three = tiny_cell(exposures=2, tune=tune)
    six = dataclasses.replace(three, tune=dataclasses.replace(tune, trials=6, fused=2))
    whole = RunDirectory(tmp_path / "whole")
    whole.prepare()
    (row,) = go_on(whole, [six])
    (before,) = go_on(run, [three])
    records = run.cell(three.cell_id).trials()
    (after,) = go_on(run, [six])
    assert run.cell(three.cell_id).trials()[:3] == records
    assert before.n_trials == 3
    found, expected = (d.cell(six.cell_id).trials() for d in (run, whole))
    assert [(t.lr, t.weight_decay) for t in found] == [(t.lr, t.weight_decay) for t in expected]
    # Trials that are fused add up in another order.
    assert [t.bits for t in found] == pytest.approx([t.bits for t in expected], rel=1e-10)
    assert (after.lr, after.n_trials, after.status) == (row.lr, 6, "ok")
    assert go_on(run, [three])[0].n_trials == 6


@pytest.mark.slow
@pytest.mark.usefixtures("in_float64")
def test_more_trials_are_those_of_a_longer_search_along_a_chain(
    run: RunDirectory, tmp_path: Path
) -> None:
    """Six from the start are three and three more, also where the best of the neighbour's first
    three is not the best of its six; fewer trials leave all rows alone.
    """
    tune = TuneConfig(trials=3, lr=Range(low=1e-3, high=1.0), weight_decay=Range(low=0.1, high=1))
    three = [dataclasses.replace(cell, tune=tune) for cell in CELLS]
    six = [dataclasses.replace(c, tune=dataclasses.replace(tune, trials=6)) for c in CELLS]
    assert [cell.cell_id for cell in three] == [cell.cell_id for cell in six]
    neighbour = {six[0].cell_id: None, six[1].cell_id: six[0].cell_id}
    device = torch.device("cpu")

    def points(directory: RunDirectory, cells: list[Cell]) -> list[list[tuple[float, float]]]:
        run_cells(cells, neighbour, directory, sweep="tiny", device=device)
        trials = [directory.cell(cell.cell_id).trials() for cell in cells]
        return [[(trial.lr, trial.weight_decay) for trial in found] for found in trials]

    whole = RunDirectory(tmp_path / "whole")
    whole.prepare()
    expected = points(whole, six)
    before = points(run, three)
    assert before[1][1] != expected[1][1], "the neighbour's best is another one"
    assert points(run, six) == expected
    assert [(r.lr, r.stored_bits) for r in run.rows(six)] == [
        (r.lr, pytest.approx(r.stored_bits, rel=1e-10)) for r in whole.rows(six)
    ]
    assert (run.cell(six[1].cell_id).path / "without_neighbour" / "trials.jsonl").exists()
    assert points(run, three) == expected

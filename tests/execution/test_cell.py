import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.parquet as pq
import pytest
import torch

import kcap_ray.execution.cell
import kcap_ray.execution.trial
from kcap_ray.config.cell import Cell, Range, TuneConfig
from kcap_ray.config.errors import UserError
from kcap_ray.execution.cell import fail_cell, run_cell, run_cells
from kcap_ray.execution.cell_run import CellRun
from kcap_ray.execution.search import WarmStart
from kcap_ray.execution.start import warm_start_of
from kcap_ray.planning.run_length import length_of, spec_of
from kcap_ray.runs.manifest import clear_failed
from kcap_ray.runs.record import ResultRow, TrialRecord
from kcap_ray.runs.results import CellDirectory, RunDirectory
from kcap_ray.text.stream.corpus import build_corpus
from kcap_ray.training.loop import Progress
from kcap_ray.training.point import Point
from tests.execution.tuned_cell import TUNE, TUNED_CELL, WARM_START
from tests.tiny import BIOD, BIOS, tiny_cell

CPU = torch.device("cpu")
Timed = TypeVar("Timed", TrialRecord, ResultRow)


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """An empty run directory."""
    directory = RunDirectory(tmp_path / "run")
    directory.prepare()
    return directory


def untimed(record: Timed) -> Timed:
    """A row or record without what differs from run to run."""
    return dataclasses.replace(record, train_time_s=None, measure_time_s=None, tokens_per_s=None)


def row_in(directory: CellDirectory) -> ResultRow:
    """The row of a finished cell."""
    row = directory.result()
    assert row is not None
    return row


def finish(
    cell: Cell, directory: CellDirectory, *, warm_start: WarmStart | None = None, **options: Any
) -> ResultRow:
    """Run a cell to its end."""
    run = CellRun(cell=cell, directory=directory, device=CPU, **options)
    return run_cell(run, sweep="tiny", warm_start=warm_start)


def kill_after(n_points: int) -> Callable[[Progress], None]:
    """End the process after so many points on the curves."""
    left = n_points

    def count(progress: Progress) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    return count


@pytest.mark.parametrize("cell", [tiny_cell(exposures=5), tiny_cell(BIOS, exposures=3), TUNED_CELL])
def test_the_numbers_of_a_row_belong_together(tmp_path: Path, cell: Cell) -> None:
    """Bits, parameters and ratios agree with each other, with the cell and with the best trial."""
    directory = CellDirectory(tmp_path)
    row = finish(cell, directory)
    spec = spec_of(cell)
    assert row == row_in(directory)
    assert (row.status, row.reason, row.cell_id) == ("ok", "", cell.cell_id)
    assert (row.n_params, row.steps) == (spec.n_params, length_of(cell).steps)
    assert row.demand_bits == build_corpus(cell.data).demand_bits
    assert row.stored_bits is not None
    assert row.capacity_ratio == row.stored_bits / row.n_params
    assert row.capacity_ratio_non_embedding == row.stored_bits / row.n_params_non_embedding
    assert row.max_capacity_ratio == row.demand_bits / row.n_params
    assert row.stored_bits < row.demand_bits
    assert row.n_trials == row.n_trials_ok == cell.tune.trials
    best = max(directory.trials(), key=lambda trial: trial.capacity_ratio or -math.inf)
    assert row.capacity_ratio == best.capacity_ratio is not None
    assert (row.lr, row.weight_decay) == (best.lr, best.weight_decay)


@pytest.mark.slow
@pytest.mark.parametrize("warm_start", [None, WARM_START])
def test_a_cell_killed_again_and_again_has_the_row_of_one_run(
    tmp_path: Path, warm_start: WarmStart | None
) -> None:
    """Between programs and inside of them: the row, the trials, the weights, the curve."""
    whole, killed = CellDirectory(tmp_path / "whole"), CellDirectory(tmp_path / "killed")
    row = finish(TUNED_CELL, whole, warm_start=warm_start)
    n_steps = length_of(TUNED_CELL).steps
    for n_points in (n_steps // 2, n_steps, n_steps + 1, n_steps + 5):
        with pytest.raises(Killed):
            finish(TUNED_CELL, killed, warm_start=warm_start, on_progress=kill_after(n_points))
        assert killed.result() is None
    again = finish(TUNED_CELL, killed, warm_start=warm_start)
    assert untimed(again) == untimed(row)
    assert list(map(untimed, killed.trials())) == list(map(untimed, whole.trials()))
    weights = [(d.checkpoint / "model.safetensors").read_bytes() for d in (whole, killed)]
    assert weights[0] == weights[1]
    curves = [pq.read_table(d.history_file).drop_columns("seconds") for d in (whole, killed)]
    assert curves[0].equals(curves[1])


def test_a_cell_that_cannot_run_is_a_failed_row_and_the_others_finish(run: RunDirectory) -> None:
    """The reason is in the row; and a mistake is not tried again."""
    cells = [tiny_cell(exposures=3), tiny_cell(window_tokens=4), tiny_cell(seed=2, exposures=3)]
    run_all(cells, run)
    assert [row.status for row in run.rows(cells)] == ["ok", "failed", "ok"]
    failed = row_in(run.cell(cells[1].cell_id))
    assert "tokens" in failed.reason
    assert failed.stored_bits is None
    assert failed.demand_bits == row_in(run.cell(cells[0].cell_id)).demand_bits
    clear_failed(cells, run, mistakes=False)
    assert len(run.rows(cells)) == 3


@pytest.mark.parametrize("torn", ["trial0.pt", "trial0.pt.before"])
def test_a_resume_file_that_is_torn_costs_time_alone(
    run: RunDirectory, tmp_path: Path, torn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The cell goes on from the one before, or from the start, and its row is that of one run."""
    cell = tiny_cell(exposures=3)
    expected = finish(cell, CellDirectory(tmp_path / "whole"))
    directory = run.cell(cell.cell_id)
    directory.resume_file(0).parent.mkdir(parents=True)
    (directory.resume_file(0).parent / torn).write_bytes(b"torn")
    run_all([cell], run)
    assert untimed(row_in(directory)) == untimed(expected)
    (line,) = caplog.messages
    assert torn in line
    assert list(directory.path.glob("resume/*")) == []


def test_a_failed_row_counts_the_trials_that_had_finished(run: RunDirectory) -> None:
    """What is in the ledger was run, whatever came after; what cannot be read counts as none."""
    directory = run.cell(TUNED_CELL.cell_id)
    with pytest.raises(Killed):
        finish(TUNED_CELL, directory, on_progress=kill_after(length_of(TUNED_CELL).steps + 1))
    row = fail_cell(TUNED_CELL, directory, sweep="tiny", reason="broke")
    assert (row.n_trials, row.n_trials_ok, row.stored_bits) == (2, 2, None)
    directory.trials_file.write_text("{\n")
    assert fail_cell(TUNED_CELL, directory, sweep="tiny", reason="broke").n_trials == 0


def run_all(
    cells: list[Cell], run: RunDirectory, neighbour: dict[str, str | None] | None = None
) -> None:
    """What `kcap run-cell` does with all cells of a sweep."""
    run_cells(cells, neighbour or {}, run, sweep="tiny", device=CPU)


def test_a_cell_whose_data_cannot_be_made_stops_the_run_before_it_starts(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row would have no numbers at all, so it is a mistake in the sweep, told at once."""
    monkeypatch.delattr(kcap_ray.execution.trial, "run_trials")
    impossible = tiny_cell(dataclasses.replace(BIOD, n_people=10**9))
    with pytest.raises(UserError, match=r"data\.n_people: 1000000000 people"):
        run_all([tiny_cell(), impossible], run)
    assert run.rows([tiny_cell(), impossible]) == []


def test_a_cell_of_which_every_trial_diverges_is_a_diverged_row(run: RunDirectory) -> None:
    """It has a reason and no number, and it ends the cell: the same again would diverge again."""
    cell = tiny_cell(lr=1e30)
    run_all([cell], run)
    row = row_in(run.cell(cell.cell_id))
    assert row.status == "diverged"
    assert "at step" in row.reason
    assert (row.n_trials, row.n_trials_ok) == (1, 0)
    assert row.stored_bits is row.capacity_ratio is row.loss_name_nats is None
    assert row.lr == 1e30
    run.collect([cell])
    assert pq.read_table(run.results_file)["status"].to_pylist() == ["diverged"]


def test_a_diverged_trial_is_counted_and_not_chosen(run: RunDirectory) -> None:
    """The cell is fine as long as one of its trials is."""
    tune = TuneConfig(trials=2, lr=Range(low=1e-3, high=1e30), fused=2)
    cell = tiny_cell(tune=tune)
    directory = run.cell(cell.cell_id)
    row = finish(
        cell, directory, warm_start=WarmStart(point=Point(lr=1e30, weight_decay=0.1), n_steps=30)
    )
    assert (row.status, row.n_trials, row.n_trials_ok, row.lr) == ("ok", 2, 1, 1e-3)


def test_a_finished_cell_is_not_run_again(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command given again does nothing; a half-written result counts as none."""
    cells = [tiny_cell(seed=seed, exposures=3) for seed in range(2)]
    run_all(cells, run)
    before = run.rows(cells)
    with monkeypatch.context() as patch:
        patch.delattr(kcap_ray.execution.cell, "run_cell")
        run_all(cells, run)
    half = run.cell(cells[1].cell_id).result_file
    half.write_text(half.read_text()[:100])
    run_all(cells, run)
    assert run.rows(cells) == before


@pytest.mark.parametrize("warm_start", [True, False])
def test_a_cell_tries_its_neighbours_best_second(run: RunDirectory, warm_start: bool) -> None:
    """Carried over to its own number of steps; not if it does not want to."""
    first = tiny_cell(lr=7e-3, weight_decay=0.3, exposures=2)
    tune = dataclasses.replace(TUNE, trials=2, warm_start=warm_start)
    second = tiny_cell(tune=tune, exposures=4)
    run_all([first, second], run, {second.cell_id: first.cell_id, first.cell_id: None})
    trials = run.cell(second.cell_id).trials()
    assert (trials[0].lr, trials[0].weight_decay) == (1e-3, 0.1)
    carried = 0.3 * length_of(first).steps / length_of(second).steps
    is_warm_started = trials[1].lr == 7e-3 and trials[1].weight_decay == pytest.approx(carried)
    assert is_warm_started == warm_start


def test_only_a_result_is_a_warm_start(tmp_path: Path) -> None:
    """A neighbour that has none, or that failed or diverged, tells nothing."""
    row = finish(tiny_cell(lr=5e-3, exposures=2), CellDirectory(tmp_path))
    assert warm_start_of(row) == WarmStart(
        point=Point(lr=5e-3, weight_decay=0.1), n_steps=row.steps
    )
    assert warm_start_of(None) is None
    assert warm_start_of(dataclasses.replace(row, status="diverged")) is None

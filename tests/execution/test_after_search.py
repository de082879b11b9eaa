"""Selection and estimate apart: fresh seeds for the best point, and trials beyond the edges."""

import dataclasses
import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch

from kcap_ray.config.cell import Cell, Range, TuneConfig
from kcap_ray.config.data import FrequencyConfig
from kcap_ray.execution.after_search import fresh_seeds, next_steps, select
from kcap_ray.execution.cell import run_cell, run_cells
from kcap_ray.execution.cell_run import CellRun
from kcap_ray.planning.run_length import length_of
from kcap_ray.runs.done import is_done
from kcap_ray.runs.record import ResultRow, TrialRecord
from kcap_ray.runs.results import CellDirectory, RunDirectory
from kcap_ray.training.loop import Progress
from tests.tiny import BIOS, tiny_cell

CPU = torch.device("cpu")
TUNE = TuneConfig(
    trials=3,
    lr=Range(low=1e-3, high=1e-1),
    weight_decay=Range(low=1e-3, high=1.0),
    fused=2,
    confirm_seeds=2,
)
LR = Range(low=1e-4, high=1e-2)


class Killed(BaseException):
    """Stands for the end of the process."""


def tuned(exposures: int = 4, **tune: Any) -> Cell:
    return tiny_cell(tune=dataclasses.replace(TUNE, **tune), exposures=exposures)


def finish(cell: Cell, directory: CellDirectory, **options: Any) -> ResultRow:
    run = CellRun(cell=cell, directory=directory, device=CPU, **options)
    return run_cell(run, sweep="tiny")


def untimed(row: ResultRow) -> ResultRow:
    return dataclasses.replace(row, train_time_s=None, measure_time_s=None, tokens_per_s=None)


def by_seed(row: ResultRow) -> dict[int, float]:
    assert row.confirmed is not None
    return {int(seed): ratio for seed, ratio in json.loads(row.confirmed).items()}


def test_the_result_is_the_mean_over_fresh_seeds_of_whole_runs(tmp_path: Path) -> None:
    """Each fresh seed is what a cell of that seed at the best point gives, to the last bit; the
    row is their mean, beside its spread and the R that was selected.
    """
    cell = tuned()
    row = finish(cell, CellDirectory(tmp_path / "cell"))
    assert row.lr is not None and row.weight_decay is not None
    alone = {}
    for seed in fresh_seeds(cell):
        train = dataclasses.replace(cell.train, lr=row.lr, weight_decay=row.weight_decay)
        own = dataclasses.replace(cell, seed=seed, train=train, tune=TuneConfig())
        alone[seed] = finish(own, CellDirectory(tmp_path / str(seed)))
    ratios = {seed: one.capacity_ratio for seed, one in alone.items()}
    assert by_seed(row) == ratios
    assert len(set(ratios.values())) == 2
    assert row.capacity_ratio == pytest.approx(statistics.fmean(by_seed(row).values()), rel=1e-12)
    assert row.capacity_ratio_sd == pytest.approx(statistics.stdev(by_seed(row).values()))
    losses = [one.loss_value_nats for one in alone.values() if one.loss_value_nats is not None]
    assert row.loss_value_nats == pytest.approx(statistics.fmean(losses), rel=1e-12)
    assert (row.n_trials, row.n_confirm_seeds, row.n_confirm_seeds_ok) == (3, 2, 2)
    selected = finish(tuned(confirm_seeds=0), CellDirectory(tmp_path / "selected"))
    assert row.selected_capacity_ratio == selected.capacity_ratio != row.capacity_ratio
    assert (row.lr, row.weight_decay) == (selected.lr, selected.weight_decay)


def test_the_numbers_of_a_mean_belong_together(tmp_path: Path) -> None:
    """Bits follow from losses and ratios from bits as for one trial; bands too."""
    data = dataclasses.replace(BIOS, frequency=FrequencyConfig(zipf=1.0, bands=2))
    cell = tiny_cell(data, tune=TuneConfig(confirm_seeds=3), exposures=3)
    row = finish(cell, CellDirectory(tmp_path))
    assert row.stored_bits is not None and row.name_bits is not None
    assert row.value_bits is not None and row.diversity_bits is not None
    assert row.loss_name_nats is not None and row.loss_value_nats is not None
    assert row.capacity_ratio == row.stored_bits / row.n_params
    parts = row.name_bits + row.value_bits + row.diversity_bits
    assert row.stored_bits == pytest.approx(parts, rel=1e-12)
    n = cell.data.n_people
    # Names are told apart from N0, of which demand counts N0 / N.
    perfect = row.demand_bits + n * math.log2(n)
    lost = n * (row.loss_name_nats + row.loss_value_nats) / math.log(2)
    assert row.stored_bits == pytest.approx(perfect - lost, rel=1e-9)
    assert row.groups is not None
    bands = json.loads(row.groups)
    assert sum(band["n_people"] for band in bands) == n and len(bands) == 2
    assert sum(band["stored_bits"] for band in bands) == pytest.approx(row.stored_bits)


@pytest.mark.slow
@pytest.mark.parametrize("n_points", [1, 3])
def test_a_cell_killed_among_its_fresh_seeds_has_the_row_of_one_run(
    tmp_path: Path, n_points: int
) -> None:
    """In the first, between them, and in the second: what was done is not done again."""
    cell = tuned(widen=1)
    whole = finish(cell, CellDirectory(tmp_path / "whole"))
    killed = CellDirectory(tmp_path / "killed")
    finish(dataclasses.replace(cell, tune=dataclasses.replace(TUNE, confirm_seeds=0)), killed)
    killed.result_file.unlink()
    left = n_points * length_of(cell).steps // 2

    def count(progress: Progress) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    with pytest.raises(Killed):
        finish(cell, killed, on_progress=count)
    assert killed.result() is None
    assert untimed(finish(cell, killed)) == untimed(whole)


@pytest.mark.slow
def test_more_trials_and_more_seeds_are_those_of_one_run(tmp_path: Path) -> None:
    """Three trials and then three more, one seed and then another: the row is that of six trials
    and two seeds, and nothing that was trained is trained again.
    """
    at_once = finish(tuned(trials=6), CellDirectory(tmp_path / "at once"))
    grown = RunDirectory(tmp_path / "grown")
    grown.prepare()
    steps = [tuned(confirm_seeds=0), tuned(confirm_seeds=1), tuned(), tuned(trials=6)]
    for cell in steps:
        assert not is_done(cell, grown.cell(cell.cell_id).result())
        run_cells([cell], {}, grown, sweep="tiny", device=CPU)
        assert is_done(cell, grown.cell(cell.cell_id).result())
    assert {cell.cell_id for cell in steps} == {steps[0].cell_id}
    directory = grown.cell(steps[0].cell_id)
    row = directory.result()
    assert row is not None and untimed(row) == untimed(at_once)
    assert is_done(steps[0], row) and is_done(steps[2], row)


def test_cells_of_other_seeds_have_other_fresh_seeds_and_equal_seeds_the_same() -> None:
    """So replicates stay independent, and cells of one seed stay paired."""
    cells = [dataclasses.replace(tuned(confirm_seeds=5), seed=seed) for seed in range(4)]
    seeds = [seed for cell in cells for seed in (cell.seed, *fresh_seeds(cell))]
    assert len(set(seeds)) == len(seeds)
    assert fresh_seeds(tuned(exposures=9)) == fresh_seeds(tuned())
    assert fresh_seeds(tuned(confirm_seeds=4))[:2] == fresh_seeds(tuned())


def test_a_fresh_seed_without_a_result_is_counted_and_left_out(tmp_path: Path) -> None:
    """And where none has one, the cell has none."""
    cell = tuned()
    directory = CellDirectory(tmp_path)
    row = finish(cell, directory)
    (first, second) = (directory.part(step) for step in _seed_parts(directory))
    for place, status in ((first, "ok"), (second, "diverged")):
        (record,) = place.trials()
        place.trials_file.unlink()
        lost = dataclasses.replace(record, status="diverged", bits=None, capacity_ratio=None)
        place.add_trials([record if status == "ok" else lost])
    directory.result_file.unlink()
    again = finish(cell, directory)
    assert (again.status, again.n_confirm_seeds, again.n_confirm_seeds_ok) == ("ok", 2, 1)
    assert again.capacity_ratio == next(iter(by_seed(row).values()))
    assert again.capacity_ratio_sd is None
    first.trials_file.write_bytes(second.trials_file.read_bytes())
    directory.result_file.unlink()
    none = finish(cell, directory)
    assert (none.status, none.n_confirm_seeds_ok, none.stored_bits) == ("diverged", 0, None)
    assert none.selected_capacity_ratio == row.selected_capacity_ratio
    assert is_done(cell, none)


def _seed_parts(directory: CellDirectory) -> list[str]:
    return [part.path.name for part in directory.parts() if "-seed" in part.path.name]


def record(trial: int, lr: float, ratio: float, *, weight_decay: float = 0.1) -> TrialRecord:
    return TrialRecord(
        trial=trial,
        lr=lr,
        weight_decay=weight_decay,
        status="ok",
        bits=ratio,
        capacity_ratio=ratio,
        n_trials_fused=1,
    )


def widen(cell: Cell, directory: CellDirectory, ratios: list[float]) -> list[tuple[float, float]]:
    """Run the trials beyond the edges, with these results; the points that were asked for."""
    points = []
    while steps := next_steps(cell, directory):
        ((step,), (point,)) = steps, steps[0].points
        place = directory.part(step.part.name)
        done = record(step.first_trial, point.lr, ratios[len(points)])
        place.add_trials([dataclasses.replace(done, weight_decay=point.weight_decay)])
        points.append((point.lr, point.weight_decay))
    return points


def searching(tmp_path: Path, *, lr: float, widen: int, **tune: Any) -> tuple[Cell, CellDirectory]:
    """A cell whose search is over, and found this learning rate the best."""
    own = TuneConfig(**{"trials": 2, "lr": LR, "widen": widen, **tune})
    directory = CellDirectory(tmp_path)
    directory.add_trials([record(0, 1e-3, 1.0), record(1, lr, 2.0)])
    return tiny_cell(tune=own), directory


def test_a_range_is_widened_while_the_best_is_at_its_edge(tmp_path: Path) -> None:
    """A quarter of the two decades further each time; the first that is no better ends it."""
    cell, directory = searching(tmp_path, lr=8e-3, widen=5)
    factor = 100**0.25
    asked = widen(cell, directory, [3.0, 2.5])
    assert [lr for lr, _ in asked] == pytest.approx([8e-3 * factor, 8e-3 * factor**2])
    found = select(cell, directory)
    assert found is not None and found.is_beyond and found.n_widened == 2
    assert found.best.lr == asked[0][0] and found.edge == ""


def test_widening_ends_after_as_many_trials_as_it_may_have(tmp_path: Path) -> None:
    """The best is then still at the edge, and said to be."""
    cell, directory = searching(tmp_path, lr=8e-3, widen=2)
    assert len(widen(cell, directory, [3.0, 4.0])) == 2
    found = select(cell, directory)
    assert found is not None and found.edge == "lr high" and found.best.capacity_ratio == 4.0
    none = dataclasses.replace(cell, tune=dataclasses.replace(cell.tune, widen=0))
    assert select(none, directory) == found


@pytest.mark.parametrize(("lr", "edge"), [(1.5e-4, "lr low"), (1e-3, ""), (7e-3, "lr high")])
def test_the_outer_tenth_of_a_range_is_its_edge(tmp_path: Path, lr: float, edge: str) -> None:
    """On the scale that it is searched on: of two decades a fifth of a decade. Off unless asked
    for: no trial is added.
    """
    cell, directory = searching(tmp_path, lr=lr, widen=0)
    found = select(cell, directory)
    assert found is not None and found.edge == edge and found.next_point is None
    assert next_steps(cell, directory) == []


def test_no_learning_rate_is_at_or_below_zero(tmp_path: Path) -> None:
    """A linear range is widened by halves of its end; nothing is below a decay of zero."""
    linear = Range(low=1e-4, high=1e-2, log=False)
    decay = Range(low=0.0, high=1.0, log=False)
    cell = tiny_cell(tune=TuneConfig(trials=2, lr=linear, weight_decay=decay, widen=3))
    directory = CellDirectory(tmp_path)
    directory.add_trials([record(0, 1e-3, 1.0), record(1, 1e-4, 2.0, weight_decay=0.0)])
    asked = widen(cell, directory, [3.0, 4.0, 5.0])
    assert [lr for lr, _ in asked] == pytest.approx([5e-5, 2.5e-5, 1.25e-5])
    assert {decay for _, decay in asked} == {0.0}


def test_a_trial_beyond_the_range_can_be_the_cells_model(tmp_path: Path) -> None:
    """Its weights, curve and numbers are the cell's; then more trials of the search go on."""
    narrow = TuneConfig(trials=2, lr=Range(low=1e-5, high=1e-4), widen=2, confirm_seeds=1)
    cell = tiny_cell(tune=narrow, exposures=6)
    directory = CellDirectory(tmp_path)
    row = finish(cell, directory)
    assert row.lr is not None and row.lr > 1e-4
    assert row.n_widened == 2 and row.n_trials == 2 and row.edge == "lr high"
    (beyond,) = [part for part in directory.parts() if part.path.name.endswith("-beyond")]
    weights = [one.checkpoint / "model.safetensors" for one in (directory, beyond)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert directory.history_file.read_bytes() == beyond.history_file.read_bytes()
    assert row.selected_capacity_ratio == beyond.trials()[-1].capacity_ratio

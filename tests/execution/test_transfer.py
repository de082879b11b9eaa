"""The rule for learning rate and weight decay, and what a costly cell begins from."""

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from kcap_ray.config.cell import Range, TuneConfig
from kcap_ray.execution.cell import CellProgress, fail_cell, finish_cell
from kcap_ray.execution.search import CellStudy, WarmStart
from kcap_ray.execution.start import start_of, to_do
from kcap_ray.execution.transfer import guide_of, transferred
from kcap_ray.execution.transfer_rule import CURVATURES, Guide, Setup, TransferRule, fit_rule
from kcap_ray.planning.run_length import spec_of, trial_batch_size
from kcap_ray.runs.record import TrialRecord
from kcap_ray.runs.results import RunDirectory
from kcap_ray.training.point import Point
from tests.tiny import tiny_cell

RANGES = {"lr": Range(low=1e-6, high=1.0), "weight_decay": Range(low=1e-6, high=10.0)}
OWN = Point(lr=1e-2, weight_decay=1e-2)
PLANTED = TransferRule(
    centre=Setup(n_params=10_000, steps=1000, batch_tokens=256, n_people=100).features,
    x_0=math.log(8e-3),
    y_0=math.log(0.15),
    slope_lr=(-0.6, 0.1, 0.2, 0.0),
    slope_product=(0.1, 0.0, -0.1, 0.0),
    curvatures=CURVATURES,
)


def ratio_of(point: Point, setup: Setup, height: float) -> float:
    """R at a point by the planted rule, without noise."""
    best = PLANTED.point(setup, RANGES, OWN)
    a, b = PLANTED.curvatures
    product, of_best = (p.lr * p.weight_decay for p in (point, best))
    dip = a * math.log(point.lr / best.lr) ** 2 + b * math.log(product / of_best) ** 2
    return height * math.exp(-dip)


def guides() -> list[Guide]:
    """Cells with trials around their own point, each with an R of its own."""
    rng = np.random.default_rng(0)
    found = []
    sizes = itertools.product((3_000, 10_000, 30_000), (50, 200), (500, 2000), (128, 512))
    for number, (n_params, n_people, steps, batch) in enumerate(sizes):
        setup = Setup(n_params=n_params, steps=steps, batch_tokens=batch, n_people=n_people)
        points = [
            Point(lr=float(OWN.lr * 3**x), weight_decay=float(OWN.weight_decay * 10**y))
            for x, y in rng.uniform(-1, 1, (6, 2))
        ]
        trials = tuple((one, ratio_of(one, setup, 1.0 + number)) for one in points)
        found.append(Guide(setup=setup, own=OWN, trials=trials))
    return found


def test_a_planted_rule_is_found():
    """From trials without noise: at a model ten times the largest, within 5% in learning rate and
    15% in weight decay, which matters less. What is expected beforehand pulls by that much.
    """
    rule = fit_rule(guides())
    assert rule is not None
    large = Setup(n_params=300_000, steps=5000, batch_tokens=512, n_people=1000)
    found, expected = (one.point(large, RANGES, OWN) for one in (rule, PLANTED))
    assert found.lr == pytest.approx(expected.lr, rel=0.05)
    assert found.weight_decay == pytest.approx(expected.weight_decay, rel=0.15)
    assert rule.curvatures == pytest.approx(CURVATURES, rel=0.05)


def test_a_rule_needs_a_result_and_stays_inside_of_the_ranges():
    """Diverged trials count as the worst; what has no range is the cell's own."""
    some = guides()[0]
    diverged = dataclasses.replace(some, trials=tuple((point, None) for point, _ in some.trials))
    assert fit_rule([]) is None and fit_rule([diverged]) is None
    rule = fit_rule([some, diverged])
    assert rule is not None
    narrow = {"lr": Range(low=0.5, high=0.6)}
    assert rule.point(some.setup, narrow, OWN) == Point(lr=0.5, weight_decay=OWN.weight_decay)


def test_steps_move_the_weight_decay_and_not_the_learning_rate_unless_trials_say_so():
    """With one guide lr is its best, and lr * weight_decay * steps stays what it was there."""
    guide = guides()[0]
    rule = fit_rule([guide])
    assert rule is not None
    longer = dataclasses.replace(guide.setup, steps=10 * guide.setup.steps)
    here, there = (rule.point(setup, RANGES, OWN) for setup in (guide.setup, longer))
    assert there.lr == here.lr
    assert there.weight_decay == pytest.approx(here.weight_decay / 10, rel=1e-3)


TUNE = TuneConfig(trials=6, costly_trials=2, lr=Range(low=1e-4, high=1e-1))
CHEAP = [tiny_cell(exposures=exposures, tune=TUNE, lr=1e-2) for exposures in (2, 3)]
COSTLY = tiny_cell(exposures=40, tune=TUNE.as_costly(), lr=1e-2)
IDS = tuple(cell.cell_id for cell in CHEAP)
BEFORE = {**dict.fromkeys(IDS), COSTLY.cell_id: IDS}


@pytest.mark.parametrize("trials", [1, 2, 6])
def test_a_costly_cell_begins_at_the_rules_point(trials):
    """Its own point is the second; a single trial is at the rule's, inside of the range."""
    cell = dataclasses.replace(COSTLY, tune=dataclasses.replace(COSTLY.tune, trials=trials))
    start = WarmStart(point=Point(lr=0.5, weight_decay=COSTLY.train.weight_decay), n_steps=7)
    study = CellStudy(cell, n_steps=100, warm_start=start)
    points = [point for _ in range(trials) for point in study.ask(1)]
    assert [point.lr for point in points[:2]] == [0.1, 1e-2][:trials]
    assert {point.weight_decay for point in points} == {COSTLY.train.weight_decay}
    alone = CellStudy(cell, n_steps=100, warm_start=None, has_neighbour=True)
    assert alone.ask(1) == [Point(lr=1e-2, weight_decay=COSTLY.train.weight_decay)]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """An empty run directory."""
    directory = RunDirectory(tmp_path / "run")
    directory.prepare()
    return directory


def finish(run: RunDirectory, cell, best: float) -> None:
    """Make up the trials of a cell, with the largest R at a learning rate."""
    directory = run.cell(cell.cell_id)
    directory.trials_file.unlink(missing_ok=True)
    records = [
        TrialRecord(
            trial=number, lr=lr, weight_decay=0.01, status="ok", bits=1.0,
            capacity_ratio=math.exp(-0.2 * math.log(lr / best) ** 2),
        )
        for number, lr in enumerate((1e-3, 3e-3, 1e-2, 3e-2, 5e-2, 9e-2))
    ]  # fmt: skip
    directory.add_trials(records)
    finish_cell(cell, directory, sweep="made-up")


def test_what_a_costly_cell_began_from_stays(run):
    """It is written down, and read again though the cells below have changed meanwhile."""
    for cell in CHEAP:
        finish(run, cell, best=2e-2)
    found = start_of(COSTLY, IDS, run)
    assert found is not None
    assert found == transferred(COSTLY, IDS, run)
    assert 1e-2 < found.point.lr < 4e-2
    finish(run, CHEAP[0], best=9e-3)
    assert transferred(COSTLY, IDS, run) not in (None, found)
    assert start_of(COSTLY, IDS, run) == found


def test_a_rule_is_fitted_once_for_all_costly_cells(run, monkeypatch):
    """And again when a guide has other trials; without one that has ended there is none."""
    n_fits = 0

    def counted(guides):
        nonlocal n_fits
        n_fits += 1
        return fit_rule(guides)

    monkeypatch.setattr("kcap_ray.execution.transfer.fit_rule", counted)
    finish(run, CHEAP[0], best=2e-2)
    assert transferred(COSTLY, IDS, run) is None
    finish(run, CHEAP[1], best=2e-2)
    found = [transferred(COSTLY, IDS, run) for _ in range(20)]
    assert n_fits == 1 and None not in found and len(set(found)) == 1
    finish(run, CHEAP[0], best=9e-3)
    assert transferred(COSTLY, IDS, run) != found[0] and n_fits == 2


def test_there_is_no_rule_before_all_others_are_over(run):
    """It is of the sweep's cells, not of those that happen to be done: a failed one is over, and
    says nothing.
    """
    finish(run, CHEAP[0], best=2e-2)
    assert transferred(COSTLY, IDS, run) is None
    fail_cell(CHEAP[1], run.cell(IDS[1]), sweep="made-up", reason="the disk was full")
    assert transferred(COSTLY, IDS, run) == transferred(COSTLY, IDS[:1], run) is not None


def test_cells_that_run_one_after_another_leave_the_costly_ones_for_the_end(run):
    """Wherever these stand in the grid."""
    assert to_do([COSTLY, *CHEAP], BEFORE, run) == [*CHEAP, COSTLY]


def test_a_costly_cell_that_began_without_a_rule_begins_anew_when_there_is_one(run):
    """What it found meanwhile is kept aside."""
    for cell in CHEAP:
        fail_cell(cell, run.cell(cell.cell_id), sweep="made-up", reason="the disk was full")
    assert start_of(COSTLY, IDS, run) is None
    run.cell(COSTLY.cell_id).add_trials(
        [TrialRecord(trial=0, lr=1e-2, weight_decay=0.1, status="ok", bits=1.0, capacity_ratio=1.0)]
    )
    assert to_do([*CHEAP, COSTLY], BEFORE, run) == [COSTLY]
    for cell in CHEAP:
        run.cell(cell.cell_id).result_file.unlink()
        finish(run, cell, best=2e-2)
    assert start_of(COSTLY, IDS, run) == transferred(COSTLY, IDS, run) is not None
    assert run.cell(COSTLY.cell_id).trials() == []
    assert (run.cell(COSTLY.cell_id).path / "without_neighbour" / "trials.jsonl").exists()


@pytest.mark.parametrize("batch_windows", [4, 2**18])
@pytest.mark.parametrize("n_first", [1, 2])
def test_a_cell_that_was_costly_goes_on_when_it_has_a_full_study(run, n_first, batch_windows):
    """As with more costly trials: the rule's point, its own, then others, in trial batches of
    several or of one. Its own point is tried whatever came first.
    """
    train = dataclasses.replace(COSTLY.train, batch_windows=batch_windows, steps=50)
    full = dataclasses.replace(COSTLY, tune=TUNE, train=train)
    assert (trial_batch_size(full, spec_of(full)) == 1) == (batch_windows > 4)
    few, five = (
        dataclasses.replace(full, tune=dataclasses.replace(TUNE, costly_trials=n).as_costly())
        for n in (n_first, 5)
    )
    other = RunDirectory(run.path.parent / "other")
    other.prepare()
    for directory, cell in itertools.product((run, other), CHEAP):
        finish(directory, cell, best=5e-2)
    rule, points = transferred(few, IDS, run), points_of(run, few, IDS)
    whole = points_of(run, full, IDS[0])
    assert len(points) == n_first and len(whole) == 6
    assert whole[:n_first] == points
    assert rule is not None and whole[0] == rule.point
    assert whole[1].lr == full.train.lr
    assert len({point.lr for point in whole}) == 6
    assert points_of(other, five, IDS) == whole[:5]


def points_of(run: RunDirectory, cell, before) -> list[Point]:
    """Make up the trials that the cell still needs; all of its points."""
    directory = run.cell(cell.cell_id)
    start = start_of(cell, before, run)
    progress = CellProgress(cell, directory, start, has_neighbour=True)
    while not progress.is_finished:
        first, points = progress.next_round()
        n_done = len(directory.trials()) - first
        records = [
            TrialRecord(
                trial=first + number, lr=point.lr, weight_decay=point.weight_decay,
                status="ok", bits=1.0, capacity_ratio=1.0 / (1 + first + number),
            )
            for number, point in enumerate(points)
        ]  # fmt: skip
        directory.add_trials(records[n_done:])
        progress.tell(first, directory.trials()[first:])
    return [Point(lr=one.lr, weight_decay=one.weight_decay) for one in directory.trials()]


def test_the_rule_is_of_as_many_trials_as_the_sweep_asks_for(run):
    """Further ones, of an earlier run with more, change nothing: no table hangs on what else there
    is in its directory.
    """
    for cell in CHEAP:
        finish(run, cell, best=2e-2)
    before = transferred(COSTLY, IDS, run)
    for name in IDS:
        run.cell(name).add_trials(
            [
                TrialRecord(trial=number, lr=2e-4, weight_decay=0.01, status="ok", bits=1.0,
                            capacity_ratio=3.0)
                for number in (6, 7)
            ]
        )  # fmt: skip
    assert transferred(COSTLY, IDS, run) == before


def test_a_weight_decay_of_zero_pulls_no_rule_out_of_the_range(run):
    """Where another one is searched the own point is tried at the range's end, and the rule is
    expected near that: the best decay, planted at 0.05, is found.
    """
    decays = Range(low=1e-3, high=1e-1)
    tune = dataclasses.replace(TUNE, weight_decay=decays)
    cells = [tiny_cell(exposures=n, tune=tune, lr=1e-2, weight_decay=0.0) for n in (2, 3)]
    best, found = Point(lr=1e-2, weight_decay=0.05), []
    for cell in cells:
        directory = run.cell(cell.cell_id)
        decays_tried = (1e-3, 3e-3, 1e-2, 3e-2, 6e-2, 1e-1)
        directory.add_trials(
            TrialRecord(
                trial=number, lr=best.lr, weight_decay=decay, status="ok", bits=1.0,
                capacity_ratio=math.exp(-0.05 * math.log(decay / best.weight_decay) ** 2),
            )
            for number, decay in enumerate(decays_tried)
        )  # fmt: skip
        finish_cell(cell, directory, sweep="made-up")
        row = directory.result()
        assert row is not None
        found.append(guide_of(row, directory.trials()))
    assert [guide.own.weight_decay for guide in found] == [1e-3, 1e-3]
    rule = fit_rule(found)
    assert rule is not None
    point = rule.point(found[0].setup, cells[0].tune.ranges, Point(lr=1e-2, weight_decay=0.0))
    assert point.weight_decay == pytest.approx(best.weight_decay, rel=0.5)

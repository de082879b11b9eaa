import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcap_ray.config.cell import Cell, Range, TuneConfig
from kcap_ray.execution.search import CellStudy, WarmStart
from kcap_ray.training.point import Point
from tests.tiny import tiny_cell

LR = Range(low=1e-4, high=1e-2)
DECAY = Range(low=1e-3, high=1.0)
OWN = Point(lr=1e-3, weight_decay=0.1)


def searching_cell(
    trials: int = 6, *, seed: int = 0, lr: Range | None = LR, weight_decay: Range | None = DECAY
) -> Cell:
    """A cell whose own point is `OWN`, with several trials."""
    tune = TuneConfig(trials=trials, lr=lr, weight_decay=weight_decay)
    return tiny_cell(tune=tune, seed=seed, lr=OWN.lr, weight_decay=OWN.weight_decay)


def ratio_of(point: Point) -> float:
    """A stand-in for training: best at lr 3e-3 and weight decay 0.02."""
    return 2.0 - abs(point.lr / 3e-3 - 1) - abs(point.weight_decay / 0.02 - 1)


def run_study(
    cell: Cell,
    *,
    warm_start: WarmStart | None = None,
    at_once: int = 1,
    result: Callable[[Point], float | None] = ratio_of,
) -> list[Point]:
    """All points of a cell, asked for in groups and told in groups."""
    study = CellStudy(cell, n_steps=100, warm_start=warm_start, trial_batch_size=at_once)
    points: list[Point] = []
    while not study.is_exhausted:
        asked = study.ask(at_once)
        study.tell(len(points), [result(point) for point in asked])
        points += asked
    return points


@pytest.mark.parametrize("at_once", [1, 3, 4])
def test_first_point_is_the_cells_own_and_second_the_neighbours(at_once: int) -> None:
    """The neighbour's weight decay is carried over to the steps of this cell: 0.2 * 50 / 100."""
    warm_start = WarmStart(point=Point(lr=2e-3, weight_decay=0.2), n_steps=50)
    points = run_study(searching_cell(), warm_start=warm_start, at_once=at_once)
    assert points[0] == OWN
    assert points[1] == Point(lr=2e-3, weight_decay=0.1)
    assert len(points) == 6


def test_points_outside_of_the_ranges_are_brought_to_their_ends() -> None:
    """The own point and the neighbour's are clipped; nothing outside of a range is ever tried."""
    warm_start = WarmStart(point=Point(lr=1.0, weight_decay=50.0), n_steps=1_000)
    low = Range(low=2e-3, high=4e-3)
    points = run_study(searching_cell(lr=low), warm_start=warm_start)
    assert points[0] == Point(lr=2e-3, weight_decay=0.1)
    assert points[1] == Point(lr=4e-3, weight_decay=1.0)
    assert all(low.low <= p.lr <= low.high for p in points)
    assert all(DECAY.low <= p.weight_decay <= DECAY.high for p in points)


@pytest.mark.parametrize("warm_start", [None, WarmStart(point=OWN, n_steps=200)])
@pytest.mark.parametrize("at_once", [1, 3])
def test_equal_studies_ask_for_equal_points(warm_start: WarmStart | None, at_once: int) -> None:
    """Points follow from the cell, the warm start and the results; another model is searched
    elsewhere, and other weights of the same one at the same points.
    """
    points = run_study(searching_cell(), warm_start=warm_start, at_once=at_once)
    assert run_study(searching_cell(), warm_start=warm_start, at_once=at_once) == points
    assert run_study(searching_cell(seed=1), warm_start=warm_start, at_once=at_once) == points
    other = dataclasses.replace(searching_cell().model, name="gpt2-2-1")
    cell = dataclasses.replace(searching_cell(), model=other)
    assert run_study(cell, warm_start=warm_start, at_once=at_once) != points


@pytest.mark.slow
@pytest.mark.parametrize("trial_batch_size", [1, 2, 4, 8])
@pytest.mark.parametrize("first", [2, 3, 6])
def test_trials_are_a_sequence(trial_batch_size: int, first: int) -> None:
    """More trials after some are those that as many would have been from the start, however many
    are asked for at once; so they do not depend on where a cell runs, either.
    """

    def points_of(trials: int, at_once: int, told: list[Point]) -> list[Point]:
        study = CellStudy(
            searching_cell(trials), n_steps=100, warm_start=None, trial_batch_size=trial_batch_size
        )
        points: list[Point] = []
        while not study.is_exhausted:
            asked = study.ask(at_once if len(points) >= len(told) else len(told) - len(points))
            study.tell(len(points), [ratio_of(point) for point in asked], asked)
            points += asked
        return points

    whole = points_of(10, 8, [])
    for at_once in (1, 3):
        some = points_of(first, at_once, [])
        assert some == whole[:first]
        assert points_of(10, at_once, some) == whole


def near(a: Point, b: Point) -> bool:
    """Whether both hyperparameters are within a tenth of each other."""
    pairs = ((a.lr, b.lr), (a.weight_decay, b.weight_decay))
    return all(max(pair) < 1.1 * min(pair) for pair in pairs)


@pytest.mark.parametrize("round_size", [1, 3, 8])
@pytest.mark.parametrize("best_before", [None, OWN, Point(lr=1.05e-3, weight_decay=0.095)])
def test_no_trial_is_near_another(round_size: int, best_before: Point | None) -> None:
    """Not even where the neighbour's best is the own point, or where the search closes in on the
    best: twelve trials are twelve points.
    """
    warm_start = None if best_before is None else WarmStart(point=best_before, n_steps=100)
    points = run_study(searching_cell(12), warm_start=warm_start, at_once=round_size)
    close = [(a, b) for i, a in enumerate(points) for b in points[:i] if near(a, b)]
    assert points[0] == OWN and len(points) == 12
    assert close == []


def test_a_range_without_room_is_searched_all_the_same() -> None:
    """Its points lie as far apart as it lets them: none comes twice."""
    narrow = Range(low=1e-3, high=1.05e-3)
    points = run_study(searching_cell(6, lr=narrow, weight_decay=None))
    assert len(set(points)) == 6
    still = Range(low=1e-3, high=1e-3)
    assert len(run_study(searching_cell(3, lr=still, weight_decay=None))) == 3


def test_results_at_other_points_are_learnt_from_as_they_are() -> None:
    """Another version asked for other points: what comes next follows from what was found there."""
    lower = Point(lr=2e-4, weight_decay=0.02)

    def sixth(told: Point | None) -> Point:
        study = CellStudy(searching_cell(6), n_steps=100, warm_start=None)
        for index in range(5):
            (asked,) = study.ask(1)
            at = asked if told is None else told
            study.tell(index, [ratio_of(at)], [at])
        return study.ask(1)[0]

    assert sixth(None) != sixth(lower) == sixth(lower)


@settings(deadline=None, max_examples=10)
@given(n_samples=st.integers(0, 7), at_once=st.integers(1, 3))
def test_a_study_that_is_told_again_goes_on_as_before(n_samples: int, at_once: int) -> None:
    """A new study that is told the first results asks for the same point next."""
    cell = searching_cell(8)
    whole = run_study(cell, at_once=at_once)
    told = dict(zip(whole, map(ratio_of, whole), strict=True))
    study = CellStudy(cell, n_steps=100, warm_start=None, trial_batch_size=at_once)
    while study.n_asked < n_samples:
        first = study.n_asked
        study.tell(first, [told[point] for point in study.ask(at_once)])
    first = study.n_asked
    assert study.ask(at_once) == whole[first : first + at_once]


def test_results_change_what_is_asked_for_next() -> None:
    """The search learns: with other results the later points are others, the first ones not."""
    cell = searching_cell(8)
    good = run_study(cell)
    bad = run_study(cell, result=lambda point: -ratio_of(point))
    assert good[:2] == bad[:2]
    assert good != bad


def test_a_trial_without_a_result_does_not_stop_the_search() -> None:
    """Diverged trials are told as None, all of them if need be."""
    points = run_study(searching_cell(), result=lambda point: None, at_once=2)
    assert len(points) == 6


@pytest.mark.parametrize(("searched", "kept"), [("lr", "weight_decay"), ("weight_decay", "lr")])
def test_what_has_no_range_stays_the_cells_own(searched: str, kept: str) -> None:
    """Only what has a range is searched, from the neighbour's point too."""
    ranges = {"lr": LR, "weight_decay": DECAY, kept: None}
    warm_start = WarmStart(point=Point(lr=2e-3, weight_decay=0.2), n_steps=100)
    points = run_study(searching_cell(**ranges), warm_start=warm_start)
    assert {getattr(point, kept) for point in points} == {getattr(OWN, kept)}
    assert len({getattr(point, searched) for point in points}) > 2


def test_a_single_trial_is_the_cells_own_point() -> None:
    """Without a search the paper's values are used as they are, whatever the neighbour found."""
    cell = tiny_cell(tune=TuneConfig(lr=Range(low=1.0, high=2.0)), lr=1e-3, weight_decay=0.1)
    warm_start = WarmStart(point=Point(lr=2e-3, weight_decay=0.2), n_steps=100)
    assert run_study(cell, warm_start=warm_start, at_once=8) == [OWN]

"""The schedule: what waits for what, what comes first, and on how many devices."""

import itertools
from dataclasses import replace

import pytest

from kcap_ray.planning.jobs import N_FIRST_POINTS, Job
from kcap_ray.planning.schedule import Order, Schedule, Start


def job(name: str, *, hours: float = 1.0, trials: int = 6, **more) -> Job:
    """A cell of single-trial programs of so many hours, shared evenly by its devices."""
    return Job(cell_id=name, n_trials=trials, seconds=lambda n, w: 3600 * hours * n / w, **more)


def started(schedule: Schedule, free: float = 99.0) -> list[Start]:
    """All that can start on so many devices."""
    found = []
    while (start := schedule.next(free)) is not None:
        free -= start.devices
        found.append(start)
    return found


def end(schedule: Schedule, starts: list[Start]) -> None:
    """All of these are done."""
    for start in starts:
        schedule.finished(start.cell_id, start.first_trial, start.n_trials)


def test_only_the_neighbours_point_and_what_the_search_proposes_wait():
    """Own point and spread ones start at once; the neighbour's best when that has ended; the fifth
    and the sixth one after the other.
    """
    schedule = Schedule([job("a"), job("b", neighbour="a")])
    first = started(schedule)
    assert sorted((s.cell_id, s.first_trial) for s in first) == [
        *(("a", i) for i in range(N_FIRST_POINTS)),
        ("b", 0),
        ("b", 2),
        ("b", 3),
    ]
    end(schedule, first)
    for trial in (4, 5):
        (one,) = started(schedule)
        assert (one.cell_id, one.first_trial) == ("a", trial)
        end(schedule, [one])
    for trial in (1, 4, 5):
        (one,) = started(schedule)
        assert (one.cell_id, one.first_trial) == ("b", trial)
        assert not schedule.is_empty
        end(schedule, [one])
    assert schedule.is_empty and schedule.is_over("b")


def test_fused_trials_wait_for_the_neighbour_as_one():
    """A batch that holds its best point; in parts, only that part, and what the search proposes."""
    whole = job("b", neighbour="a", trials=8, batch_trials=8, program_trials=8)
    assert whole.programs() == [(0, 8)] and whole.waits_for_neighbour(0, 8)
    parts = job("b", neighbour="a", trials=8, batch_trials=8, program_trials=2)
    assert [parts.waits_for_neighbour(*one) for one in parts.programs()] == [
        True,
        False,
        True,
        True,
    ]
    assert all(parts.trials_before(*one) == 0 for one in parts.programs())


def test_runs_after_the_search_wait_for_it():
    """Beyond the edges one after the other, fresh seeds all at once."""
    schedule = Schedule([job("a", trials=1, n_widen=2, n_confirm=3)])
    for expected in ([0], [1], [2], [3, 4, 5]):
        starts = started(schedule)
        assert [s.first_trial for s in starts] == expected
        end(schedule, starts)
    assert schedule.is_over("a")


def test_what_is_not_to_be_run_is_counted_as_done():
    """Fewer trials beyond the edges than planned: the fresh seeds start; a cell can end so."""
    schedule = Schedule([job("a", trials=1, n_widen=2, n_confirm=1)])
    end(schedule, started(schedule))
    schedule.already_done("a", [1, 2])
    assert [s.first_trial for s in started(schedule)] == [3]
    schedule = Schedule([job("a", trials=1), job("b", neighbour="a", trials=2)])
    schedule.already_done("a", [0])
    assert schedule.is_over("a")
    assert sorted(s.first_trial for s in started(schedule)) == [0, 1]


def test_the_longest_remaining_path_starts_first_and_an_order_can_be_asked_for():
    """A cheap cell that a dear one waits for comes before one that nobody waits for."""
    jobs = [
        job("dear", hours=9, neighbour="first", trials=2, column=1),
        job("alone", hours=2, trials=1, column=0),
        job("first", hours=1, trials=1, column=2),
    ]

    def order(name: Order) -> list[str]:
        schedule, seen = Schedule(jobs, order=name), []
        while not schedule.is_empty:
            start = schedule.next(1.0)
            assert start is not None
            seen.append(start.cell_id)
            end(schedule, [start])
        return seen

    assert order("longest") == ["first", "dear", "dear", "alone"]
    assert order("cheapest") == ["first", "alone", "dear", "dear"]
    assert order("column") == ["alone", "dear", "first", "dear"]


def test_a_chain_that_is_longer_than_the_sweep_gets_more_devices():
    """Until it is no longer; cells that do not limit it stay on one device each."""
    widths = (1, 2, 4, 8)
    jobs = [job("long", hours=100, widths=widths)]
    jobs += [job(f"c{i}", hours=1, trials=1, widths=widths) for i in range(100)]
    schedule = Schedule(jobs, n_devices=16)
    assert schedule.width("long") == 8
    assert {schedule.width(f"c{i}") for i in range(100)} == {1}
    short = [job("long", hours=20, widths=widths), *jobs[1:]]
    assert Schedule(short, n_devices=2).width("long") == 1
    assert Schedule(jobs[1:], n_devices=16).width("c0") == 1


def test_idle_devices_are_given_to_what_starts():
    """As many as are left over, where that shortens the program."""
    alone = Schedule([job("a", trials=1, widths=(1, 2, 4, 8))], n_devices=7)
    (start,) = started(alone, free=7)
    assert (start.workers, start.devices) == (4, 4.0)
    stubborn = Job(cell_id="a", n_trials=1, seconds=lambda n, w: 10.0, widths=(1, 2, 4))
    (start,) = started(Schedule([stubborn], n_devices=7), free=7)
    assert start.workers == 1


def test_a_program_waits_for_its_devices_and_makes_do_with_fewer_at_last():
    """Nothing overtakes it meanwhile; where there are no more of them, it starts all the same."""
    jobs = [job("wide", trials=1, widths=(4,)), job("b", hours=0.1, trials=2)]
    schedule = Schedule(jobs, n_devices=4)
    (wide,) = started(schedule, free=4)
    assert (wide.cell_id, wide.workers) == ("wide", 4)
    schedule = Schedule([job("a", hours=9, trials=1), *jobs], n_devices=4)
    (first,) = started(schedule, free=4)
    assert first.cell_id == "a"
    end(schedule, [first])
    lost = schedule.next(2.0)
    assert lost is not None and (lost.workers, lost.devices) == (4, 2)


def test_shares_of_a_device_add_up():
    """Ten programs of a tenth fit on one device."""
    schedule = Schedule([job(f"c{i}", trials=1, share=0.1) for i in range(11)])
    assert len(started(schedule, free=1.0)) == 10


def test_no_cell_is_begun_that_does_not_end_in_time():
    """By its planned times, as far off as those of the programs that have ended."""
    jobs = [job("a", hours=1, trials=1), job("b", hours=3, trials=1)]
    schedule = Schedule(jobs, order="cheapest")
    start = schedule.next(1.0, left_s=2 * 3600)
    assert start is not None and start.cell_id == "a"
    schedule.measured(start, 1800.0)
    end(schedule, [start])
    late = schedule.next(1.0, left_s=2 * 3600)
    assert late is not None and late.cell_id == "b"
    schedule = Schedule(jobs, order="cheapest")
    start = schedule.next(1.0, left_s=2 * 3600)
    assert start is not None
    end(schedule, [start])
    assert schedule.next(1.0, left_s=3600) is None
    assert schedule.is_empty and schedule.n_dropped == 1 and not schedule.is_over("b")


@pytest.mark.parametrize("fails", [0, 2])
def test_a_cell_that_fails_ends_with_its_last_program(fails):
    """Its others run to their end; who waited for it goes on."""
    schedule = Schedule([job("a", trials=4), job("b", neighbour="a", trials=2)])
    starts = [s for s in started(schedule) if s.cell_id == "a"]
    for index, start in enumerate(starts):
        assert not schedule.is_over("a")
        if index == fails:
            schedule.failed("a")
        else:
            end(schedule, [start])
    assert schedule.is_over("a")
    assert [(s.cell_id, s.first_trial) for s in started(schedule)] == [("b", 1)]


def test_every_program_runs_once_in_any_order():
    """Whatever is done of a sweep at its start."""
    for done in itertools.combinations(range(6), 2):
        schedule = Schedule([job("a"), job("b", neighbour="a")])
        schedule.already_done("a", done)
        seen = []
        while not schedule.is_empty:
            starts = started(schedule)
            assert starts
            seen += [(s.cell_id, s.first_trial) for s in starts]
            end(schedule, starts)
        assert sorted(seen) == sorted(
            [("a", i) for i in range(6) if i not in done] + [("b", i) for i in range(6)]
        )


def test_workers_beyond_the_cluster_take_the_time_of_those_that_there_are():
    """Eight asked for on four devices train as four do, and half as fast on two that are left."""
    schedule = Schedule([job("a", hours=8, trials=2, widths=(8,))], n_devices=4)
    start = schedule.next(4.0)
    assert start is not None and (start.workers, start.devices) == (8, 4.0)
    assert schedule.seconds(start) == 2 * 3600
    assert schedule.seconds(start, devices=2.0) == 4 * 3600
    assert schedule.longest_chain() == ("a", 2 * 3600)


def test_planning_takes_time_that_grows_as_the_cells_do():
    """Also where half of them wait for the other half: no cell is asked for its programs' times
    more than a hundred times.
    """
    n_asked = 0

    def seconds(n_trials: int, workers: int) -> float:
        nonlocal n_asked
        n_asked += 1
        return 100.0 * n_trials / workers

    n_cells, widths = 1000, (1, 2, 4, 8)
    names = tuple(f"c{i}" for i in range(n_cells // 2))
    cells = [Job(cell_id=name, n_trials=2, seconds=seconds, widths=widths) for name in names]
    cells += [
        Job(cell_id=f"d{i}", n_trials=2, seconds=seconds, widths=widths, neighbour=names)
        for i in range(n_cells // 2)
    ]
    cells = [replace(one, waits_whole=one.neighbour is not None) for one in cells]
    schedule = Schedule(cells, n_devices=64)
    schedule.longest_chain()
    assert n_asked <= 100 * n_cells
    ended = []
    while not schedule.is_empty:
        starts = started(schedule, free=64.0)
        end(schedule, starts)
        ended += [start.cell_id for start in starts]
    assert ended.index("d0") > max(map(ended.index, names)) and len(ended) == 2 * n_cells


def test_a_chain_of_thousands_of_cells_is_planned():
    """Each waits for the one before it; the first one's path is that of all."""
    chain = [job("c0", trials=1)]
    chain += [job(f"c{i}", trials=2, neighbour=f"c{i - 1}") for i in range(1, 3000)]
    cell_id, seconds = Schedule(chain, order="cheapest").longest_chain()
    assert (cell_id, seconds) == ("c2999", 3000 * 3600)


def test_a_cell_that_could_end_on_more_devices_is_begun():
    """Its own width is not the fastest one; what takes too long on any is left out as a whole."""
    jobs = [job("a", hours=8, trials=2, widths=(1, 2, 4, 8)), job("b", hours=9, trials=2)]
    schedule = Schedule(jobs)
    starts = []
    while (start := schedule.next(9.0, left_s=1.5 * 3600)) is not None:
        starts.append(start)
    assert {start.cell_id for start in starts} == {"a"}
    assert schedule.n_dropped == 1
    end(schedule, starts)
    assert schedule.is_empty and schedule.is_over("a") and not schedule.is_over("b")

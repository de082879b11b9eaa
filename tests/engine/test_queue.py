"""The queue: which programs run does not depend on how many run at a time, or on who is first."""

import dataclasses

import pytest

from kcap_ray.config.cell import Range, TuneConfig
from kcap_ray.engine.queue import SweepQueue
from kcap_ray.engine.view import ClusterView
from kcap_ray.execution.ahead import ahead_of
from kcap_ray.planning.run_length import spec_of, trial_batch_size
from kcap_ray.runs.results import RunDirectory
from tests.engine.machines import CELLS, IDS, NEIGHBOUR, TUNE, Machines
from tests.tiny import tiny_cell

# Each trial of these is a program of its own, as those of large models are.
LARGE_TUNE = TuneConfig(
    trials=6, lr=Range(low=1e-4, high=1e-1), weight_decay=Range(low=1e-3, high=1.0)
)
LARGE = [
    tiny_cell(model="gpt2-2-6", batch_windows=16_384, steps=steps, tune=LARGE_TUNE)
    for steps in (100, 700, 4000)
]
LARGE_IDS = [cell.cell_id for cell in LARGE]
CHAIN = dict(zip(LARGE_IDS, [None, *LARGE_IDS], strict=False))


@pytest.mark.slow
@pytest.mark.parametrize("n_slots", [2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_programs_do_not_depend_on_what_runs_beside_them(tmp_path, n_slots, seed):
    """Any number of machines, and any order in which they finish, gives the same programs."""
    alone = Machines(tmp_path / "alone")
    several = Machines(tmp_path / "several", n_slots=n_slots, seed=seed)
    assert alone.run() == several.run()
    assert sorted(alone.programs) == sorted(several.programs)
    assert len(alone.programs) == 2 * len(CELLS)


@pytest.mark.parametrize("n_before", range(6))
def test_restarted_queue_asks_for_what_is_left(tmp_path, n_before):
    """After any number of programs a new queue on the same directory completes the same rows."""
    expected = Machines(tmp_path / "undisturbed").run()
    killed = Machines(tmp_path / "killed", n_slots=2)
    killed.run(at_most=n_before)
    assert killed.run() == expected
    assert len(killed.programs) == 2 * len(CELLS)


CONFIRMED = [
    dataclasses.replace(cell, tune=dataclasses.replace(TUNE, confirm_seeds=3, widen=2))
    for cell in CELLS
]


def confirmed(path, **options):
    """Machines for cells with fresh seeds and trials beyond the edges."""
    machines = Machines(path, **options)
    machines.cells = CONFIRMED
    return machines


@pytest.mark.parametrize("seed", range(3))
def test_fresh_seeds_run_side_by_side_and_change_nothing(tmp_path, seed):
    """All of a cell's at once, also in the last one; any order of their ends gives the same."""
    alone, several = confirmed(tmp_path / "a"), confirmed(tmp_path / "b", n_slots=9, seed=seed)
    rows = alone.run()
    assert rows == several.run()
    assert sorted(alone.programs) == sorted(several.programs)
    assert several.most_running >= 3
    assert {row.n_confirm_seeds for row in rows.values()} == {3}


@pytest.mark.slow
@pytest.mark.parametrize("n_before", range(6, 18, 2))
def test_restarted_queue_trains_no_fresh_seed_twice(tmp_path, n_before):
    """After any number of programs a new queue completes the same rows with what is left."""
    whole = confirmed(tmp_path / "undisturbed")
    expected = whole.run()
    killed = confirmed(tmp_path / "killed", n_slots=4)
    killed.run(at_most=n_before)
    assert killed.run() == expected
    assert len(killed.programs) == len(whole.programs)


def test_a_failed_fresh_seed_fails_its_cell_and_comes_again(tmp_path):
    """With the reason; the seeds that were done are kept."""
    whole = confirmed(tmp_path / "undisturbed")
    expected = whole.run()
    parts = [part for cell_id, *_, part in whole.programs if cell_id == IDS[2] and "seed" in part]
    failing = confirmed(tmp_path / "failing", n_slots=3, fails=[(IDS[2], parts[1])])
    rows = failing.run()
    assert {rows[IDS[2]].status, rows[IDS[2]].reason} == {"failed", "it broke"}
    failing.fails = []
    failing.directory.cell(IDS[2]).result_file.unlink()
    assert failing.run() == expected


def test_failed_cell_is_recorded_and_others_finish(tmp_path):
    """A failed program fails its cell, with the reason; the cells after it run without its hint."""
    rows = Machines(tmp_path, fails=[IDS[0]]).run()
    assert [rows[cell_id].status for cell_id in IDS] == ["failed", "ok", "ok"]
    assert rows[IDS[0]].reason == "it broke"


def test_second_point_is_the_best_of_the_neighbour(tmp_path):
    """Its program waits for the neighbour, and then tries the point that was best there."""
    # Of another rate than the neighbour's own, which was best there: the same is not tried twice.
    cells = [CELLS[0], tiny_cell(exposures=4, tune=TUNE, lr=2e-2)]
    first_id, second_id = (cell.cell_id for cell in cells)
    neighbour = {first_id: None, second_id: first_id}
    machines = Machines(tmp_path, n_slots=3, cells=cells, neighbour=neighbour)
    best = machines.run()[first_id].lr
    points = {(cell_id, first): points for cell_id, first, points, _ in machines.programs}
    assert points[second_id, 0][1].lr == best
    order = [(cell_id, first) for cell_id, first, *_ in machines.programs]
    assert order.index((second_id, 0)) == len(order) - 1, "all else waits for nothing"


def test_longest_cell_starts_first(tmp_path):
    """So that no long cell is left to run alone at the end."""
    queue = SweepQueue(CELLS, {}, RunDirectory(tmp_path), sweep="made-up")
    program = queue.next_program()
    assert program is not None and program.cell == CELLS[2]


def test_cell_whose_ledger_cannot_be_read_is_trained_again(tmp_path):
    """From the first trial that cannot be read on; the rows are those of an undisturbed run."""
    expected = Machines(tmp_path / "whole").run()
    machines = Machines(tmp_path / "run")
    broken = machines.directory.cell(IDS[1]).trials_file
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    assert machines.run() == expected


def test_a_cell_of_one_trial_waits_for_nobody(tmp_path):
    """It tries its own point, whatever was best next to it."""
    cells = [tiny_cell(exposures=exposures) for exposures in (2, 4)]
    neighbour = {cells[0].cell_id: None, cells[1].cell_id: cells[0].cell_id}
    queue = SweepQueue(cells, neighbour, RunDirectory(tmp_path), sweep="made-up")
    started = [queue.next_program(), queue.next_program()]
    assert {program.cell for program in started if program} == set(cells)


def test_the_cells_of_the_tests_are_large():
    """A step of theirs is too much work to be fused."""
    assert all(trial_batch_size(cell, spec_of(cell)) == 1 for cell in LARGE)


@pytest.mark.slow
@pytest.mark.parametrize("n_slots", [2, 8])
def test_trials_that_wait_for_no_result_run_concurrently(tmp_path, n_slots):
    """And the table, the trials in it and their order are those of one machine."""
    alone = Machines(tmp_path / "alone", cells=LARGE, neighbour=CHAIN)
    several = Machines(tmp_path / "several", cells=LARGE, neighbour=CHAIN, n_slots=n_slots, seed=3)
    assert alone.run() == several.run()
    assert sorted(alone.programs) == sorted(several.programs)
    for cell_id in LARGE_IDS:
        one, other = (machines.directory.cell(cell_id) for machines in (alone, several))
        assert one.trials() == other.trials()
        assert [trial.trial for trial in other.trials()] == list(range(6))
        assert not other.parts()
        for trial in other.trials():
            assert float(other.curve_file(trial.trial).read_text()) == trial.lr
    first_end = [cell_id for cell_id, *_ in several.programs].index(LARGE_IDS[2])
    last_of_neighbour = max(
        i for i, (cell_id, *_) in enumerate(several.programs) if cell_id == LARGE_IDS[1]
    )
    assert first_end < last_of_neighbour or n_slots == 2


@pytest.mark.slow
@pytest.mark.parametrize("n_before", [4, 11])
def test_a_killed_queue_takes_up_what_ran_ahead(tmp_path, n_before):
    """No trial is run twice, whatever was done before earlier ones."""
    expected = Machines(tmp_path / "undisturbed", cells=LARGE, neighbour=CHAIN).run()
    killed = Machines(tmp_path / "killed", cells=LARGE, neighbour=CHAIN, n_slots=5, seed=n_before)
    killed.run(at_most=n_before)
    assert killed.run() == expected
    assert len(killed.programs) == 6 * len(LARGE)


def test_a_program_that_ran_ahead_is_taken_in_though_killed_on_the_way(tmp_path):
    """Its trials are in the ledger, and its place was not yet removed: they count once."""
    machines = Machines(tmp_path, cells=LARGE, neighbour=CHAIN, n_slots=4)
    machines.run(at_most=6)
    directory = machines.directory.cell(LARGE_IDS[0])
    done = directory.trials()
    ahead_of(directory, 0).add_trials(done[:1])
    rows = machines.run()
    assert rows[LARGE_IDS[0]].n_trials == 6
    assert directory.trials()[: len(done)] == done


def test_one_failure_fails_a_cell_when_its_other_programs_have_ended(tmp_path):
    """What they have trained stays, for the next command."""
    machines = Machines(
        tmp_path, cells=LARGE, neighbour=CHAIN, n_slots=8, fails=[LARGE_IDS[2]], seed=1
    )
    rows = machines.run()
    assert [rows[cell_id].status for cell_id in LARGE_IDS] == ["ok", "ok", "failed"]
    assert sum(cell_id == LARGE_IDS[2] for cell_id, *_ in machines.programs) <= 4


def test_a_queue_hands_out_no_more_than_there_are_devices(tmp_path):
    """Whatever the programs take of them."""
    view = ClusterView(n_devices=lambda: 2.5, share=lambda _: 0.5)
    directory = RunDirectory(tmp_path)
    queue = SweepQueue(LARGE, {}, directory, sweep="made-up", view=view)
    started = [queue.next_program() for _ in range(6)]
    assert [program is not None for program in started] == [True] * 5 + [False]


def test_idle_devices_make_programs_data_parallel(tmp_path):
    """Where there are more devices than programs, and the run is long enough."""
    view = ClusterView(n_devices=lambda: 64.0, max_width=8)
    long = dataclasses.replace(LARGE[2], train=dataclasses.replace(LARGE[2].train, steps=10**6))
    queue = SweepQueue([long], {}, RunDirectory(tmp_path), sweep="made-up", view=view)
    started = [queue.next_program() for _ in range(4)]
    assert {program.workers for program in started if program} == {8}
    assert queue.next_program() is None


def test_a_queue_knows_whether_it_spreads_programs(tmp_path):
    """Then Tune keeps no idle worker, which would hold a device that others wait for."""
    wide, narrow = tiny_cell(workers=2), tiny_cell(workers=1)

    def spreads(*cells, max_width=1):
        view = ClusterView(max_width=max_width)
        return SweepQueue(cells, {}, RunDirectory(tmp_path), sweep="made-up", view=view).spreads

    assert spreads(narrow, wide)
    assert not spreads(narrow, max_width=8)
    automatic = tiny_cell(workers="auto", batch_windows=8)
    assert spreads(automatic, max_width=8)
    assert not spreads(automatic, max_width=1)


def test_no_cell_is_begun_that_would_not_end_in_time(tmp_path):
    """The queue is empty then, and says that it has left something out."""
    view = ClusterView(left_s=lambda: 0.0)
    queue = SweepQueue(CELLS, NEIGHBOUR, RunDirectory(tmp_path), sweep="made-up", view=view)
    assert queue.next_program() is None
    assert queue.is_empty and queue.has_dropped


def test_a_lost_program_is_handed_out_again_at_once_where_its_node_is_replaced(tmp_path):
    """As `kcap simulate` has it; on a cluster that is smaller now, when its devices are free."""
    n_devices = 4.0
    cells = [tiny_cell(workers=2), tiny_cell(workers=2, exposures=8)]
    view = ClusterView(n_devices=lambda: n_devices)
    queue = SweepQueue(cells, {}, RunDirectory(tmp_path), sweep="made-up", view=view)
    lost, other = queue.next_program(), queue.next_program()
    assert lost is not None and other is not None and queue.next_program() is None
    queue.give_back(lost)
    assert queue.next_program() is lost
    queue.give_back(lost)
    n_devices = 3.0
    assert queue.next_program() is None
    n_devices = 4.0
    assert queue.next_program() is lost

"""The queue: which programs run does not depend on how many run at a time, or on who is first."""

import dataclasses
import random
from typing import Any

import pytest

from kcap_ray.config.cell import Range, TuneConfig
from kcap_ray.engine.queue import SweepQueue
from kcap_ray.runs.record import TrialRecord
from kcap_ray.runs.results import RunDirectory
from tests.tiny import tiny_cell

TUNE = TuneConfig(trials=3, fused=2, lr=Range(low=1e-4, high=1e-1))
CELLS = [tiny_cell(exposures=exposures, tune=TUNE) for exposures in (2, 4, 8)]
IDS = [cell.cell_id for cell in CELLS]
NEIGHBOUR = {IDS[0]: None, IDS[1]: IDS[0], IDS[2]: None}


def records(program):
    """Made-up results, which depend on the program alone: a small learning rate is best."""
    return [
        TrialRecord(
            trial=program.first_trial + index,
            lr=point.lr,
            weight_decay=point.weight_decay,
            status="ok",
            bits=(1 + program.trained_cell.seed) / point.lr,
            capacity_ratio=(1 + program.trained_cell.seed) / point.lr,
        )
        for index, point in enumerate(program.points)
    ]


class Machines:
    """Runs a queue's programs, some at a time, each ending when chance will have it."""

    def __init__(self, path, *, n_slots=1, seed=0, fails=()):
        self.directory = RunDirectory(path)
        self.directory.prepare()
        self.n_slots, self.fails = n_slots, fails
        self.cells, self.most_running = CELLS, 0
        self.chance = random.Random(seed)
        self.programs = []

    def run(self, *, at_most=100) -> dict[str, Any]:
        """Run until the queue is empty, or `at_most` programs have ended; the others are lost."""
        queue = SweepQueue(self.cells, NEIGHBOUR, self.directory, sweep="made-up")
        running = []
        while not queue.is_empty and at_most:
            while len(running) < self.n_slots and (program := queue.next_program()):
                running.append(program)
            self.most_running = max(self.most_running, len(running))
            if not running:
                assert queue.is_empty, "nothing runs, and nothing can start"
                break
            program = running.pop(self.chance.randrange(len(running)))
            self._end(queue, program)
            at_most -= 1
        return {cell.cell_id: self.directory.cell(cell.cell_id).result() for cell in self.cells}

    def _end(self, queue, program):
        cell_id = program.cell.cell_id
        part = program.part.name if program.part else ""
        self.programs.append((cell_id, program.first_trial, tuple(program.points), part))
        if cell_id in self.fails or part in self.fails:
            queue.finished(program, "it broke")
            return
        program.place(self.directory).add_trials(records(program))
        queue.finished(program, None)


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
    failing = confirmed(tmp_path / "failing", n_slots=3, fails=[parts[1]])
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
    """A cell waits for its neighbour, and then tries the point that was best there."""
    machines = Machines(tmp_path, n_slots=3)
    best = machines.run()[IDS[0]].lr
    points = {(cell_id, first): points for cell_id, first, points, _ in machines.programs}
    assert points[IDS[1], 0][1].lr == best
    order = [cell_id for cell_id, *_ in machines.programs]
    assert max(i for i, cell_id in enumerate(order) if cell_id == IDS[0]) < order.index(IDS[1])


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

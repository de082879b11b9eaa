"""The queue: which programs run does not depend on how many run at a time, or on who is first."""

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
            bits=1 / point.lr,
            capacity_ratio=1 / point.lr,
        )
        for index, point in enumerate(program.points)
    ]


class Machines:
    """Runs a queue's programs, some at a time, each ending when chance will have it."""

    def __init__(self, path, *, n_slots=1, seed=0, fails=()):
        self.directory = RunDirectory(path)
        self.directory.prepare()
        self.n_slots, self.fails = n_slots, fails
        self.chance = random.Random(seed)
        self.programs = []

    def run(self, *, at_most=100) -> dict[str, Any]:
        """Run until the queue is empty, or `at_most` programs have ended; the others are lost."""
        queue = SweepQueue(CELLS, NEIGHBOUR, self.directory, sweep="made-up")
        running = []
        while not queue.is_empty and at_most:
            while len(running) < self.n_slots and (program := queue.next_program()):
                running.append(program)
            if not running:
                assert queue.is_empty, "nothing runs, and nothing can start"
                break
            program = running.pop(self.chance.randrange(len(running)))
            self._end(queue, program)
            at_most -= 1
        return {cell.cell_id: self.directory.cell(cell.cell_id).result() for cell in CELLS}

    def _end(self, queue, program):
        cell_id = program.cell.cell_id
        self.programs.append((cell_id, program.first_trial, tuple(program.points)))
        if cell_id in self.fails:
            queue.finished(program, "it broke")
            return
        self.directory.cell(cell_id).add_trials(records(program))
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


def test_failed_cell_is_recorded_and_others_finish(tmp_path):
    """A failed program fails its cell, with the reason; the cells after it run without its hint."""
    rows = Machines(tmp_path, fails=[IDS[0]]).run()
    assert [rows[cell_id].status for cell_id in IDS] == ["failed", "ok", "ok"]
    assert rows[IDS[0]].reason == "it broke"


def test_second_point_is_the_best_of_the_neighbour(tmp_path):
    """A cell waits for its neighbour, and then tries the point that was best there."""
    machines = Machines(tmp_path, n_slots=3)
    best = machines.run()[IDS[0]].lr
    points = {(cell_id, first): points for cell_id, first, points in machines.programs}
    assert points[IDS[1], 0][1].lr == best
    order = [cell_id for cell_id, _, _ in machines.programs]
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

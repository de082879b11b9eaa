"""Machines that end a queue's programs at once, with made-up results."""

import random
from typing import Any

from kcap_ray.config.cell import Cell, Range, TuneConfig
from kcap_ray.engine.program import Program
from kcap_ray.engine.queue import SweepQueue
from kcap_ray.runs.record import TrialRecord
from kcap_ray.runs.results import RunDirectory
from tests.tiny import tiny_cell

TUNE = TuneConfig(trials=3, fused=2, lr=Range(low=1e-4, high=1e-1))
CELLS = [tiny_cell(exposures=exposures, tune=TUNE) for exposures in (2, 4, 8)]
IDS = [cell.cell_id for cell in CELLS]
NEIGHBOUR = {IDS[0]: None, IDS[1]: IDS[0], IDS[2]: None}


def records(program: Program) -> list[TrialRecord]:
    """Made-up results, which depend on the program alone: a small learning rate is best."""
    return [
        TrialRecord(
            trial=program.first_in_place + index,
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

    def __init__(self, path, *, n_slots=1, seed=0, fails=(), cells=CELLS, neighbour=NEIGHBOUR):
        self.cells: list[Cell] = cells
        self.neighbour = neighbour
        self.directory = RunDirectory(path)
        self.directory.prepare()
        self.n_slots, self.fails = n_slots, fails
        self.most_running = 0
        self.chance = random.Random(seed)
        self.programs = []

    def run(self, *, at_most=100) -> dict[str, Any]:
        """Run until the queue is empty, or `at_most` programs have ended; the others are lost."""
        queue = SweepQueue(self.cells, self.neighbour, self.directory, sweep="made-up")
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
        if cell_id in self.fails or (cell_id, part) in self.fails:
            queue.finished(program, "it broke")
            return
        place = program.place(self.directory)
        for record in records(program):
            curve = place.curve_file(record.trial)
            curve.parent.mkdir(parents=True, exist_ok=True)
            curve.write_text(f"{record.lr}")
        place.add_trials(records(program))
        queue.finished(program, None)

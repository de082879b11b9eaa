"""A queue with a limit begins what can be finished, and goes on as it learns how long that is."""

import dataclasses
import math

import pytest

from kcap_ray.engine.queue import SweepQueue
from kcap_ray.engine.view import ClusterView
from kcap_ray.planning.cost import device_of
from kcap_ray.planning.jobs import jobs_of
from kcap_ray.planning.replay import Room
from kcap_ray.planning.simulate import fitting
from kcap_ray.planning.virtual_cluster import VirtualCluster
from kcap_ray.runs.results import RunDirectory
from tests.engine.machines import records
from tests.engine.test_queue import LARGE_TUNE
from tests.tiny import tiny_cell

CELLS = [
    tiny_cell(model="gpt2-2-6", batch_windows=16_384, steps=steps, tune=LARGE_TUNE)
    for steps in (4000, 100, 700, 1500)
]
IDS = [cell.cell_id for cell in CELLS]
JOBS = jobs_of(CELLS, {}, device_of("a100"))
PLANNED_S = {job.cell_id: job.seconds(1, 1) for job in JOBS}
TOTAL_S = 6 * sum(PLANNED_S.values())


class Clock:
    """Runs a queue's programs on one device; each takes `ratio` of its planned time."""

    def __init__(self, path, *, limit_s: float, ratio: float = 1.0):
        self.now, self.limit_s, self.ratio = 0.0, limit_s, ratio
        self.directory = RunDirectory(path)
        self.directory.prepare()
        self.begun: set[str] = set()
        self.view = ClusterView(
            n_devices=lambda: 1.0,
            left_s=lambda: self.limit_s - self.now,
            room=lambda: Room(seconds=max(0.0, self.limit_s - self.now)),
        )

    def run(self) -> SweepQueue:
        """The queue, once it is empty or the limit is reached."""
        queue = SweepQueue(CELLS, {}, self.directory, sweep="made-up", view=self.view)
        while (program := queue.next_program()) is not None:
            cell_id = program.cell.cell_id
            self.begun.add(cell_id)
            seconds = self.ratio * PLANNED_S[cell_id]
            if self.now + seconds > self.limit_s:
                self.now = self.limit_s
                break
            self.now += seconds
            rows = [dataclasses.replace(one, train_time_s=seconds) for one in records(program)]
            place = program.place(self.directory)
            for record in rows:
                curve = place.curve_file(record.trial)
                curve.parent.mkdir(parents=True, exist_ok=True)
                curve.write_text(f"{record.lr}")
            place.add_trials(rows)
            queue.finished(program, None)
        return queue

    @property
    def done(self) -> set[str]:
        """Cells with a row."""
        return {name for name in IDS if self.directory.cell(name).result() is not None}


@pytest.mark.parametrize("part", [0.0, 0.1, 0.4, 0.7, 1.2])
def test_a_queue_begins_the_cells_that_can_be_finished_and_no_others(tmp_path, part):
    """Those that a simulation admits: the same code decides."""
    clock = Clock(tmp_path, limit_s=part * TOTAL_S)
    queue = clock.run()
    room = Room(seconds=part * TOTAL_S).with_reserve
    cluster = VirtualCluster(n_devices=1, node_devices=1, boot_s=0.0, idle_s=0.0)
    admitted, _ = fitting(JOBS, cluster, order="longest", room=room)
    assert clock.begun == clock.done == {job.cell_id for job in admitted}
    assert queue.is_empty
    assert queue.has_dropped == (len(clock.done) < len(CELLS))


def test_programs_that_are_faster_than_planned_leave_time_for_more_cells(tmp_path):
    """By the plan two cells would fit; at a tenth of the planned times all of them do."""
    planned = Clock(tmp_path / "planned", limit_s=0.2 * TOTAL_S)
    planned.run()
    assert 0 < len(planned.done) < len(CELLS)
    fast = Clock(tmp_path / "fast", limit_s=0.2 * TOTAL_S, ratio=0.1)
    queue = fast.run()
    assert fast.done == set(IDS) and not queue.has_dropped


def test_programs_that_are_slower_than_planned_leave_out_what_was_not_begun(tmp_path):
    """Once one has been measured, no cell is begun that alone would take longer than is left."""
    slow = Clock(tmp_path, limit_s=1.2 * TOTAL_S, ratio=40.0)
    queue = slow.run()
    assert slow.now < 1.2 * TOTAL_S or len(slow.begun - slow.done) <= 1
    assert queue.has_dropped and len(slow.begun) < len(CELLS)


def test_a_queue_that_is_taken_up_again_counts_what_is_done(tmp_path):
    """What is left of a cell is what must fit, not all of it."""
    first = Clock(tmp_path, limit_s=math.inf)
    queue = SweepQueue(CELLS[:1], {}, first.directory, sweep="made-up", view=first.view)
    for _ in range(5):
        program = queue.next_program()
        assert program is not None
        program.place(first.directory).add_trials(records(program))
        queue.finished(program, None)
    again = Clock(tmp_path, limit_s=0)
    again.limit_s = 1.3 * PLANNED_S[IDS[0]]
    queue = SweepQueue(CELLS[:1], {}, again.directory, sweep="made-up", view=again.view)
    program = queue.next_program()
    assert program is not None and program.first_trial == 5

"""What runs next in a sweep: the schedule says which program, the ledger and the search its points.

Knows nothing of Ray. Which points a cell tries depends on the cell and on its neighbour's result
alone, never on what else happens to be running, so any number of machines gives the same table.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError
from kcap_ray.engine.program import Program
from kcap_ray.engine.ran_ahead import RanAhead
from kcap_ray.engine.rounds import Rounds
from kcap_ray.engine.view import ClusterView
from kcap_ray.execution.after_search import Step, fresh_seeds, next_steps
from kcap_ray.execution.ahead import ahead_of
from kcap_ray.execution.cell import CellProgress, fail_cell, finish_cell
from kcap_ray.execution.search import CellStudy
from kcap_ray.execution.start import began_by_rule, neighbour_of, start_of, starts_over, to_do
from kcap_ray.planning.cost import device_of
from kcap_ray.planning.jobs import N_FIRST_POINTS, Job, jobs_of
from kcap_ray.planning.neighbour import Before
from kcap_ray.planning.run_length import length_of
from kcap_ray.planning.schedule import Order, Start
from kcap_ray.runs.done import is_done
from kcap_ray.runs.files import refresh, remove
from kcap_ray.runs.results import RunDirectory
from kcap_ray.training.point import Point


class SweepQueue:
    """The cells of a sweep that are still to be done, and their programs in the order in which they
    start: the longest chain first, or as `order` says.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        neighbour: Mapping[str, Before | None],
        directory: RunDirectory,
        *,
        sweep: str,
        view: ClusterView | None = None,
        order: tuple[Order, Mapping[str, int]] = ("longest", {}),
    ) -> None:
        """`order`: with the place of every cell on the first axis."""
        self._directory, self._sweep, self._neighbour = directory, sweep, neighbour
        self._view = view or ClusterView()
        todo = to_do(cells, neighbour, directory)
        self._cells = {cell.cell_id: cell for cell in todo}
        self._used = 0.0
        self._starts: dict[tuple[str, int], Start] = {}
        self._given_back: list[Program] = []
        self._ahead = RanAhead(directory)
        self._reasons: dict[str, str] = {}
        jobs = jobs_of(
            todo,
            neighbour,
            device_of(self._view.device),
            column=order[1],
            max_width=self._view.max_width,
            share=self._view.share,
        )
        over = {
            cell.cell_id
            for cell in todo
            if starts_over(cell, self._before(cell), directory, self._cells)
        }
        self._jobs = {
            job.cell_id: replace(job, waits_whole=True) if job.cell_id in over else job
            for job in jobs
        }
        self._starts_over = over
        self._rounds = Rounds(list(self._cells), self._view, order[0])
        self._schedule = self._rounds.first(self._jobs_left())
        self._take_up()

    @property
    def is_empty(self) -> bool:
        """Whether every cell is done, or is not to be begun in the time that is left."""
        return self._schedule.is_empty

    @property
    def has_dropped(self) -> bool:
        """Whether some cell was left out for want of time or money, once the queue is empty."""
        return bool(self._rounds.open)

    @property
    def spreads(self) -> bool:
        """Whether some program may be spread over several devices."""
        return any(max(job.widths) > 1 for job in self._jobs.values())

    def next_program(self) -> Program | None:
        """The next program to run; None if there is none before another one has finished, or no
        device for it.
        """
        while True:
            free = self._view.n_devices() - self._used
            if self._given_back:
                return self._again(free)
            start = self._schedule.next(free, left_s=self._view.left_s())
            if start is None:
                if self._begins_round():
                    continue
                return None
            program = self._program(start)
            if program is not None:
                self._starts_over.discard(start.cell_id)
                self._used += start.devices
                self._starts[start.cell_id, start.first_trial] = start
                return program

    def give_back(self, program: Program) -> None:
        """A program lost its worker or failed, and is to run once more: it is the next."""
        self._used -= self._start_of(program).devices
        self._given_back.append(program)

    def finished(self, program: Program, failure: str | None) -> None:
        """A program has ended: its records are in the ledger, or it failed for the reason given."""
        cell_id = program.cell.cell_id
        # The program ran in another process, which has a copy of its own of a run in a store.
        refresh(self._directory.cell(cell_id).path)
        start = self._starts.pop((cell_id, self._number(program)))
        self._used -= start.devices
        if program.part is not None:
            remove(program.place(self._directory).progress_file)
        if failure is not None:
            self._reasons.setdefault(cell_id, failure)
            self._schedule.failed(cell_id)
        else:
            if program.is_ahead:
                self._ahead.add(cell_id, start.first_trial, start.n_trials)
            self._ahead.take_in(cell_id)
            self._measured(program, start)
            self._schedule.finished(cell_id, start.first_trial, start.n_trials)
            self._after_search(program.cell)
        self._close(program.cell)
        self._begins_round()

    def _start_of(self, program: Program) -> Start:
        return self._starts[program.cell.cell_id, self._number(program)]

    def _again(self, free: float) -> Program | None:
        """The program that was given back first, once there are devices for it; all that there are
        where it needs more.
        """
        start = self._start_of(self._given_back[0])
        # Shares of a device do not add up exactly.
        if start.devices > free + 1e-9 and (self._used > 1e-9 or free < 1):
            return None
        self._used += start.devices
        return self._given_back.pop(0)

    def _before(self, cell: Cell) -> Before | None:
        return neighbour_of(cell, self._neighbour)

    def _begins_round(self) -> bool:
        """Once nothing runs, go on with what can be finished in what is left of a limit."""
        if not self._schedule.is_empty:
            return False
        schedule = self._rounds.following(self._jobs_left(), self._schedule)
        if schedule is not None:
            self._schedule = schedule
            self._take_up()
        return schedule is not None

    def _jobs_left(self) -> dict[str, Job]:
        """The jobs of the cells that have not ended, with what is done of them."""
        return {
            cell_id: self._jobs[cell_id]
            if cell_id in self._starts_over
            else replace(self._jobs[cell_id], done=self._ahead.done_trials(self._jobs[cell_id]))
            for cell_id in self._rounds.open
        }

    def _take_up(self) -> None:
        """Count the cells that need nothing more, or none of their runs after the search."""
        for cell_id in list(self._rounds.open):
            if self._schedule.has(cell_id) and cell_id not in self._starts_over:
                self._after_search(self._cells[cell_id])
                self._close(self._cells[cell_id])

    def _measured(self, program: Program, start: Start) -> None:
        last = self._number(program)
        records = self._directory.cell(program.cell.cell_id).trials()[last : last + 1]
        if program.part is None and records and records[0].train_time_s is not None:
            n_programs = math.ceil(start.n_trials / (records[0].n_trials_fused or start.n_trials))
            self._schedule.measured(start, n_programs * records[0].train_time_s)

    def _after_search(self, cell: Cell) -> None:
        """Once the search is over, count those runs after it as done that are not to be: fewer
        trials beyond the edges than there might have been, and fresh seeds that have a result.
        """
        job = self._jobs[cell.cell_id]
        directory = self._directory.cell(cell.cell_id)
        if job.n_runs == job.n_trials or len(directory.trials()) < job.n_trials:
            return
        if any(key[0] == cell.cell_id for key in self._starts):
            return
        steps = {self._number_of(cell, step) for step in next_steps(cell, directory)}
        first_seed = job.n_trials + job.n_widen
        if not steps or min(steps) >= first_seed:
            done = set(range(job.n_trials, job.n_runs)) - steps
        else:
            done = set(range(job.n_trials, min(steps)))
        self._schedule.already_done(cell.cell_id, done)

    def _number_of(self, cell: Cell, step: Step) -> int:
        """Number of a run after the search, as the schedule counts."""
        job = self._jobs[cell.cell_id]
        if step.part.keeps_weights:
            return job.n_trials + step.first_trial
        return job.n_trials + job.n_widen + fresh_seeds(cell).index(step.part.seed)

    def _number(self, program: Program) -> int:
        if program.part is None:
            return program.first_trial
        step = Step(part=program.part, first_trial=program.first_trial, points=program.points)
        return self._number_of(program.cell, step)

    def _program(self, start: Start) -> Program | None:
        """The program with its points; None if the cell has ended meanwhile."""
        cell = self._cells[start.cell_id]
        directory = self._directory.cell(cell.cell_id)
        job = self._jobs[cell.cell_id]
        try:
            if start.first_trial >= job.n_trials:
                return self._step(cell, start)
            points = self._points(cell, start)
        except UserError as error:
            self._reasons.setdefault(cell.cell_id, str(error))
            points = None
        if points is None:
            self._schedule.failed(cell.cell_id)
            self._close(cell)
            return None
        n_recorded = len(directory.trials())
        is_behind = ahead_of(directory, start.first_trial).path.is_dir()
        return Program(
            cell=cell,
            first_trial=start.first_trial,
            points=points,
            is_ahead=start.first_trial > n_recorded or is_behind,
            workers=start.workers,
        )

    def _points(self, cell: Cell, start: Start) -> list[Point] | None:
        """Points of a program of the search; None if the cell is done after all."""
        job, before = self._jobs[cell.cell_id], self._before(cell)
        first, stop = start.first_trial, start.first_trial + start.n_trials
        directory = self._directory.cell(cell.cell_id)
        hangs_on_others = (
            job.waits_for_neighbour(first, start.n_trials)
            or stop > N_FIRST_POINTS
            or began_by_rule(directory)
        )
        if not hangs_on_others:
            study = CellStudy(
                cell,
                n_steps=length_of(cell).steps,
                warm_start=None,
                trial_batch_size=max(stop, job.batch_trials),
                has_neighbour=before is not None,
            )
            return study.ask(stop)[first:]
        warm_start = start_of(cell, before, self._directory)
        if is_done(cell, directory.result()):
            return None
        progress = CellProgress(cell, directory, warm_start, has_neighbour=before is not None)
        while True:
            number, points = progress.next_round()
            assert points, f"{cell.cell_id}: no program begins with trial {first}"
            if number == first:
                return points

    def _step(self, cell: Cell, start: Start) -> Program:
        """A run after the search."""
        steps = next_steps(cell, self._directory.cell(cell.cell_id))
        step = next(s for s in steps if self._number_of(cell, s) == start.first_trial)
        return Program(
            cell=cell,
            first_trial=step.first_trial,
            points=step.points,
            part=step.part,
            workers=start.workers,
        )

    def _close(self, cell: Cell) -> None:
        """Write the row of a cell that has ended."""
        directory = self._directory.cell(cell.cell_id)
        if not self._schedule.is_over(cell.cell_id):
            return
        self._rounds.open.pop(cell.cell_id, None)
        reason = self._reasons.pop(cell.cell_id, None)
        if reason is not None:
            fail_cell(cell, directory, sweep=self._sweep, reason=reason)
        elif not is_done(cell, directory.result()):
            finish_cell(cell, directory, sweep=self._sweep)

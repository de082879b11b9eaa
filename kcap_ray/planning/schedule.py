"""What runs next, and on how many devices: the same object decides in `kcap sweep`, with the clock
on the wall, and in `kcap simulate`, with one that is made up.

It knows cells by how long their programs take and what they wait for, and nothing of ledgers, of
Ray or of results. The order in which programs run changes no table: which points a cell tries
hangs on its own results and on those of its neighbour alone.
"""

import heapq
import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from kcap_ray.planning.jobs import Job
from kcap_ray.planning.waiting import Waiting
from kcap_ray.planning.widths import choose_widths, cost_s, is_worth, own_path_s, paths_to_end

Order = Literal["longest", "cheapest", "column"]


@dataclass(frozen=True, kw_only=True)
class Start:
    """A program to start now."""

    cell_id: str
    first_trial: int
    n_trials: int
    workers: int
    """Devices that it is spread over; 1 trains without data-parallel workers."""
    devices: float
    """Devices that it takes."""


@dataclass(kw_only=True)
class _State:
    job: Job
    width: int
    waiting: dict[int, int]
    """Programs that cannot start yet: first trial to number of trials."""
    n_unfinished: int
    done: set[int] = field(default_factory=set)
    """Trials that are done."""
    has_failed: bool = False
    n_running: int = 0

    @property
    def devices(self) -> float:
        """Devices that a program takes if none is idle."""
        return self.job.share if self.width == 1 else float(self.width)


class Schedule:
    """The programs of a sweep that are still to be run, in the order in which they start."""

    def __init__(
        self, jobs: Sequence[Job], *, n_devices: float = math.inf, order: Order = "longest"
    ) -> None:
        """`n_devices`: what the cluster has or may have; more of them than there is work for makes
        cells data-parallel.
        """
        known = {job.cell_id: job.on_at_most(n_devices) for job in jobs}
        self._waiting_cells = Waiting(known)
        widths = choose_widths(known, n_devices, self._waiting_cells)
        self._order: Order = order
        self._states = {
            cell_id: _State(
                job=job,
                width=widths[cell_id],
                waiting=job.programs_left(),
                n_unfinished=job.n_runs,
            )
            for cell_id, job in known.items()
        }
        self._over: set[str] = set()
        self._counter = itertools.count()
        self._heap: list[tuple[tuple[float, ...], int, str, int, int]] = []
        self._ready: set[tuple[str, int]] = set()
        """Cell and first trial of what could start; other entries of the heap are void."""
        self._ready_devices = 0.0
        self._n_running = 0
        self.has_started = False
        """Whether a program was started."""
        self.n_dropped = 0
        """Cells that were left out, or not gone on with, for want of time."""
        self._paths: dict[tuple[str, int], float] = {}
        self._scales: dict[str, float] = {}
        self._tails = self._all_tails()
        for state in self._states.values():
            self._mark_done(state, state.job.done)

    @property
    def is_empty(self) -> bool:
        """Whether nothing runs and nothing is left to start."""
        return self._n_running == 0 and not self._ready

    @property
    def scale(self) -> float:
        """What programs took of their planned time, in the median cell; 1 without a measurement."""
        return statistics.median(self._scales.values()) if self._scales else 1.0

    def width(self, cell_id: str) -> int:
        """Devices that the cell's programs are spread over where none is idle."""
        return self._states[cell_id].width

    def has(self, cell_id: str) -> bool:
        """Whether the cell is in the schedule."""
        return cell_id in self._states

    def is_over(self, cell_id: str) -> bool:
        """Whether the cell has ended; also of one that is not in the schedule."""
        return cell_id not in self._states or cell_id in self._over

    def ready_devices(self) -> float:
        """Devices that what could start now would take."""
        return self._ready_devices

    def longest_chain(self) -> tuple[str, float]:
        """The cell that would end last were every device free, and after how many seconds."""
        jobs = {cell_id: state.job for cell_id, state in self._states.items()}
        widths = {cell_id: (state.width,) for cell_id, state in self._states.items()}
        return max(paths_to_end(jobs, widths).items(), key=lambda found: found[1])

    def next(self, free: float, *, left_s: float = math.inf) -> Start | None:
        """The next program to start on `free` devices; None if there is none, or none that fits.

        `left_s`: seconds that are left to pay for. A cell that could not end in that time, on as
        many devices as it may have, is not begun, nor gone on with.
        """
        while self._heap:
            _, _, cell_id, first, n_trials = self._heap[0]
            state = self._states[cell_id]
            if (cell_id, first) not in self._ready:
                heapq.heappop(self._heap)
                continue
            if left_s < math.inf and self._shortest_s(state, first) > left_s:
                self.n_dropped += 1
                self._stop(state)
                continue
            workers = self._workers_now(state, n_trials, free)
            devices = state.job.share if workers == 1 else float(workers)
            # Shares of a device do not add up exactly.
            if devices > free + 1e-9:
                if self._n_running or free < 1:
                    return None
                # There are no more of them: workers make do with what there is.
                devices = math.floor(free)
            heapq.heappop(self._heap)
            self._no_longer_ready(state, first)
            state.n_running += 1
            self._n_running += 1
            self.has_started = True
            return Start(
                cell_id=cell_id,
                first_trial=first,
                n_trials=n_trials,
                workers=workers,
                devices=devices,
            )
        return None

    def seconds(self, start: Start, devices: float | None = None) -> float:
        """Planned time of a program, on its own number of devices or on another one."""
        workers = start.workers
        if workers > 1:
            workers = max(1, min(workers, int(start.devices if devices is None else devices)))
        return self._states[start.cell_id].job.seconds(start.n_trials, workers)

    def measured(self, start: Start, seconds: float) -> None:
        """What a program took: the cell's other programs, and those of cells without a measurement,
        are taken to be off by the same ratio when it is asked whether there is time for them.
        """
        planned = self.seconds(start)
        if planned > 0:
            self._scales[start.cell_id] = seconds / planned

    def finished(self, cell_id: str, first_trial: int, n_trials: int) -> None:
        """A program that was started has ended."""
        state = self._states[cell_id]
        state.n_running -= 1
        self._n_running -= 1
        self._mark_done(state, range(first_trial, first_trial + n_trials))

    def failed(self, cell_id: str) -> None:
        """A program that was started has failed: nothing more of its cell is started."""
        state = self._states[cell_id]
        state.n_running -= 1
        self._n_running -= 1
        state.has_failed = True
        self._stop(state)
        self._end(state)

    def already_done(self, cell_id: str, trials: Iterable[int]) -> None:
        """Trials that an earlier command has run."""
        state = self._states[cell_id]
        trials = set(trials)
        state.waiting = {
            first: n
            for first, n in state.waiting.items()
            if not trials.issuperset(range(first, first + n))
        }
        for first, n in state.job.programs():
            if (cell_id, first) in self._ready and trials.issuperset(range(first, first + n)):
                self._no_longer_ready(state, first)
        self._mark_done(state, trials)

    def _mark_done(self, state: _State, trials: Iterable[int]) -> None:
        new = set(trials) - state.done
        state.done |= new
        state.n_unfinished -= len([trial for trial in new if trial < state.job.n_runs])
        if state.n_unfinished <= 0 or state.has_failed:
            self._end(state)
        else:
            self._release(state)

    def _stop(self, state: _State) -> None:
        """Start nothing more of the cell."""
        state.waiting.clear()
        for first, _ in state.job.programs():
            if (state.job.cell_id, first) in self._ready:
                self._no_longer_ready(state, first)

    def _end(self, state: _State) -> None:
        if state.n_running > 0 or state.job.cell_id in self._over:
            return
        self._over.add(state.job.cell_id)
        for follower in self._waiting_cells.ended(state.job.cell_id):
            self._release(self._states[follower])

    def _release(self, state: _State) -> None:
        """Put what waits for nothing any more among what is ready."""
        job = state.job
        has_neighbour = self._waiting_cells.is_free(job.cell_id)
        for first, n_trials in list(state.waiting.items()):
            if job.waits_for_neighbour(first, n_trials) and not has_neighbour:
                continue
            if any(trial not in state.done for trial in range(job.trials_before(first, n_trials))):
                continue
            del state.waiting[first]
            entry = (self._key(state, first), next(self._counter), job.cell_id, first, n_trials)
            heapq.heappush(self._heap, entry)
            self._ready.add((job.cell_id, first))
            self._ready_devices += state.devices

    def _no_longer_ready(self, state: _State, first: int) -> None:
        self._ready.remove((state.job.cell_id, first))
        self._ready_devices = self._ready_devices - state.devices if self._ready else 0.0

    def _key(self, state: _State, first: int) -> tuple[float, ...]:
        """What is smallest starts first."""
        job = state.job
        longest = -(self._own_path(state, first) + self._tails[job.cell_id])
        if self._order == "cheapest":
            return (cost_s(state.job), float(first))
        if self._order == "column":
            return (float(job.column), longest, float(first))
        return (longest, float(first))

    def _own_path(self, state: _State, first: int) -> float:
        key = (state.job.cell_id, first)
        if key not in self._paths:
            self._paths[key] = own_path_s(state.job, (state.width,), first)
        return self._paths[key]

    def _shortest_s(self, state: _State, first: int) -> float:
        """Least time to the end of the cell, as far off as what has ended was."""
        scale = self._scales.get(state.job.cell_id)
        scale = self.scale if scale is None else scale
        return scale * own_path_s(state.job, state.job.widths, first)

    def _all_tails(self) -> dict[str, float]:
        """Of every cell the seconds from its end to the end of all that wait for it."""
        tails: dict[str, float] = {}
        of_groups: dict[int, float] = {}
        for cell_id in reversed(self._waiting_cells.in_order()):
            groups = self._waiting_cells.groups_with(cell_id)
            tails[cell_id] = max((of_groups[id(group)] for group in groups), default=0.0)
            state, before = self._states[cell_id], self._waiting_cells.before(cell_id)
            path = self._own_path(state, state.job.first_hinted) + tails[cell_id]
            of_groups[id(before)] = max(path, of_groups.get(id(before), 0.0))
        return tails

    def _workers_now(self, state: _State, n_trials: int, free: float) -> int:
        """Devices of a program that starts now: its cell's, and more if they would be idle."""
        spare = free - self._ready_devices
        width = state.width
        if spare <= 0 or math.isinf(spare):
            return width
        for wider in state.job.widths:
            fits = width < wider <= state.width + spare and wider <= free
            if fits and is_worth(state.job, n_trials, width, wider):
                width = wider
        return width

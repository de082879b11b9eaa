"""How long chains of trials take, and on how many devices a cell's programs are spread because of
that.
"""

import math
from collections.abc import Mapping

from kcap_ray.planning.jobs import Job
from kcap_ray.planning.waiting import Waiting

BUSY_FRACTION = 0.8
"""Share of the least time in which the devices could do all of the work that a chain of trials may
take before its cells get more devices: the rest is room for what cannot be packed.
"""

WORTH_WIDENING = 0.7
"""Most time that twice the devices may take, as a share, to be given to a program."""


def own_path_s(job: Job, widths: tuple[int, ...], first: int) -> float:
    """Seconds from the start of a program to the end of its cell, were every device free; at the
    fastest of these widths.
    """
    seconds: dict[int, float] = {}
    for other, n_trials in job.programs():
        before = job.trials_before(other, n_trials)
        if other == first or (other > first and before > first):
            # Programs that wait for the same trials run at the same time.
            time = min(job.seconds(n_trials, width) for width in widths)
            seconds[before] = max(time, seconds.get(before, 0.0))
    return sum(seconds.values())


class Paths:
    """How long it takes from the start of the sweep to the end of each cell, were every device
    free. Cells are added in an order in which each comes after those that it learns from.
    """

    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting
        self._groups: dict[int, float] = {}
        self.ends_s: dict[str, float] = {}
        """Of the cells that were added, by id."""

    def to_end_s(self, job: Job, widths: tuple[int, ...]) -> float:
        """Seconds to the end of a cell whose programs are spread over so many devices, whichever is
        the fastest.
        """
        whole = own_path_s(job, widths, 0)
        group = self._waiting.before(job.cell_id)
        if not group.members:
            return whole
        if id(group) not in self._groups:
            self._groups[id(group)] = max(self.ends_s[name] for name in group.members)
        return max(whole, self._groups[id(group)] + own_path_s(job, widths, job.first_hinted))

    def add(self, job: Job, widths: tuple[int, ...]) -> None:
        """The cell has one of these widths."""
        self.ends_s[job.cell_id] = self.to_end_s(job, widths)


def paths_to_end(
    jobs: Mapping[str, Job], widths: Mapping[str, tuple[int, ...]]
) -> dict[str, float]:
    """Seconds from the start of the sweep to the end of each cell, were every device free, at the
    fastest of its widths.
    """
    waiting = Waiting(jobs)
    paths = Paths(waiting)
    for cell_id in waiting.in_order():
        paths.add(jobs[cell_id], widths[cell_id])
    return paths.ends_s


def cost_s(job: Job) -> float:
    """Seconds of one device, of the whole cell."""
    return sum(job.seconds(n, 1) for _, n in job.programs())


def is_worth(job: Job, n_trials: int, width: int, wider: int) -> bool:
    """Whether a program is so much faster on more devices that it should have them."""
    n_trials = min(n_trials, job.n_trials)
    gain = WORTH_WIDENING ** math.log2(wider / width)
    return job.seconds(n_trials, wider) <= gain * job.seconds(n_trials, width)


def choose_widths(
    jobs: Mapping[str, Job], n_devices: float, waiting: Waiting | None = None
) -> dict[str, int]:
    """Devices of each cell's programs: more than it has to have where its chain of trials would
    take longer than most of the sweep. `waiting`: of these jobs, where that is known.
    """
    widths = {cell_id: job.widths[0] for cell_id, job in jobs.items()}
    if not jobs or math.isinf(n_devices) or n_devices <= 0:
        return widths
    most = BUSY_FRACTION * sum(cost_s(job) * job.share for job in jobs.values()) / n_devices
    waiting = waiting or Waiting(jobs)
    paths = Paths(waiting)
    for cell_id in waiting.in_order():
        job = jobs[cell_id]
        for width in job.widths[1:]:
            is_short = paths.to_end_s(job, (widths[cell_id],)) <= most
            if is_short or width > n_devices:
                break
            if not is_worth(job, job.program_trials, widths[cell_id], width):
                break
            widths[cell_id] = width
        paths.add(job, (widths[cell_id],))
    return widths

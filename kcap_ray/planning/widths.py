"""How long chains of trials take, and on how many devices a cell's programs are spread because of
that.
"""

import math
from collections.abc import Mapping

from kcap_ray.planning.jobs import Job

BUSY_FRACTION = 0.8
"""Share of the least time in which the devices could do all of the work that a chain of trials may
take before its cells get more devices: the rest is room for what cannot be packed.
"""

WORTH_WIDENING = 0.7
"""Most time that twice the devices may take, as a share, to be given to a program."""


def own_path_s(job: Job, width: int, first: int) -> float:
    """Seconds from the start of a program to the end of its cell, were every device free."""
    seconds: dict[int, float] = {}
    for other, n_trials in job.programs():
        before = job.trials_before(other, n_trials)
        if other == first or (other > first and before > first):
            # Programs that wait for the same trials run at the same time.
            time = job.seconds(n_trials, width)
            seconds[before] = max(time, seconds.get(before, 0.0))
    return sum(seconds.values())


def path_to_end_s(job: Job, jobs: Mapping[str, Job], widths: Mapping[str, int]) -> float:
    """Seconds from the start of the sweep to the end of a cell, were every device free."""
    after = 0.0
    longest = own_path_s(job, widths[job.cell_id], 0)
    for _ in jobs:
        before = [jobs[name] for name in job.before if name in jobs]
        if not before:
            break
        after += own_path_s(job, widths[job.cell_id], job.first_hinted)
        if len(before) > 1:
            # A costly cell, which waits for all that are not; none of those waits for several.
            return max(longest, after + max(path_to_end_s(one, jobs, widths) for one in before))
        job = before[0]
        longest = max(longest, own_path_s(job, widths[job.cell_id], 0) + after)
    return longest


def cost_s(job: Job) -> float:
    """Seconds of one device, of the whole cell."""
    return sum(job.seconds(n, 1) for _, n in job.programs())


def is_worth(job: Job, n_trials: int, width: int, wider: int) -> bool:
    """Whether a program is so much faster on more devices that it should have them."""
    n_trials = min(n_trials, job.n_trials)
    gain = WORTH_WIDENING ** math.log2(wider / width)
    return job.seconds(n_trials, wider) <= gain * job.seconds(n_trials, width)


def choose_widths(jobs: Mapping[str, Job], n_devices: float) -> dict[str, int]:
    """Devices of each cell's programs: more than it has to have where its chain of trials would
    take longer than most of the sweep.
    """
    widths = {cell_id: job.widths[0] for cell_id, job in jobs.items()}
    if not jobs or math.isinf(n_devices) or n_devices <= 0:
        return widths
    most = BUSY_FRACTION * sum(cost_s(job) * job.share for job in jobs.values()) / n_devices
    for cell_id, job in jobs.items():
        for width in job.widths[1:]:
            is_short = path_to_end_s(job, jobs, widths) <= most
            if is_short or width > n_devices:
                break
            if not is_worth(job, job.program_trials, widths[cell_id], width):
                break
            widths[cell_id] = width
    return widths

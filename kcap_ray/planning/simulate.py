"""A sweep on a virtual cluster, and which of its cells can be finished within a limit: `kcap plan`,
`kcap simulate` and `kcap sweep` ask here.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from kcap_ray.planning.jobs import Job
from kcap_ray.planning.replay import Replay, Room, replayed
from kcap_ray.planning.schedule import Order
from kcap_ray.planning.virtual_cluster import EPS, VirtualCluster
from kcap_ray.planning.waiting import Waiting
from kcap_ray.planning.widths import cost_s, paths_to_end


def simulate(
    jobs: Sequence[Job],
    cluster: VirtualCluster,
    *,
    order: Order = "longest",
    room: Room | None = None,
) -> Replay:
    """Run the jobs on the virtual cluster until they are done; with a limit only those that can be
    finished within it.
    """
    room = room or Room()
    if room.is_unlimited:
        return replayed(jobs, cluster, order, room)
    if cluster.spot_loss_per_hour <= 0:
        return fitting(jobs, cluster, order=order, room=room)[1]
    admitted, _ = fitting(jobs, cluster, order=order, room=room.with_reserve)
    return replayed(admitted, cluster, order, room)


def fitting(
    jobs: Sequence[Job], cluster: VirtualCluster, *, order: Order, room: Room
) -> tuple[list[Job], Replay]:
    """The cells that can be finished in `room`, each with all that it waits for, where no node is
    lost; and how.

    The cheapest ones are taken, so that they are many; with the order `column` those of the first
    columns. It is the longest list of them whose simulation stays within the limit, by bisection,
    so more room never gives fewer cells, but for `column`, where what alone takes longer than the
    limit is passed over.
    """
    calm = replace(cluster, spot_loss_per_hour=0.0)
    if room.is_unlimited:
        return list(jobs), replayed(jobs, calm, order, room)
    names, lengths = _lists(jobs, cluster, order, room)
    most_s = min(room.seconds * cluster.n_devices, room.node_s * cluster.node_devices)
    best: tuple[list[Job], Replay] = [], replayed([], calm, order, Room())
    low, middle, high = 0, len(lengths), len(lengths)
    while low < high:
        chosen = set(names[: lengths[middle - 1]])
        found = [job for job in jobs if job.cell_id in chosen]
        # What is more work than all devices can do in the time need not be simulated.
        is_little = sum(map(_least_work_s, found)) <= most_s * (1 + EPS)
        replay = replayed(found, calm, order, Room()) if is_little else None
        if replay is not None and room.holds(replay):
            best, low = (found, replay), middle
        else:
            high = middle - 1
        middle = (low + high + 1) // 2
    return best


def _least_work_s(job: Job) -> float:
    """Seconds of devices that what is left of the cell takes at least."""
    return sum(
        min(
            job.share * job.seconds(n_trials, 1),
            *(width * job.seconds(n_trials, width) for width in job.widths),
        )
        for n_trials in job.programs_left().values()
    )


def _lists(
    jobs: Sequence[Job], cluster: VirtualCluster, order: Order, room: Room
) -> tuple[list[str], list[int]]:
    """Cells in the order in which they are taken, and how many of them there are when each cell
    that is taken for itself has all that it waits for.
    """
    known = {job.cell_id: job for job in jobs}
    waiting = Waiting(known)
    ranks = _ranks(known, waiting)
    ranked = sorted(jobs, key=lambda job: (_column(job, order), ranks[job.cell_id]))
    if order == "column" and not math.isinf(room.seconds):
        fastest = paths_to_end(known, {name: job.widths for name, job in known.items()})
        ranked = [
            job
            for job in ranked
            if job.done or cluster.boot_s + fastest[job.cell_id] <= room.seconds
        ]
    found: dict[str, None] = {}
    lengths, seen = [], set()
    for job in ranked:
        stack = [job.cell_id]
        while stack:
            group = waiting.before(stack[-1])
            if id(group) in seen:
                found[stack.pop()] = None
            else:
                seen.add(id(group))
                stack += [name for name in group.members if name not in found]
        lengths.append(len(found))
    return list(found), lengths


def _ranks(jobs: Mapping[str, Job], waiting: Waiting) -> dict[str, tuple[float, int]]:
    """By the dearest of a cell and those that it waits for, and after those if it is no dearer."""
    ranks: dict[str, tuple[float, int]] = {}
    of_groups: dict[int, float] = {}
    for number, cell_id in enumerate(waiting.in_order()):
        group, job = waiting.before(cell_id), jobs[cell_id]
        if id(group) not in of_groups:
            of_groups[id(group)] = max((ranks[name][0] for name in group.members), default=0.0)
        ranks[cell_id] = max(job.share * cost_s(job), of_groups[id(group)]), number
    return ranks


def _column(job: Job, order: Order) -> int:
    return job.column if order == "column" else 0

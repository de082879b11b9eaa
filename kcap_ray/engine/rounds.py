"""Which cells of a queue are run now: all of them, or within a limit of time or money those that
can be finished in what is left of it. The others wait until these have ended: by then it is known
how long programs really take. Knows nothing of Ray.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from kcap_ray.engine.view import ClusterView
from kcap_ray.planning.jobs import Job
from kcap_ray.planning.schedule import Order, Schedule
from kcap_ray.planning.simulate import fitting


class Rounds:
    """The cells of a queue that have not ended, and the schedules that they are run by, one after
    another.
    """

    def __init__(self, cell_ids: Sequence[str], view: ClusterView, order: Order) -> None:
        self.open = dict.fromkeys(cell_ids)
        """Ids of the cells that have not ended."""
        self._view = view
        self._order: Order = order
        self._scale = 1.0
        self._is_last = False

    def first(self, jobs: Mapping[str, Job]) -> Schedule:
        """The schedule that the queue begins with. Without a limit it has all cells."""
        return self._schedule(jobs)

    def following(self, jobs: Mapping[str, Job], last: Schedule) -> Schedule | None:
        """The schedule after one of which nothing runs any more, with the times of what it has run;
        None if nothing is left, or nothing that can be finished.
        """
        # A round that has started nothing has shown nothing that the next one could know.
        self._is_last = self._is_last or not last.has_started
        if self._is_last or not self.open or self._view.room().is_unlimited:
            return None
        self._scale *= last.scale
        schedule = self._schedule(jobs)
        self._is_last = schedule.is_empty
        return None if self._is_last else schedule

    def _schedule(self, jobs: Mapping[str, Job]) -> Schedule:
        found = [_scaled(jobs[cell_id], self._scale) for cell_id in self.open]
        room, n_devices = self._view.room(), self._view.n_devices()
        if not room.is_unlimited:
            # What never runs at the same time needs no devices: there may be no limit of them.
            most = sum(max(job.widths) * len(job.programs()) for job in found)
            cluster = replace(self._view.nodes, n_devices=max(1, int(min(n_devices, most))))
            found, _ = fitting(found, cluster, order=self._order, room=room.with_reserve)
        return Schedule(found, n_devices=n_devices, order=self._order)


def _scaled(job: Job, scale: float) -> Job:
    if scale == 1.0:
        return job
    seconds = job.seconds
    return replace(job, seconds=lambda n, width: scale * seconds(n, width))

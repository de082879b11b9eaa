"""Which cells wait for which. Cells that learn from the same ones share a group of them, so that
what concerns the group is looked at once and not for each of its followers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kcap_ray.planning.jobs import Job


@dataclass(kw_only=True)
class Group:
    """Cells that others learn from."""

    members: tuple[str, ...]
    """Those that are still to be run."""
    n_left: int
    """Members that have not ended."""
    followers: list[str] = field(default_factory=list)
    """Cells that wait for all of them."""


class Waiting:
    """The cells of a sweep that are to be run, and what each of them waits for."""

    def __init__(self, jobs: Mapping[str, Job]) -> None:
        """`jobs`: by id; what is not among them has ended."""
        groups: dict[tuple[str, ...], Group] = {}
        self._before: dict[str, Group] = {}
        self._memberships: dict[str, list[Group]] = {cell_id: [] for cell_id in jobs}
        for cell_id, job in jobs.items():
            group = groups.get(job.before)
            if group is None:
                members = tuple(name for name in job.before if name in jobs)
                group = groups[job.before] = Group(members=members, n_left=len(members))
                for name in members:
                    self._memberships[name].append(group)
            group.followers.append(cell_id)
            self._before[cell_id] = group

    def before(self, cell_id: str) -> Group:
        """The cells that this one learns from."""
        return self._before[cell_id]

    def groups_with(self, cell_id: str) -> list[Group]:
        """The groups that it is a member of."""
        return self._memberships[cell_id]

    def is_free(self, cell_id: str) -> bool:
        """Whether all that it learns from have ended."""
        return self._before[cell_id].n_left == 0

    def ended(self, cell_id: str) -> list[str]:
        """Count a cell that has ended; the cells that wait for nothing any more because of it."""
        freed = []
        for group in self._memberships[cell_id]:
            group.n_left -= 1
            if group.n_left == 0:
                freed += group.followers
        return freed

    def in_order(self) -> list[str]:
        """All cells, each after those that it learns from."""
        left = {id(group): group.n_left for group in self._before.values()}
        found = [name for name, group in self._before.items() if left[id(group)] == 0]
        for cell_id in found:
            for group in self._memberships[cell_id]:
                left[id(group)] -= 1
                if left[id(group)] == 0:
                    found += group.followers
        assert len(found) == len(self._before), "no cell waits for itself"
        return found

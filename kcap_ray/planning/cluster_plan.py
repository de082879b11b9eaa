"""How long a sweep takes on a cluster, how busy it keeps it, what limits it, and what is paid."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kcap_ray.planning.jobs import Job
from kcap_ray.planning.plan import dollars_text, hours_text
from kcap_ray.planning.prices import Price
from kcap_ray.planning.replay import Room
from kcap_ray.planning.schedule import Order, Schedule
from kcap_ray.planning.simulate import simulate
from kcap_ray.planning.virtual_cluster import VirtualCluster

_HOUR = 3600.0

NEAR_IDEAL = 1.1
"""A makespan of at most so many times the ideal one is limited by the number of devices, and so is
one in which they train for all but as little.
"""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When a sweep stops early; None: never."""

    max_hours: float | None = None
    max_cost: float | None = None
    """Dollars, for whole nodes."""

    def room(self, price: Price | None, node_devices: int) -> Room:
        """The same in seconds, and in seconds of nodes of so many devices, billed whole."""
        node_s = math.inf
        if self.max_cost is not None and price is not None and price.dollars_per_hour > 0:
            node_s = self.max_cost / (price.dollars_per_hour * node_devices) * _HOUR
        seconds = math.inf if self.max_hours is None else self.max_hours * _HOUR
        return Room(seconds=seconds, node_s=node_s)


@dataclass(frozen=True, kw_only=True)
class ClusterPlan:
    """A sweep on so many devices, by simulation."""

    n_devices: int
    device_hours: float
    """Of all trials, were each program trained on one device."""
    ideal_hours: float
    """`device_hours` / `n_devices`."""
    makespan_hours: float
    """From the request for the first node to the end of the last program."""
    utilization: float
    """Share of the devices' time up to then in which they trained what was not lost."""
    chain_hours: float
    """The longest chain of trials, each of which waits for the one before."""
    chain_cell: str
    """The cell that the chain ends with."""
    node_hours: float
    """Nodes times hours that are billed, boot and idle included."""
    price: float | None
    """For those; None where the device has no price."""
    n_lost_nodes: int
    lost_device_hours: float
    """Training that was lost with nodes."""
    n_cells: int
    n_cells_done: int
    """Less than all where a limit was reached."""
    n_cells_unfinished: int
    """Cells that were begun and are not done: where nodes are lost, a limit may come first."""
    n_narrowed_cells: int
    """Cells that ask for more workers than there are devices, and train on those that there are."""
    n_wide_cells: int
    """Cells with data-parallel programs."""
    max_workers: int
    """Most devices that a program was spread over."""

    @property
    def limited_by(self) -> str:
        """What the makespan hangs on."""
        if self.n_cells_done < self.n_cells:
            done = f"the limit given: {self.n_cells_done:,} of {self.n_cells:,} cells are done"
            begun = self.n_cells_unfinished
            return f"{done}, {begun:,} are begun" if begun else done
        if self.makespan_hours <= NEAR_IDEAL * self.ideal_hours:
            return f"the number of devices: on {self.n_devices} no schedule is much shorter"
        chain = f"the chain of trials that ends with {self.chain_cell}"
        if self.chain_hours >= self.makespan_hours / NEAR_IDEAL**2:
            return f"{chain}: {hours_text(self.chain_hours)} hours, however many devices there are"
        if self.utilization >= 1 / NEAR_IDEAL:
            return (
                f"the number of devices: they train {self.utilization:.0%} of the time, and "
                "programs that are spread over several take longer in all"
            )
        return (
            f"boot, and programs that do not fill the devices at the end; {chain} takes "
            f"{hours_text(self.chain_hours)} hours"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**dataclasses.asdict(self), "limited_by": self.limited_by}


def plan_on_cluster(
    jobs: Sequence[Job],
    cluster: VirtualCluster,
    price: Price | None,
    *,
    order: Order = "longest",
    limits: Limits | None = None,
) -> ClusterPlan:
    """Simulate the jobs on the cluster; `price`: of a device-hour."""
    room = (limits or Limits()).room(price, cluster.node_devices)
    replay = simulate(jobs, cluster, order=order, room=room)
    chain_cell, chain_s = Schedule(jobs, n_devices=cluster.n_devices).longest_chain()
    if replay.n_cells_done == len(jobs):
        # The chain has the widths of the beginning; cells that are made wider later end sooner.
        chain_s = min(chain_s, replay.makespan_s)
    work_s = sum(job.share * job.seconds(n, 1) for job in jobs for _, n in job.programs())
    node_hours = replay.node_s / _HOUR
    useful_s = replay.busy_device_s - replay.lost_device_s
    devices_s = replay.makespan_s * cluster.n_devices
    paid = None if price is None else node_hours * cluster.node_devices * price.dollars_per_hour
    return ClusterPlan(
        n_devices=cluster.n_devices,
        device_hours=work_s / _HOUR,
        ideal_hours=work_s / _HOUR / cluster.n_devices,
        makespan_hours=replay.makespan_s / _HOUR,
        utilization=useful_s / devices_s if devices_s else 0.0,
        chain_hours=chain_s / _HOUR,
        chain_cell=chain_cell,
        node_hours=node_hours,
        price=paid,
        n_lost_nodes=replay.n_lost_nodes,
        lost_device_hours=replay.lost_device_s / _HOUR,
        n_cells=len(jobs),
        n_cells_done=replay.n_cells_done,
        n_cells_unfinished=replay.n_unfinished,
        n_narrowed_cells=sum(job.widths[0] > cluster.n_devices for job in jobs),
        n_wide_cells=sum(width > 1 for width in replay.widths.values()),
        max_workers=max(replay.widths.values(), default=1),
    )


def render_cluster_plan(plan: ClusterPlan, price: Price | None) -> list[str]:
    """The plan as lines of text."""
    ideal = ""
    if plan.n_cells_done == plan.n_cells and plan.ideal_hours:
        ratio = plan.makespan_hours / plan.ideal_hours
        ideal = f", {ratio:.2f} times the ideal {hours_text(plan.ideal_hours)}"
    days = f" ({plan.makespan_hours / 24:,.1f} days)" if plan.makespan_hours >= 48 else ""
    lines = [
        f"on {plan.n_devices} devices: {hours_text(plan.makespan_hours)} hours{days}{ideal}; "
        f"they train {plan.utilization:.0%} of the time",
        f"limited by {plan.limited_by}",
    ]
    if plan.n_wide_cells:
        lines.append(
            f"{plan.n_wide_cells:,} of {plan.n_cells:,} cells train data-parallel, on up to "
            f"{plan.max_workers} devices"
        )
    if plan.n_narrowed_cells:
        lines.append(
            f"{plan.n_narrowed_cells:,} cells ask for more workers than there are devices; they "
            f"train on {plan.n_devices}, on the same batches"
        )
    if plan.n_lost_nodes:
        lines.append(
            f"{plan.n_lost_nodes:,} nodes lost, and {hours_text(plan.lost_device_hours)} "
            "device-hours of training since the last checkpoints with them"
        )
    money = "no price known" if plan.price is None else dollars_text(plan.price)
    lines.append(
        f"{hours_text(plan.node_hours)} node-hours billed, boot and idle included: {money}"
    )
    if price is not None:
        lines.append(f"at {price}")
    return lines

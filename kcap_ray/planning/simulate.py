"""A sweep on a virtual cluster: the schedule that `kcap sweep` uses, with a clock that is made up.

Nodes boot when there is work for them, are lost by chance, and end after they have been idle for a
while; programs take their planned times, and go on from their last checkpoint when a node is lost.
Not in it: the measurement after the training, Ray's own delays beyond `start_s`, and nodes that the
cloud does not have.
"""

import heapq
import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kcap_ray.planning.jobs import Job
from kcap_ray.planning.schedule import Order, Schedule, Start

_HOUR = 3600.0


@dataclass(frozen=True, kw_only=True)
class VirtualCluster:
    """What a sweep is simulated on; times in seconds."""

    n_devices: int
    """Devices at most; the last node may have fewer than the others."""
    node_devices: int = 8
    """Devices of a node."""
    boot_s: float = 750.0
    """From the request for a node to its first program: 10 to 15 minutes, as cluster.yaml has it.
    """
    idle_s: float = 2100.0
    """A node that was idle for so long ends: `idle_timeout_minutes` of cluster.yaml."""
    spot_loss_per_hour: float = 0.0
    """Losses of a node, for each hour that it is up."""
    save_every_s: float = 300.0
    """Between checkpoints; what came after the last one is lost with a node."""
    start_s: float = 0.0
    """A program's own start on a worker, on top of its planned time."""
    first_start_s: float = 0.0
    """What the first program on a device takes on top of that: a process, and its imports."""
    seed: int = 0
    """Of the losses."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What became of a simulated sweep."""

    makespan_s: float
    """From the first request for a node to the end of the last program."""
    busy_device_s: float
    """Devices times the time that they trained, lost work included."""
    lost_device_s: float
    """Of that, work that was lost with nodes."""
    node_s: float
    """Time that nodes are billed for, from their request to their end."""
    n_lost_nodes: int
    n_cells_done: int
    widths: dict[str, int]
    """Devices that each cell's programs were spread over, at most."""
    ends: dict[str, float]
    """When each cell that is done ended."""


@dataclass(kw_only=True)
class _Node:
    number: int
    asked_at: float
    size: float
    free: float = 0.0
    is_up: bool = False
    is_gone: bool = False
    idle_since: float = 0.0
    running: set[int] = field(default_factory=set)
    n_warm: float = 0.0
    """Devices that have a worker already."""


@dataclass(kw_only=True)
class _Run:
    start: Start
    began: float
    ends: float
    places: list[tuple[_Node, float]]
    delay_s: float
    """Of its time, what is no training."""


class _World:
    def __init__(
        self, jobs: Sequence[Job], cluster: VirtualCluster, order: Order, until_s: float
    ) -> None:
        self.cluster, self.until_s = cluster, until_s
        self.schedule = Schedule(jobs, n_devices=cluster.n_devices, order=order)
        self.n_trials = {job.cell_id: job.n_trials for job in jobs}
        self.now = 0.0
        self.events: list[tuple[float, int, str, Any]] = []
        self.counter = itertools.count()
        self.nodes: list[_Node] = []
        self.runs: dict[int, _Run] = {}
        self.again: list[tuple[Start, float]] = []
        """Programs that lost a node, with the device-seconds of training that they still need."""
        self.chance = random.Random(cluster.seed)
        self.busy = self.lost = self.billed = self.last_end = 0.0
        self.n_lost = 0
        self.widths: dict[str, int] = {}
        self.ends: dict[str, float] = {}

    def at(self, time: float, kind: str, what: Any) -> None:
        heapq.heappush(self.events, (time, next(self.counter), kind, what))

    def play(self) -> None:
        self.begin()
        while self.events and (self.runs or self.again or not self.schedule.is_empty):
            self.now, _, kind, what = heapq.heappop(self.events)
            if self.now > self.until_s:
                self.now = self.until_s
                break
            getattr(self, f"on_{kind}")(what)
            self.begin()
        for node in self.nodes:
            if not node.is_gone:
                # Nobody ends it by hand: the autoscaler does when it has been idle for long enough.
                idle_since = self.last_end if node.running or not node.is_up else node.idle_since
                self.billed += max(self.now, idle_since + self.cluster.idle_s) - node.asked_at
        for run in self.runs.values():
            self.busy += run.start.devices * max(0.0, self.now - run.began)

    def free(self) -> float:
        return sum(node.free for node in self.nodes if node.is_up and not node.is_gone)

    def begin(self) -> None:
        """Start all that can start, and ask for nodes for the rest."""
        while self.again and self.free() >= 1:
            start, work = self.again.pop(0)
            devices = min(start.devices, max(1.0, math.floor(self.free())))
            if start.devices < 1:
                devices = start.devices
            self.run(start, devices, work / devices + self.cluster.start_s, self.cluster.start_s)
        free = self.free()
        while not self.again:
            start = self.schedule.next(free, left_s=self.until_s - self.now)
            if start is None:
                break
            self.widths[start.cell_id] = max(start.workers, self.widths.get(start.cell_id, 1))
            planned = self.schedule.seconds(start)
            self.run(start, start.devices, planned + self.cluster.start_s, self.cluster.start_s)
            free = self.free()
        self.ask_for_nodes()

    def run(self, start: Start, devices: float, seconds: float, delay_s: float) -> None:
        places, n_cold = self.take(devices)
        if n_cold > 0:
            seconds, delay_s = (
                seconds + self.cluster.first_start_s,
                delay_s + self.cluster.first_start_s,
            )
        number = next(self.counter)
        end = self.now + seconds
        self.runs[number] = _Run(
            start=start, began=self.now, ends=end, places=places, delay_s=delay_s
        )
        for node, _ in places:
            node.running.add(number)
        self.at(end, "end", number)

    def take(self, devices: float) -> tuple[list[tuple[_Node, float]], float]:
        """Devices of one node if one has enough, of the emptiest ones else; and how many of them
        have no worker yet.
        """
        up = [node for node in self.nodes if node.is_up and not node.is_gone]
        enough = [node for node in up if node.free >= devices - 1e-9]
        if enough:
            chosen = [min(enough, key=lambda node: (node.free, node.number))]
        else:
            chosen = sorted(up, key=lambda node: (-node.free, node.number))
        places, n_cold = [], 0.0
        for node in chosen:
            part = min(node.free, devices)
            if part <= 1e-9:
                continue
            n_cold += max(0.0, part - max(0.0, node.n_warm - (node.size - node.free)))
            node.free -= part
            node.n_warm = max(node.n_warm, node.size - node.free)
            devices -= part
            places.append((node, part))
            if devices <= 1e-9:
                break
        return places, n_cold

    def give_back(self, run: _Run, number: int) -> None:
        for node, part in run.places:
            node.running.discard(number)
            node.free += part
            if not node.running and not node.is_gone:
                node.idle_since = self.now
                self.at(self.now + self.cluster.idle_s, "idle", node)

    def ask_for_nodes(self) -> None:
        cluster = self.cluster
        waiting = self.schedule.ready_devices() + sum(start.devices for start, _ in self.again)
        coming = sum(node.size for node in self.nodes if not node.is_up and not node.is_gone)
        here = sum(node.size for node in self.nodes if not node.is_gone)
        missing = min(waiting - coming - self.free(), cluster.n_devices - here)
        while missing > 1e-9:
            size = min(cluster.node_devices, cluster.n_devices - here)
            node = _Node(number=len(self.nodes), asked_at=self.now, size=float(size))
            self.nodes.append(node)
            self.at(self.now + cluster.boot_s, "boot", node)
            here += size
            missing -= size

    def on_boot(self, node: _Node) -> None:
        node.is_up, node.free, node.idle_since = True, node.size, self.now
        self.at(self.now + self.cluster.idle_s, "idle", node)
        if self.cluster.spot_loss_per_hour > 0:
            hours = self.chance.expovariate(self.cluster.spot_loss_per_hour)
            self.at(self.now + hours * _HOUR, "loss", node)

    def on_idle(self, node: _Node) -> None:
        is_idle = node.is_up and not node.is_gone and not node.running
        if is_idle and self.now - node.idle_since >= self.cluster.idle_s - 1e-6:
            self.close(node)

    def close(self, node: _Node) -> None:
        node.is_gone = True
        self.billed += self.now - node.asked_at

    def on_loss(self, node: _Node) -> None:
        if node.is_gone:
            return
        self.n_lost += 1
        self.close(node)
        for number in sorted(node.running):
            run = self.runs.pop(number)
            devices = sum(part for _, part in run.places)
            trained = max(0.0, self.now - run.began - run.delay_s)
            every = self.cluster.save_every_s
            saved = trained // every * every if every else trained
            self.busy += devices * (self.now - run.began)
            self.lost += devices * (trained - saved)
            left = run.ends - run.began - run.delay_s - saved
            self.again.append((run.start, left * devices))
            self.give_back(run, number)
        node.free = 0.0

    def on_end(self, number: int) -> None:
        run = self.runs.pop(number, None)
        if run is None:
            return
        self.give_back(run, number)
        self.busy += sum(part for _, part in run.places) * (self.now - run.began)
        self.last_end = self.now
        start = run.start
        self.schedule.finished(start.cell_id, start.first_trial, start.n_trials)
        if self.schedule.is_over(start.cell_id):
            self.ends[start.cell_id] = self.now


def simulate(
    jobs: Sequence[Job],
    cluster: VirtualCluster,
    *,
    order: Order = "longest",
    until_s: float = math.inf,
) -> Replay:
    """Run the jobs on the virtual cluster until they are done, or for `until_s` seconds."""
    world = _World(jobs, cluster, order, until_s)
    world.play()
    return Replay(
        makespan_s=world.last_end if not world.runs else world.now,
        busy_device_s=world.busy,
        lost_device_s=world.lost,
        node_s=world.billed,
        n_lost_nodes=world.n_lost,
        n_cells_done=len(world.ends),
        widths=world.widths,
        ends=world.ends,
    )

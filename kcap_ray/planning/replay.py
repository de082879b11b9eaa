"""Replays a sweep on a virtual cluster: the schedule that `kcap sweep` uses, with a clock that is
made up.

As in `kcap sweep` programs are handed out on all devices that there may be, and wait for their
nodes. Nodes boot when there is work for them, are lost by chance, and end after they have been idle
for a while. Programs take their planned times, and go on from their last checkpoint when a node is
lost: at once where a device is free, with as many of their workers as there are devices for, and
with all of them when the next look finds more. Not in it: the measurement after the training, Ray's
own delays beyond `start_s`, and nodes that the cloud does not have.
"""

import heapq
import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kcap_ray.config.errors import UserError
from kcap_ray.planning.jobs import Job
from kcap_ray.planning.schedule import Order, Schedule, Start
from kcap_ray.planning.virtual_cluster import EPS, Node, Nodes, VirtualCluster, resize_every_s

_HOUR = 3600.0

MAX_LOST_NODES = 50_000
"""Losses after which a simulation is given up: some seconds of computing."""

RESERVE = 0.05
"""Share of a limit that is kept back where nodes may be lost: as many nodes as cluster.yaml's spot
type may lose cost 1 to 3% (docs/simulated/exposure100_spot.json).
"""

LEAST_CHANCE = 1e-3
"""Least chance that a program may have to reach its first checkpoint, or its end, on a node."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """What a sweep may take."""

    seconds: float = math.inf
    """From its start to its end."""
    node_s: float = math.inf
    """Seconds of nodes that are billed, boot and idle included."""

    @property
    def is_unlimited(self) -> bool:
        """Whether there is no limit."""
        return math.isinf(self.seconds) and math.isinf(self.node_s)

    @property
    def with_reserve(self) -> "Room":
        """The part to plan with where things may take longer than planned."""
        part = 1 - RESERVE
        return Room(seconds=part * self.seconds, node_s=part * self.node_s)

    def holds(self, replay: "Replay") -> bool:
        """Whether a simulated sweep stays within it, up to rounding."""
        is_in_time = replay.makespan_s <= self.seconds * (1 + EPS)
        return is_in_time and replay.node_s <= self.node_s * (1 + EPS)


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What became of a simulated sweep."""

    makespan_s: float
    """From the first request for a node to the end of the last program."""
    busy_device_s: float
    """Devices times the time that they trained, lost work included."""
    lost_device_s: float
    """Of that, work that was lost with nodes, or when more workers took over."""
    node_s: float
    """Time that nodes are billed for, from their request to their end."""
    n_lost_nodes: int
    n_cells_done: int
    widths: dict[str, int]
    """Devices that each cell's programs were spread over, at most."""
    ends: dict[str, float]
    """When each cell that is done ended."""
    n_unfinished: int = 0
    """Cells of which a program was begun, and that are not done."""


@dataclass(kw_only=True)
class _Program:
    """A program that was handed out."""

    start: Start
    left_frac: float = 1.0
    """Share of its training that is still to be done."""
    devices: float = 0.0
    """Those that it is on now."""
    places: list[tuple[Node, float]] = field(default_factory=list)
    began: float = 0.0
    ends: float = 0.0
    delay_s: float = 0.0
    """Of its time there, what is no training."""


class _World:
    def __init__(
        self, jobs: Sequence[Job], cluster: VirtualCluster, order: Order, room: Room
    ) -> None:
        self.cluster, self.until_s = cluster, room.seconds
        self.schedule = Schedule(jobs, n_devices=cluster.n_devices, order=order)
        self.nodes = Nodes(cluster, most_billed_s=room.node_s)
        self.now = 0.0
        self.events: list[tuple[float, bool, int, str, Any]] = []
        """Those that end idle nodes come last of a moment, when work has been given to them."""
        self.counter = itertools.count()
        self.used = 0.0
        """Devices of the programs that were handed out, those of lost nodes too."""
        self.waiting: list[_Program] = []
        """Programs that were handed out and are on no device yet; lost ones first."""
        self.runs: dict[int, _Program] = {}
        self.chance = random.Random(cluster.seed)
        self.busy = self.lost = self.last_end = 0.0
        self.n_lost = 0
        self.widths: dict[str, int] = {}
        self.ends: dict[str, float] = {}

    def at(self, time: float, kind: str, what: Any) -> None:
        heapq.heappush(self.events, (time, kind == "idle", next(self.counter), kind, what))

    def left_s(self) -> float:
        return min(self.until_s - self.now, self.nodes.left_s(self.now))

    def play(self) -> None:
        self.begin()
        while self.events and (self.runs or self.waiting or not self.schedule.is_empty):
            time, is_idle = self.events[0][:2]
            if time - self.now > (left := self.left_s()):
                self.now += max(0.0, left)
                break
            self.now = time
            while self.events and self.events[0][:2] == (time, is_idle):
                *_, kind, what = heapq.heappop(self.events)
                getattr(self, f"on_{kind}")(what)
            self.begin()
        for run in self.runs.values():
            self.busy += run.devices * (self.now - run.began)

    def begin(self) -> None:
        """Hand out all that can start, begin what there are devices for, and ask for nodes for the
        rest.
        """
        left_s = self.left_s()
        while start := self.schedule.next(self.cluster.n_devices - self.used, left_s=left_s):
            self.used += start.devices
            self.waiting.append(_Program(start=start))
        if self.waiting:
            free, still = self.nodes.free, []
            for program in self.waiting:
                devices = program.start.devices
                if program.start.workers > 1:
                    # Data-parallel workers begin with as many as there are devices for.
                    devices = min(devices, math.floor(free + EPS))
                if devices < EPS or devices > free + EPS:
                    still.append(program)
                else:
                    self.run(program, devices)
                    free = self.nodes.free
            self.waiting = still
        self.ask_for_nodes()

    def ask_for_nodes(self) -> None:
        missing = sum(program.start.devices for program in self.waiting)
        missing += sum(run.start.devices - run.devices for run in self.runs.values())
        if missing > EPS:
            coming = sum(node.size for node in self.nodes.alive if not node.is_up)
            for node in self.nodes.ask(missing - coming - self.nodes.free, self.now):
                self.at(self.now + self.cluster.boot_s, "boot", node)

    def run(self, program: _Program, devices: float) -> None:
        number, start = next(self.counter), program.start
        program.places, n_cold = self.nodes.take(devices, number)
        program.devices, program.began = devices, self.now
        program.delay_s = self.cluster.start_s + (self.cluster.first_start_s if n_cold > 0 else 0)
        seconds = program.left_frac * self.schedule.seconds(start, devices)
        program.ends = self.now + program.delay_s + seconds
        self.runs[number] = program
        width = int(devices) if start.workers > 1 else 1
        self.widths[start.cell_id] = max(width, self.widths.get(start.cell_id, 1))
        self.at(program.ends, "end", number)
        self.look_for_more(number)

    def look_for_more(self, number: int) -> None:
        program = self.runs[number]
        if program.start.workers > 1 and program.devices < program.start.devices - EPS:
            self.at(self.now + resize_every_s(self.cluster.save_every_s), "resize", number)

    def halt(self, number: int) -> _Program:
        """Take a program off its devices; what came after its last checkpoint is lost."""
        program = self.runs.pop(number)
        trained = max(0.0, self.now - program.began - program.delay_s)
        every = self.cluster.save_every_s
        saved = trained // every * every if every else trained
        self.busy += program.devices * (self.now - program.began)
        self.lost += program.devices * (trained - saved)
        program.left_frac -= saved / self.schedule.seconds(program.start, program.devices)
        self.give_back(program, number)
        return program

    def give_back(self, program: _Program, number: int) -> None:
        for node in self.nodes.give_back(program.places, number, self.now):
            self.at(self.now + self.cluster.idle_s, "idle", node)

    def on_boot(self, node: Node) -> None:
        self.nodes.boot(node, self.now)
        self.at(self.now + self.cluster.idle_s, "idle", node)
        if self.cluster.spot_loss_per_hour > 0:
            hours = self.chance.expovariate(self.cluster.spot_loss_per_hour)
            self.at(self.now + hours * _HOUR, "loss", node)

    def on_idle(self, node: Node) -> None:
        is_idle = node.is_up and not node.is_gone and not node.running
        if is_idle and self.now - node.idle_since >= self.cluster.idle_s - 1e-6:
            self.nodes.close(node, self.now)

    def on_loss(self, node: Node) -> None:
        if node.is_gone:
            return
        self.n_lost += 1
        if self.n_lost > MAX_LOST_NODES:
            raise UserError(
                f"--spot-loss-per-hour {self.cluster.spot_loss_per_hour:g}: given up after "
                f"{MAX_LOST_NODES:,} lost nodes and {self.now / _HOUR:,.0f} hours; "
                "write fewer losses, or a smaller --save-every"
            )
        self.nodes.close(node, self.now)
        self.waiting = [self.halt(number) for number in sorted(node.running)] + self.waiting

    def on_resize(self, number: int) -> None:
        if number not in self.runs:
            return
        program = self.runs[number]
        more = min(program.start.devices - program.devices, math.floor(self.nodes.free + EPS))
        if more < 1:
            return self.look_for_more(number)
        devices = program.devices + more
        self.run(self.halt(number), devices)

    def on_end(self, number: int) -> None:
        if number not in self.runs:
            return
        program = self.runs.pop(number)
        start = program.start
        self.give_back(program, number)
        self.used = self.used - start.devices if self.runs or self.waiting else 0.0
        self.busy += program.devices * (self.now - program.began)
        self.last_end = self.now
        self.schedule.finished(start.cell_id, start.first_trial, start.n_trials)
        if self.schedule.is_over(start.cell_id):
            self.ends[start.cell_id] = self.now


def replayed(jobs: Sequence[Job], cluster: VirtualCluster, order: Order, room: Room) -> Replay:
    """Run the jobs on the virtual cluster until they are done, or until a limit is reached."""
    _refuse_hopeless(jobs, cluster)
    world = _World(jobs, cluster, order, room)
    world.play()
    return Replay(
        makespan_s=world.last_end if not world.runs else world.now,
        busy_device_s=world.busy,
        lost_device_s=world.lost,
        node_s=world.nodes.due_s(world.now),
        n_lost_nodes=world.n_lost,
        n_cells_done=len(world.ends),
        widths=world.widths,
        ends=world.ends,
        n_unfinished=len(world.widths.keys() - world.ends.keys()),
    )


def _refuse_hopeless(jobs: Sequence[Job], cluster: VirtualCluster) -> None:
    """`UserError` where some program would hardly ever reach a checkpoint."""
    per_s = cluster.spot_loss_per_hour / _HOUR
    if per_s <= 0 or not jobs:
        return
    longest_s = max(job.seconds(n, max(job.widths)) for job in jobs for _, n in job.programs())
    saved_s = min(longest_s, cluster.save_every_s or 0.0) + cluster.start_s
    if math.exp(-per_s * saved_s) < LEAST_CHANCE:
        raise UserError(
            f"--spot-loss-per-hour {cluster.spot_loss_per_hour:g}: a node is lost after "
            f"{1 / per_s:,.0f} s on average, and the first checkpoint of a program comes after "
            f"{saved_s:,.0f} s, so hardly any would be reached; write a smaller --save-every"
        )

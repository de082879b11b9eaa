"""The nodes of a virtual cluster: which of their devices are free, and what is billed for them."""

import math
from dataclasses import dataclass, field

EPS = 1e-9
"""Shares of a device do not add up exactly."""

MIN_RESIZE_S = 60.0
"""Seconds that data-parallel workers train at least before more of them take over."""


@dataclass(frozen=True, kw_only=True)
class VirtualCluster:
    """What a sweep is simulated on; times in seconds."""

    n_devices: int
    """Devices at most; the last node may have fewer than the others, and is billed like them."""
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


def resize_every_s(save_every_s: float) -> float:
    """Seconds between two looks whether more data-parallel workers fit. They start from the last
    checkpoint: at most half of the time is lost so.
    """
    return max(MIN_RESIZE_S, 2 * save_every_s)


@dataclass(kw_only=True, eq=False)
class Node:
    """A node from its request to its end."""

    number: int
    asked_at: float
    size: float
    """Devices."""
    free: float = 0.0
    is_up: bool = False
    is_gone: bool = False
    idle_since: float = 0.0
    running: set[int] = field(default_factory=set)
    """Numbers of the programs on it."""
    n_warm: float = 0.0
    """Devices that have a worker already."""


class Nodes:
    """The nodes that are up or coming."""

    def __init__(self, cluster: VirtualCluster, *, most_billed_s: float = math.inf) -> None:
        """`most_billed_s`: seconds of nodes that may be billed; none is asked for beyond it."""
        self._cluster, self._most_billed_s = cluster, most_billed_s
        self._n_asked = 0
        self._closed_s = 0.0
        self.alive: list[Node] = []

    @property
    def free(self) -> float:
        """Devices that are free now."""
        return sum(node.free for node in self.alive)

    def ask(self, missing: float, now: float) -> list[Node]:
        """Ask for nodes with so many devices, as far as there are any and they can be paid."""
        asked = []
        here = sum(node.size for node in self.alive)
        missing = min(missing, self._cluster.n_devices - here)
        while missing > EPS:
            size = min(self._cluster.node_devices, self._cluster.n_devices - here)
            node = Node(number=self._n_asked, asked_at=now, size=float(size))
            self.alive.append(node)
            if self.due_s(now) > self._most_billed_s:
                self.alive.pop()
                break
            self._n_asked += 1
            asked.append(node)
            here += size
            missing -= size
        return asked

    def boot(self, node: Node, now: float) -> None:
        """The node is up."""
        node.is_up, node.free, node.idle_since = True, node.size, now

    def close(self, node: Node, now: float) -> None:
        """The node has ended, or was lost."""
        node.is_gone = True
        self.alive.remove(node)
        self._closed_s += now - node.asked_at

    def take(self, devices: float, number: int) -> tuple[list[tuple[Node, float]], float]:
        """Devices of one node if one has enough, of the emptiest ones else, for the program of this
        number; and how many of them have no worker yet.
        """
        up = [node for node in self.alive if node.is_up]
        enough = [node for node in up if node.free >= devices - EPS]
        if enough:
            chosen = [min(enough, key=lambda node: (node.free, node.number))]
        else:
            chosen = sorted(up, key=lambda node: (-node.free, node.number))
        places, n_cold = [], 0.0
        for node in chosen:
            part = min(node.free, devices)
            if part <= EPS:
                continue
            n_cold += max(0.0, part - max(0.0, node.n_warm - (node.size - node.free)))
            node.free -= part
            node.n_warm = max(node.n_warm, node.size - node.free)
            node.running.add(number)
            devices -= part
            places.append((node, part))
            if devices <= EPS:
                break
        return places, n_cold

    def give_back(self, places: list[tuple[Node, float]], number: int, now: float) -> list[Node]:
        """The program has ended; the nodes that are idle from now on."""
        idle = []
        for node, part in places:
            node.running.discard(number)
            node.free += part
            if not node.running and not node.is_gone:
                node.free, node.idle_since = node.size, now
                idle.append(node)
        return idle

    def due_s(self, now: float) -> float:
        """Seconds of nodes that are billed if nothing more is trained: a node that boots or trains
        ends when it has been idle for long enough.
        """
        idle_s = self._cluster.idle_s
        due = self._closed_s
        for node in self.alive:
            if not node.is_up:
                due += self._cluster.boot_s + idle_s
            else:
                idle_since = now if node.running else node.idle_since
                due += max(now, idle_since + idle_s) - node.asked_at
        return due

    def left_s(self, now: float) -> float:
        """Seconds that the nodes which are up may train on until what is due is all that may be
        billed.
        """
        if math.isinf(self._most_billed_s):
            return math.inf
        n_up = sum(node.is_up for node in self.alive)
        return (self._most_billed_s - self.due_s(now)) / n_up if n_up else math.inf

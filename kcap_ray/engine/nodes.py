"""Which nodes of a cluster are gone, as its head knows: Ray's errors often do not say.

An error reaches the driver within a second of a node's end, and the head gives the node up after
some 15 seconds without an answer. So who must know for certain asks once more later.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

NODE_DEATH_S = 20.0
"""Time in which Ray notices that a node is gone, and some: by default it asks every 3 seconds, and
gives a node up after 5 times. The peers of the node's workers notice at once.
"""

BEFORE_S = 60.0
"""Time before an error in which a node's end may have caused it."""

_ASK_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Place:
    """Where an actor is, or was."""

    node: str
    host: str


class Nodes(Protocol):
    """What is asked about nodes."""

    def place_of(self, actor: str) -> Place | None:
        """Where the actor with this id is, or was; None if that is not known."""
        ...

    def is_gone(self, node: str) -> bool:
        """Whether the node is dead."""
        ...

    def lost_since(self, at: float) -> bool:
        """Whether any node has died since then (seconds since 1970)."""
        ...


class RayNodes:
    """The nodes of the cluster that this process is connected to."""

    def place_of(self, actor: str) -> Place | None:
        # The public call for it needs the dashboard.
        from ray._private.state import state

        try:
            address = state.actor_table(actor).get("Address", {})
        except Exception:  # a head that does not answer is another's business
            return None
        node = address.get("NodeID", "")
        return Place(node, address.get("IPAddress", "?")) if node else None

    def is_gone(self, node: str) -> bool:
        return node in _ends()

    def lost_since(self, at: float) -> bool:
        return any(end >= at for end in _ends().values())


def _ends() -> dict[str, float]:
    """Ids of the dead nodes, and when the head gave each up, in seconds since 1970."""
    # `ray.nodes()` does not tell the time.
    from ray._private import worker

    connected: Any = worker.global_worker
    try:
        found = connected.gcs_client.get_all_node_info(timeout=_ASK_TIMEOUT_S)
    except Exception:  # a head that does not answer is another's business
        return {}
    return {
        node.hex(): info.end_time_ms / 1000
        for node, info in found.items()
        if info.state == info.DEAD
    }


def comes_true(
    happened: Callable[[], bool],
    *,
    until: float,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Whether something has happened, or does until then (seconds since 1970)."""
    while not happened():
        if clock() > until:
            return False
        sleep(0.5)
    return True

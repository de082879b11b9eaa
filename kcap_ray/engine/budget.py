"""Stops a sweep when its time or its money is spent: what runs is saved first, as by Ctrl-C."""

import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from types import TracebackType

from kcap_ray.planning.cluster_plan import Limits
from kcap_ray.planning.prices import Price
from kcap_ray.planning.replay import Room
from kcap_ray.planning.virtual_cluster import VirtualCluster

_logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0

_HOUR = 3600.0


class Budget:
    """What this command may still spend. Within it the process is sent Ctrl-C when a limit is
    reached, which does not leave it: `reached` says so.

    Devices are counted in a thread of their own: a cluster whose head does not answer may hold up a
    count, or have it fail, but no limit. Meanwhile the last count is paid for.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        price: Price | None,
        n_devices: Callable[[], float],
        nodes: VirtualCluster | None = None,
    ) -> None:
        """`n_devices`: of the nodes that are up, all of each, which are billed whether they train
        or not. `nodes`: how long they take to boot and to end when idle, which is billed too.
        """
        self._boot_s, self._idle_s = (nodes.boot_s, nodes.idle_s) if nodes else (0.0, 0.0)
        self._node_devices = nodes.node_devices if nodes else 1
        self._n_before: float | None = None
        self._boot_device_s = 0.0
        n_devices = partial(self._counted, n_devices)
        self._limits, self._price, self._n_devices = limits, price, n_devices
        self._began = self._looked = time.monotonic()
        self._spent = 0.0
        self._n_now = 0.0
        self._stop = threading.Event()
        self._is_failing = False
        self.reached: str | None = None
        """The limit that was reached, in words."""

    @property
    def named(self) -> str:
        """The limits, in words."""
        hours, cost = self._limits.max_hours, self._limits.max_cost
        said = [] if hours is None else [f"--max-hours {hours:g}"]
        return " and ".join(said + ([] if cost is None else [f"--max-cost {cost:g}"]))

    def left_s(self) -> float:
        """Seconds until the first limit, if as many devices stay up as now."""
        left = [math.inf]
        if self._limits.max_hours is not None:
            left.append(self._left_hours() * _HOUR)
        if self._limits.max_cost is not None:
            per_s = self._dollars_per_s(max(1.0, self._n_now))
            left.append(self._left_dollars() / per_s - self._idle_s if per_s else math.inf)
        return min(left)

    def room(self) -> Room:
        """What is left, to plan with: the nodes that are up may be idle before they are needed, so
        the idle time at the end is counted by whoever plans.
        """
        hours, dollars = max(0.0, self._left_hours()), max(0.0, self._left_dollars())
        left = Limits(max_hours=hours, max_cost=dollars)
        return left.room(self._price, self._node_devices)

    def __enter__(self) -> "Budget":
        self._look()
        if not math.isinf(self.left_s()):
            threading.Thread(target=self._watch, daemon=True).start()
            if self._price is not None:
                threading.Thread(target=self._keep_counting, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._stop.set()
        return kind is KeyboardInterrupt and self.reached is not None

    def _left_hours(self) -> float:
        most = math.inf if self._limits.max_hours is None else self._limits.max_hours
        return most - (time.monotonic() - self._began) / _HOUR

    def _left_dollars(self) -> float:
        most = math.inf if self._limits.max_cost is None else self._limits.max_cost
        return most - self._spent - self._dollars_per_s(1.0) * self._boot_device_s

    def _counted(self, n_devices: Callable[[], float]) -> float:
        """Devices that are up; the boot of those that have come is to be paid."""
        found = n_devices()
        if self._n_before is not None:
            self._boot_device_s += max(0.0, found - self._n_before) * self._boot_s
        self._n_before = found
        return found

    def _dollars_per_s(self, n_devices: float) -> float:
        return 0.0 if self._price is None else self._price.dollars_per_hour * n_devices / _HOUR

    def _look(self) -> None:
        self._count()
        self._pay()

    def _count(self) -> None:
        if self._price is None:
            return
        try:
            self._n_now = self._n_devices()
        except Exception as error:  # whatever a cluster raises that does not answer
            if not self._is_failing:
                _logger.warning(
                    "%s: devices cannot be counted (%s: %s); %g are taken to be up until they can",
                    self.named,
                    type(error).__name__,
                    error,
                    self._n_now,
                )
            self._is_failing = True
            return
        self._is_failing = False

    def _pay(self) -> None:
        now = time.monotonic()
        self._spent += self._dollars_per_s(self._n_now) * (now - self._looked)
        self._looked = now

    def _keep_counting(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            self._count()

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            self._pay()
            if self.left_s() <= 0:
                self.reached = self.named
                os.kill(os.getpid(), signal.SIGINT)
                return

"""A budget of time or money ends what runs in it, and nothing else does so unseen."""

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from kcap_ray.engine import budget as module
from kcap_ray.engine.budget import Budget
from kcap_ray.planning.cluster_plan import Limits
from kcap_ray.planning.prices import Price
from kcap_ray.planning.virtual_cluster import VirtualCluster

DOLLAR_A_SECOND = Price(
    device="mine", kind="yours", dollars_per_hour=3600.0, date="", source="a test"
)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """It looks often, and Ctrl-C means what it does in a terminal: of what a script puts into the
    background Python takes none.
    """
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.02)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        (Limits(max_hours=0.1 / 3600), "--max-hours"),
        (Limits(max_cost=0.3), "--max-cost 0.3"),
    ],
)
def test_a_limit_that_is_reached_ends_the_work(limits: Limits, named: str) -> None:
    """Three devices at a dollar a second each spend thirty cents in a tenth of a second."""
    budget = Budget(limits, price=DOLLAR_A_SECOND, n_devices=lambda: 3.0)
    began = time.monotonic()
    with budget:
        time.sleep(20)
    assert time.monotonic() - began < 10
    assert budget.reached is not None and named in budget.reached
    assert budget.left_s() <= 0


def test_devices_that_idle_are_paid_for_too() -> None:
    """What is left lasts a third as long with three as with one."""
    left = [
        Budget(Limits(max_cost=60.0), price=DOLLAR_A_SECOND, n_devices=lambda n=n: n)
        for n in (1.0, 3.0)
    ]
    for budget in left:
        budget._look()
    assert left[1].left_s() == pytest.approx(left[0].left_s() / 3, rel=0.01)


def test_an_interrupt_of_the_users_is_none_of_a_limit() -> None:
    """It ends the command as ever; without a limit nothing is left out."""
    budget = Budget(Limits(max_hours=1.0), price=None, n_devices=lambda: 1.0)
    with pytest.raises(KeyboardInterrupt), budget:
        raise KeyboardInterrupt
    assert budget.reached is None
    assert math.isinf(Budget(Limits(), price=None, n_devices=lambda: 1.0).left_s())


def test_boot_and_idle_time_are_paid_for_too() -> None:
    """Three devices come that took ten seconds to boot, and will be idle for four when all is over:
    of 100 dollars 58 are left to train for, which three devices do for 19 seconds.
    """
    counts = iter([0.0, 3.0, 3.0])
    nodes = VirtualCluster(n_devices=3, node_devices=3, boot_s=10.0, idle_s=4.0)
    budget = Budget(
        Limits(max_cost=100.0),
        price=DOLLAR_A_SECOND,
        n_devices=lambda: next(counts),
        nodes=nodes,
    )
    for _ in range(3):
        budget._look()
    assert budget.left_s() == pytest.approx((100 - 3 * 10 - 3 * 4) / 3, abs=0.5)
    room = budget.room()
    assert room.node_s == pytest.approx((100 - 3 * 10) / 3, abs=0.5)
    assert math.isinf(room.seconds)


def test_what_is_left_is_room_to_plan_in() -> None:
    """Of both limits; without one there is no end to it."""
    budget = Budget(Limits(max_hours=2.0), price=None, n_devices=lambda: 1.0)
    assert budget.room().seconds == pytest.approx(7200, abs=5)
    assert math.isinf(budget.room().node_s)
    assert Budget(Limits(), price=DOLLAR_A_SECOND, n_devices=lambda: 1.0).room().is_unlimited


def failing_from_the_second_on() -> Callable[[], float]:
    """A head that answers once, and then has an error for every question."""
    n_asked = 0

    def count() -> float:
        nonlocal n_asked
        n_asked += 1
        if n_asked > 1:
            raise RuntimeError("GCS unavailable")
        return 3.0

    return count


def hanging_from_the_second_on() -> Callable[[], float]:
    """A head that answers once, and then holds up whoever asks."""
    n_asked = 0

    def count() -> float:
        nonlocal n_asked
        n_asked += 1
        if n_asked > 1:
            threading.Event().wait(30)
        return 3.0

    return count


@pytest.mark.parametrize("limits", [Limits(max_hours=0.3 / 3600, max_cost=1e6), Limits(max_cost=1)])
@pytest.mark.parametrize("devices", [failing_from_the_second_on, hanging_from_the_second_on])
def test_limits_hold_though_the_devices_cannot_be_counted(
    limits: Limits,
    devices: Callable[[], Callable[[], float]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The last count is paid for, and that is said once."""
    budget = Budget(limits, price=DOLLAR_A_SECOND, n_devices=devices())
    began = time.monotonic()
    with caplog.at_level(logging.WARNING), budget:
        time.sleep(20)
    assert time.monotonic() - began < 10
    assert budget.reached is not None
    said = [line for line in caplog.messages if "cannot be counted" in line]
    assert len(said) == (devices is failing_from_the_second_on)


def test_a_sweep_begins_though_its_first_count_fails() -> None:
    """Its hours are kept, and its money from the first count that succeeds."""

    def count() -> float:
        raise RuntimeError("GCS unavailable")

    with Budget(Limits(max_cost=60.0), price=DOLLAR_A_SECOND, n_devices=count) as budget:
        assert budget.left_s() == pytest.approx(60.0, rel=0.05)

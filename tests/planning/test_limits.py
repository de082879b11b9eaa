"""What is finished within a limit of time or money: whole cells, the more the higher the limit."""

import dataclasses
import math

import pytest

from kcap_ray.planning.cluster_plan import Limits, plan_on_cluster, render_cluster_plan
from kcap_ray.planning.cost import device_of
from kcap_ray.planning.jobs import Job, jobs_of
from kcap_ray.planning.prices import Price
from kcap_ray.planning.replay import Room
from kcap_ray.planning.schedule import Order
from kcap_ray.planning.simulate import simulate
from kcap_ray.planning.sweep import load_sweep
from kcap_ray.planning.virtual_cluster import VirtualCluster

HOUR = 3600.0
DOLLAR = Price(device="mine", kind="yours", dollars_per_hour=1.0, date="", source="a test")
ORDERS: tuple[Order, ...] = ("longest", "cheapest", "column")


def sweep() -> list[Job]:
    """Two columns: chains of cells with six trials each, and costly cells that wait for all."""
    found = []
    for number in range(12):
        hours = 0.5 + 0.3 * number
        found.append(
            Job(
                cell_id=f"c{number}",
                n_trials=6,
                seconds=lambda n, w, hours=hours: HOUR * hours * n / w**0.9,
                widths=(1, 2, 4),
                neighbour=f"c{number - 2}" if number >= 2 else None,
                column=number % 2,
            )
        )
    guides = tuple(job.cell_id for job in found)
    found += [
        dataclasses.replace(
            found[0],
            cell_id=f"costly{number}",
            n_trials=2,
            seconds=lambda n, w, number=number: HOUR * (6 + number) * n / w**0.9,
            neighbour=guides,
            waits_whole=True,
            column=number % 2,
        )
        for number in range(4)
    ]
    return found


def rooms() -> list[Room]:
    """Limits of time, and of money, from nothing to more than all of it takes."""
    times = [Room(seconds=HOUR * hours) for hours in (0, 1, 5, *range(10, 90, 4))]
    return times + [Room(node_s=HOUR * hours) for hours in (0, 1, 4, *range(8, 160, 8))]


@pytest.mark.parametrize("n_devices", [1, 3, 4, 6])
@pytest.mark.parametrize("order", ORDERS)
def test_no_limit_is_exceeded_and_no_cell_is_begun_in_vain(order, n_devices):
    """Whole nodes are billed, boot and idle included, also where devices do not fill the last."""
    cluster = VirtualCluster(n_devices=n_devices, node_devices=min(n_devices, 4))
    for room in rooms():
        replay = simulate(sweep(), cluster, order=order, room=room)
        assert replay.makespan_s <= room.seconds * (1 + 1e-9)
        assert replay.node_s <= room.node_s * (1 + 1e-9)
        assert replay.n_unfinished == 0
        assert len(replay.ends) == replay.n_cells_done


@pytest.mark.parametrize("order", ["cheapest", "longest"])
def test_a_higher_limit_never_finishes_fewer_cells(order):
    """And one that is high enough finishes all."""
    cluster = VirtualCluster(n_devices=6, node_devices=4)
    done = [simulate(sweep(), cluster, order=order, room=room) for room in rooms()]
    n_times = sum(math.isinf(room.node_s) for room in rooms())
    for part in (done[:n_times], done[n_times:]):
        n_done = [replay.n_cells_done for replay in part]
        assert n_done == sorted(n_done)
        assert n_done[0] == 0 and n_done[-1] == len(sweep()) and len(set(n_done)) > 8


def test_cells_of_the_first_column_come_before_others():
    """With what they wait for, and without those that alone take longer than the limit."""
    cluster = VirtualCluster(n_devices=1, node_devices=1, boot_s=0.0)
    replay = simulate(sweep(), cluster, order="column", room=Room(seconds=30 * HOUR))
    assert set(replay.ends) == {"c0", "c2", "c4"}
    plain = [
        dataclasses.replace(job, neighbour=None, n_trials=1, column=1 - job.column, widths=(1,))
        for job in sweep()[:3]
    ]
    short = simulate(plain, cluster, order="column", room=Room(seconds=0.7 * HOUR))
    assert set(short.ends) == {"c0"}


@pytest.mark.parametrize("seed", range(4))
def test_lost_nodes_do_not_make_the_bill_exceed_the_limit(seed):
    """Nor the time; what is running then is counted as begun."""
    cluster = VirtualCluster(n_devices=6, node_devices=4, spot_loss_per_hour=0.3, seed=seed)
    for room in rooms()[::5]:
        replay = simulate(sweep(), cluster, room=room)
        assert replay.makespan_s <= room.seconds * (1 + 1e-9)
        assert replay.node_s <= room.node_s * (1 + 1e-9)
        assert replay.n_cells_done + replay.n_unfinished <= len(sweep())


def test_nodes_are_paid_whole_where_devices_do_not_fill_them():
    """Three devices are two nodes of two: four hours cost up to 16 dollars, not 12."""
    jobs = [Job(cell_id=f"c{i}", n_trials=1, seconds=lambda n, w: HOUR) for i in range(30)]
    cluster = VirtualCluster(n_devices=3, node_devices=2, boot_s=0.5 * HOUR, idle_s=0.5 * HOUR)
    plan = plan_on_cluster(jobs, cluster, DOLLAR, limits=Limits(max_cost=16.0))
    assert plan.n_cells_done == 9 and plan.price == pytest.approx(16.0)
    plan = plan_on_cluster(jobs, cluster, DOLLAR, limits=Limits(max_cost=15.9))
    assert plan.n_cells_done < 9 and plan.price is not None and plan.price <= 15.9
    assert "ideal" not in render_cluster_plan(plan, DOLLAR)[0]


@pytest.mark.parametrize(("n_devices", "dollars"), [(9, 5000.0), (60, 38_000.0)])
def test_a_bill_of_the_papers_sweep_stays_below_its_limit(n_devices, dollars):
    """Devices that do not fill their nodes; and the default order spends what it may."""
    loaded, device = load_sweep("exposure100"), device_of("a100")
    jobs = jobs_of(loaded.cells, loaded.neighbour, device, column=loaded.column, max_width=8)
    price = dataclasses.replace(DOLLAR, dollars_per_hour=1.84)
    cluster = VirtualCluster(n_devices=n_devices)
    plan = plan_on_cluster(jobs, cluster, price, limits=Limits(max_cost=dollars))
    assert plan.price is not None and 0.9 * dollars < plan.price <= dollars
    assert plan.n_cells_unfinished == 0 and plan.n_cells_done > 150

"""The virtual cluster: times, boot, lost nodes and bills that can be worked out by hand."""

import dataclasses
import math

import pytest

from kcap_ray.planning.cluster_plan import Limits, plan_on_cluster, render_cluster_plan
from kcap_ray.planning.cost import device_of
from kcap_ray.planning.jobs import Job, jobs_of
from kcap_ray.planning.prices import price_of
from kcap_ray.planning.replay import Room
from kcap_ray.planning.simulate import simulate
from kcap_ray.planning.sweep import load_sweep
from kcap_ray.planning.virtual_cluster import VirtualCluster

HOUR = 3600.0


def jobs(n: int, *, hours: float = 1.0, trials: int = 1, **more) -> list[Job]:
    """Cells of programs of so many hours."""
    return [
        Job(cell_id=f"c{i}", n_trials=trials, seconds=lambda n, w: HOUR * hours * n / w, **more)
        for i in range(n)
    ]


def cluster(n_devices: int, **more) -> VirtualCluster:
    """Nodes of two devices that boot in half an hour, and end after one that was idle."""
    settings = {"node_devices": 2, "boot_s": 0.5 * HOUR, "idle_s": HOUR, **more}
    return VirtualCluster(n_devices=n_devices, **settings)


def test_programs_run_in_turn_after_the_boot():
    """Six hours of work on two devices: half an hour of boot, and three of training; the node is
    paid until it was idle for its hour.
    """
    replay = simulate(jobs(6), cluster(2))
    assert replay.makespan_s == 3.5 * HOUR
    assert replay.busy_device_s == 6 * HOUR
    assert replay.node_s == 4.5 * HOUR
    assert replay.n_cells_done == 6 and replay.n_lost_nodes == 0


def test_no_more_nodes_are_asked_for_than_there_is_work():
    """Two programs: one node of two devices, of four that there may be."""
    replay = simulate(jobs(2), cluster(8))
    assert replay.makespan_s == 1.5 * HOUR
    assert replay.node_s == 2.5 * HOUR


def test_an_idle_node_ends_and_another_comes_when_it_is_needed():
    """Four trials at once, then one of three hours on one node; then four fresh seeds need both."""
    seconds = {1: HOUR, 2: 3 * HOUR}
    (found,) = jobs(1, trials=1, n_widen=1, n_confirm=4)
    found = dataclasses.replace(found, seconds=lambda n, w: seconds[n])
    replay = simulate([found], cluster(4))
    # Boot, search, beyond the edges, then two seeds at once, for the second node boots meanwhile.
    assert replay.makespan_s == pytest.approx((0.5 + 1 + 1 + 1.5) * HOUR)


def test_own_starts_are_counted():
    """A device's first program takes longer: a process has to begin."""
    replay = simulate(jobs(4), cluster(2, start_s=60.0, first_start_s=600.0))
    assert replay.makespan_s == pytest.approx(0.5 * HOUR + 600.0 + 2 * (HOUR + 60.0))


def test_work_since_the_last_checkpoint_is_lost_with_a_node():
    """Every loss costs at most that and a boot; everything is done in the end, and the same seed
    loses the same nodes.
    """
    calm = simulate(jobs(40, hours=2.0), cluster(4))
    stormy = cluster(4, spot_loss_per_hour=0.2, save_every_s=600.0)
    replay = simulate(jobs(40, hours=2.0), stormy)
    assert replay == simulate(jobs(40, hours=2.0), stormy)
    assert replay.n_cells_done == 40 and replay.n_lost_nodes > 3
    assert 0 < replay.lost_device_s <= replay.n_lost_nodes * 2 * 600.0
    assert replay.busy_device_s - replay.lost_device_s == pytest.approx(80 * HOUR)
    assert replay.makespan_s >= calm.makespan_s
    bare = simulate(jobs(40, hours=2.0), dataclasses.replace(stormy, save_every_s=HOUR))
    assert bare.lost_device_s > replay.lost_device_s


def test_a_limit_ends_a_sweep_with_the_first_cells_done():
    """Three and a half hours: what would end later is not begun."""
    some = [*jobs(4), Job(cell_id="dear", n_trials=1, seconds=lambda n, w: 9 * HOUR)]
    replay = simulate(
        some, cluster(1, node_devices=1), order="cheapest", room=Room(seconds=3.6 * HOUR)
    )
    assert sorted(replay.ends) == ["c0", "c1", "c2"]
    assert replay.makespan_s == 3.5 * HOUR


def test_plans_are_simulations_with_their_price():
    """Nodes are paid whole, boot and idle time too; so a limit of money counts them."""
    price = price_of("a100")
    plan = plan_on_cluster(jobs(6), cluster(2), price)
    assert price is not None
    assert plan.price == pytest.approx(4.5 * 2 * price.dollars_per_hour)
    assert plan.ideal_hours == 3.0 and plan.utilization == pytest.approx(6 / 7)
    limits = Limits(max_cost=2.5 * 2 * price.dollars_per_hour)
    short = plan_on_cluster(jobs(6), cluster(2), price, limits=limits)
    assert short.n_cells_done == 2 and "limit" in short.limited_by
    assert math.isinf(Limits().room(price, 2).seconds)
    assert any("4.5 node-hours" in line for line in render_cluster_plan(plan, price))


def test_busy_devices_are_the_limit_where_programs_are_spread_over_several():
    """Each of a hundred on two devices, at three quarters of their speed: the makespan is far from
    the ideal one, yet nothing but more devices would shorten it. A few programs leave them idle.
    """

    def slowed(n: int, workers: int) -> float:
        return HOUR * n / workers if workers == 1 else HOUR * n / (0.75 * workers)

    def plan(n: int):
        spread = [dataclasses.replace(job, seconds=slowed, widths=(2,)) for job in jobs(n)]
        return plan_on_cluster(spread, cluster(4, boot_s=0.1 * HOUR), None)

    many, few = plan(100), plan(3)
    assert many.makespan_hours > 1.3 * many.ideal_hours and many.n_wide_cells == 100
    assert "number of devices" in many.limited_by
    assert "number of devices" not in few.limited_by


def test_the_papers_sweep_keeps_64_devices_busy():
    """Figure 1 at 100 exposures: at most 1.3 times the ideal makespan, which on one device per cell
    it would miss by far; and on any number of them all cells are done.
    """
    sweep = load_sweep("exposure100")
    found = {
        (width, n_devices): plan_on_cluster(
            jobs_of(sweep.cells, sweep.neighbour, device_of("a100"), max_width=width),
            VirtualCluster(n_devices=n_devices),
            None,
        )
        for width, n_devices in ((1, 64), (8, 64), (8, 512))
    }
    assert found[8, 64].makespan_hours <= 1.3 * found[8, 64].ideal_hours
    assert found[1, 64].makespan_hours > 2 * found[1, 64].ideal_hours
    for plan in found.values():
        assert plan.n_cells_done == len(sweep.cells)
        assert plan.chain_hours <= plan.makespan_hours, "no chain takes longer than the sweep"

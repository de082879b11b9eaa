"""Nodes that are lost on a virtual cluster: what their programs do is what the queue's do."""

import random

import pytest

from kcap_ray.config.errors import UserError
from kcap_ray.planning.cluster_plan import Limits, plan_on_cluster, render_cluster_plan
from kcap_ray.planning.jobs import Job
from kcap_ray.planning.loss_runs import Spread, plan_with_losses, render_loss_runs
from kcap_ray.planning.simulate import simulate
from kcap_ray.planning.virtual_cluster import VirtualCluster

HOUR = 3600.0


@pytest.fixture
def one_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first node is lost an hour and a quarter after its boot, and no other one."""
    hours = iter([1.25])
    monkeypatch.setattr(random.Random, "expovariate", lambda self, rate: next(hours, 1e6))


def cluster(n_devices: int, **more) -> VirtualCluster:
    """Nodes of one device that boot in half an hour; checkpoints every hour."""
    settings = {"node_devices": 1, "boot_s": 0.5 * HOUR, "save_every_s": HOUR, **more}
    return VirtualCluster(n_devices=n_devices, spot_loss_per_hour=0.1, **settings)


def wide(workers: int, hours: float) -> Job:
    """A program of so many device-hours."""
    return Job(
        cell_id="wide", n_trials=1, seconds=lambda n, w: HOUR * hours * n / w, widths=(workers,)
    )


@pytest.mark.usefixtures("one_loss")
def test_a_data_parallel_program_goes_on_with_the_workers_that_are_left_and_grows_again():
    """Eight device-hours on two from 0.5 h on; at 1.75 h one node goes, and a quarter of an hour of
    work with it. The other takes 2 of the 6 device-hours that are left, until it looks for more at
    3.75 h and finds the new node: two hours on both.
    """
    replay = simulate([wide(2, 8.0)], cluster(2))
    assert replay.makespan_s == pytest.approx(5.75 * HOUR)
    assert replay.lost_device_s == pytest.approx(0.5 * HOUR)
    assert replay.n_lost_nodes == 1 and replay.widths == {"wide": 2}


@pytest.mark.usefixtures("one_loss")
def test_a_program_whose_node_is_lost_waits_for_another_one():
    """Nobody overtakes it: a device that becomes free meanwhile is given to it first."""
    jobs = [
        Job(cell_id="long", n_trials=1, seconds=lambda n, w: 4 * HOUR),
        Job(cell_id="short", n_trials=1, seconds=lambda n, w: 1.5 * HOUR),
        Job(cell_id="third", n_trials=1, seconds=lambda n, w: 1.0 * HOUR),
    ]
    replay = simulate(jobs, cluster(2, boot_s=HOUR))
    # Boot, 1.25 h; at 2.5 h the short one ends, and the long one goes on where its hour was saved.
    assert replay.ends["short"] == pytest.approx(2.5 * HOUR)
    assert replay.ends["long"] == pytest.approx(5.5 * HOUR)
    assert replay.ends["third"] == pytest.approx(4.25 * HOUR)


def test_workers_begin_on_the_nodes_that_are_up():
    """Programs are handed out on all devices that there may be, as those of the queue are: four
    workers that nobody shares with wait for no smaller cluster.
    """
    calm = VirtualCluster(n_devices=4, node_devices=2, boot_s=0.5 * HOUR)
    assert simulate([wide(4, 8.0)], calm).makespan_s == pytest.approx(2.5 * HOUR)
    assert simulate([wide(8, 8.0)], calm).makespan_s == pytest.approx(2.5 * HOUR)
    plan = plan_on_cluster([wide(8, 8.0)], calm, None)
    assert plan.makespan_hours >= plan.ideal_hours and plan.n_narrowed_cells == 1
    assert any("more workers" in line for line in render_cluster_plan(plan, None))


def test_several_seeds_of_losses_are_summed_up():
    """Mean and range of the same simulations one by one; without losses there is nothing to say."""
    jobs = [Job(cell_id=f"c{i}", n_trials=1, seconds=lambda n, w: 5 * HOUR) for i in range(20)]
    asked = ("longest", Limits())
    plan, runs = plan_with_losses(jobs, cluster(2, seed=3), None, asked=asked, n_runs=4)
    singles = [plan_on_cluster(jobs, cluster(2, seed=seed), None) for seed in range(3, 7)]
    assert runs is not None and runs.seeds == (3, 4, 5, 6)
    assert plan == singles[0] and runs.price is None
    assert runs.makespan_hours == Spread.of([one.makespan_hours for one in singles])
    assert runs.n_lost_nodes.least < runs.n_lost_nodes.mean < runs.n_lost_nodes.most
    assert "4 seeds" in render_loss_runs(runs)
    calm = VirtualCluster(n_devices=2, node_devices=1)
    assert plan_with_losses(jobs, calm, None, asked=asked, n_runs=4)[1] is None


def test_what_never_comes_to_a_checkpoint_is_refused():
    """Where hardly any program would reach one, and where the losses do not end."""
    with pytest.raises(UserError, match="--save-every"):
        simulate([wide(1, 100.0)], cluster(1, save_every_s=100 * HOUR))
    with pytest.raises(UserError, match="lost nodes"):
        simulate([wide(1, 60.0), wide(1, 10_000.0)][1:], cluster(1, save_every_s=60 * HOUR))
    assert simulate([wide(1, 5.0)], cluster(1, save_every_s=100 * HOUR)).n_cells_done == 1


def test_a_machine_that_is_there_needs_neither_boot_nor_idle_time():
    """Work that comes at the moment when a node would end is done on it."""
    there = VirtualCluster(n_devices=2, node_devices=2, boot_s=0.0, idle_s=0.0)
    chain = [Job(cell_id=f"c{i}", n_trials=6, seconds=lambda n, w: HOUR * n / w) for i in range(2)]
    replay = simulate(chain, there)
    assert replay.makespan_s == 6 * HOUR and replay.node_s == 6 * HOUR

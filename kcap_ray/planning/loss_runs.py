"""A sweep on a cluster that loses nodes by chance: the same simulation with other losses, and how
far they are apart.
"""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from kcap_ray.planning.cluster_plan import ClusterPlan, Limits, plan_on_cluster
from kcap_ray.planning.jobs import Job
from kcap_ray.planning.plan import dollars_text, hours_text
from kcap_ray.planning.prices import Price
from kcap_ray.planning.schedule import Order
from kcap_ray.planning.virtual_cluster import VirtualCluster


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A figure over several simulations."""

    mean: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of these values."""
        return cls(mean=statistics.fmean(values), least=min(values), most=max(values))


@dataclass(frozen=True, kw_only=True)
class LossRuns:
    """The same sweep with other losses."""

    seeds: tuple[int, ...]
    """Of the losses."""
    makespan_hours: Spread
    price: Spread | None
    """Dollars; None where the device has no price."""
    n_lost_nodes: Spread
    lost_device_hours: Spread
    """Training that was lost with nodes."""
    n_cells_done: Spread

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def plan_with_losses(
    jobs: Sequence[Job],
    cluster: VirtualCluster,
    price: Price | None,
    *,
    asked: tuple[Order, Limits],
    n_runs: int,
) -> tuple[ClusterPlan, LossRuns | None]:
    """The plan for the cluster's seed of losses, and of what there is with that seed and those
    after it; None without losses, which are all that differs.
    """
    order, limits = asked
    seeds = tuple(range(cluster.seed, cluster.seed + n_runs))
    if cluster.spot_loss_per_hour <= 0:
        return plan_on_cluster(jobs, cluster, price, order=order, limits=limits), None
    plans = [
        plan_on_cluster(jobs, replace(cluster, seed=seed), price, order=order, limits=limits)
        for seed in seeds
    ]
    prices = [plan.price for plan in plans if plan.price is not None]
    return plans[0], LossRuns(
        seeds=seeds,
        makespan_hours=Spread.of([plan.makespan_hours for plan in plans]),
        price=Spread.of(prices) if prices else None,
        n_lost_nodes=Spread.of([plan.n_lost_nodes for plan in plans]),
        lost_device_hours=Spread.of([plan.lost_device_hours for plan in plans]),
        n_cells_done=Spread.of([plan.n_cells_done for plan in plans]),
    )


def render_loss_runs(runs: LossRuns) -> str:
    """A line on them."""
    hours, lost = runs.makespan_hours, runs.n_lost_nodes
    parts = [
        f"{hours_text(hours.mean)} hours ({hours_text(hours.least)} to {hours_text(hours.most)})",
        f"{lost.mean:,.0f} nodes lost ({lost.least:,.0f} to {lost.most:,.0f})",
    ]
    if runs.price is not None:
        price = runs.price
        parts.append(
            f"{dollars_text(price.mean)} ({dollars_text(price.least)} to "
            f"{dollars_text(price.most)})"
        )
    return f"mean and range of {len(runs.seeds)} seeds of losses: {', '.join(parts)}"

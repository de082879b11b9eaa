"""What the reports of a cluster's nodes mean: one check for each thing, and how to mend it."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from kcap_ray.cli.check import GIB, Check

if TYPE_CHECKING:
    from kcap_ray.engine.probe import NodeReport, Pair

MIN_FILES = 4096
"""Files that a process must be able to open: Ray keeps a few for each worker and each object that
it sends, and fails in odd ways at the usual limit of 1024."""
MIN_NODE_DISK_GIB = 10.0
"""Room on a node for what Ray spills and logs: it refuses tasks on a disk that is 95% full."""
MAX_CLOCK_S = 5.0
"""Signatures of requests to buckets allow minutes; leases and the times of logs, seconds."""
MIN_PAIR_BYTES_PER_S = 125e6
"""A gigabit per second: with less, data-parallel cells over several nodes mostly wait."""


def cluster_checks(reports: Sequence["NodeReport"], silent: Mapping[str, str]) -> list[Check]:
    """All checks of nodes; `silent`: why nodes gave no report."""
    return [
        _answers(reports, silent),
        _versions(reports),
        _gpus(reports),
        _storage(reports),
        _files(reports),
        _node_memory(reports),
        _disk(reports),
        _clock(reports),
    ]


def _answers(reports: Sequence["NodeReport"], silent: Mapping[str, str]) -> Check:
    n_nodes = len(reports) + len(silent)
    finding = f"{len(reports)} of {n_nodes} answer"
    if silent:
        finding += "; " + "; ".join(f"{name}: {why}" for name, why in silent.items())
    remedy = "drain or end the silent nodes: cells that land there hang" if silent else None
    return Check(name="nodes", finding=finding, remedy=remedy)


def _versions(reports: Sequence["NodeReport"]) -> Check:
    """A build for CPUs and one for GPUs of the same version are equal."""
    names = ("ray", "python", "torch", "kcap")
    by_name: dict[str, dict[str, list[str]]] = {name: defaultdict(list) for name in names}
    for one in reports:
        for name in names:
            by_name[name][one.versions.get(name, "none").partition("+")[0]].append(one.name)
    by_name["driver"] = defaultdict(list)
    for one in reports:
        if one.ray_gpus or one.driver:
            by_name["driver"][one.driver or "none"].append(one.name)
    different = {name: found for name, found in by_name.items() if len(found) > 1}
    if different:
        finding = "; ".join(_apart(name, found) for name, found in different.items())
        remedy = "give all nodes one image; with cluster.yaml, `ray up` brings them to one state"
        return Check(name="versions", finding=finding, remedy=remedy)
    same = [f"{name} {next(iter(found))}" for name, found in by_name.items() if found]
    return Check(name="versions", finding=f"equal: {', '.join(same)}")


def _apart(name: str, found: Mapping[str, Sequence[str]]) -> str:
    """`torch 2.13.0 on 10.0.0.1 and 3 more, 2.12.0 on 10.0.0.5`."""
    parts = []
    for version, nodes in sorted(found.items(), key=lambda one: -len(one[1])):
        more = f" and {len(nodes) - 1} more" if len(nodes) > 1 else ""
        parts.append(f"{version} on {nodes[0]}{more}")
    return f"{name} {', '.join(parts)}"


def _gpus(reports: Sequence["NodeReport"]) -> Check:
    return _each(
        "GPUs",
        reports,
        lambda one: (
            f"torch sees {one.torch_gpus} of {one.ray_gpus} GPUs"
            if one.torch_gpus < one.ray_gpus
            else ""
        ),
        f"torch sees all {sum(one.ray_gpus for one in reports)} that Ray gives out",
        "install a torch that is built for CUDA and a driver that it takes, or start the container "
        "with the devices (--gpus all)",
    )


def _storage(reports: Sequence["NodeReport"]) -> Check:
    return _each(
        "storage",
        reports,
        lambda one: one.storage,
        "each node writes and reads the run directory",
        "name a bucket by --out (s3://..., gs://...) and give the nodes a role that may write it, "
        "or a directory that is mounted on all nodes",
    )


def _files(reports: Sequence["NodeReport"]) -> Check:
    return _each(
        "open files",
        reports,
        lambda one: f"at most {one.nofile:,} for a process" if 0 <= one.nofile < MIN_FILES else "",
        f"at least {MIN_FILES:,} for a process",
        "start Ray behind `ulimit -n 65536`; in a container, with --ulimit nofile=65536:65536",
    )


def _node_memory(reports: Sequence["NodeReport"]) -> Check:
    return _each(
        "object store",
        reports,
        lambda one: (
            f"{one.store_bytes / GIB:.1f} GiB do not fit into the {one.shm_bytes / GIB:.1f} GiB of "
            "/dev/shm"
            if one.shm_bytes and one.store_bytes > one.shm_bytes
            else ""
        ),
        "fits into /dev/shm",
        "start the container with a larger --shm-size, or Ray with a smaller --object-store-memory",
    )


def _disk(reports: Sequence["NodeReport"]) -> Check:
    limit = MIN_NODE_DISK_GIB * GIB
    return _each(
        "disks",
        reports,
        lambda one: f"{one.disk_bytes / GIB:.1f} GiB free" if one.disk_bytes < limit else "",
        f"at least {MIN_NODE_DISK_GIB:.0f} GiB free",
        "make room where Ray keeps its session (--temp-dir), or give the nodes larger disks",
    )


def _clock(reports: Sequence["NodeReport"]) -> Check:
    return _each(
        "clocks",
        reports,
        lambda one: (
            f"{abs(one.clock_s):.1f} s {'ahead' if one.clock_s > 0 else 'behind'}"
            if abs(one.clock_s) - one.clock_error_s > MAX_CLOCK_S
            else ""
        ),
        f"within {MAX_CLOCK_S:.0f} s of this one",
        "start a time service: `timedatectl set-ntp true`, or chrony",
    )


def _each(
    name: str,
    reports: Iterable["NodeReport"],
    problem: Callable[["NodeReport"], str],
    fine: str,
    remedy: str,
) -> Check:
    found = {one.name: text for one in reports if (text := problem(one))}
    if not found:
        return Check(name=name, finding=fine)
    finding = "; ".join(f"{node}: {text}" for node, text in found.items())
    return Check(name=name, finding=finding, remedy=remedy)


def network_check(pair: "Pair | None") -> Check:
    """How fast nodes talk to each other."""
    if pair is None:
        return Check(name="network", finding="one node: nothing to measure")
    between = f"{pair.nodes[0]} and {pair.nodes[1]}"
    if pair.problem:
        return Check(
            name="network",
            finding=f"{pair.backend} between {between}: {pair.problem}",
            remedy="let the nodes reach each other at all ports; where they have several network "
            f"cards, name the right one by {pair.backend.upper()}_SOCKET_IFNAME",
        )
    is_slow = pair.bytes_per_s < MIN_PAIR_BYTES_PER_S
    return Check(
        name="network",
        finding=f"{pair.bytes_per_s / 1e9:.2f} GB/s by {pair.backend} between {between}",
        remedy="cells should not be spread over nodes: leave train.workers at the GPUs of one"
        if is_slow
        else None,
    )


def kinds_check(missing: Mapping[str, Mapping[str, float]]) -> Check:
    """Kinds of nodes that none is up of, and so none was looked at."""
    if not missing:
        return Check(name="kinds", finding="a node of each kind is up")
    names = ", ".join(missing)
    return Check(name="kinds", finding=f"none is up of {names}; --start starts one, for its price")

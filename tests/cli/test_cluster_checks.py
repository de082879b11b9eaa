"""What `kcap doctor` makes of the reports of nodes: each fault is one problem, with its remedy."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from kcap_ray.cli.check import GIB
from kcap_ray.cli.cluster_checks import cluster_checks, kinds_check, network_check
from kcap_ray.engine.probe import NodeReport, Pair, storage_problem
from kcap_ray.engine.starting import kinds_not_up
from kcap_ray.runs.store import Store

VERSIONS = {"ray": "2.60.0", "python": "3.11.7", "torch": "2.13.0+cu130", "kcap": "0.1.0"}
WORKER = NodeReport(
    name="10.0.0.2",
    versions=VERSIONS,
    driver="580.95.05",
    ray_gpus=8,
    torch_gpus=8,
    storage="",
    nofile=65536,
    shm_bytes=110 * GIB,
    store_bytes=100 * GIB,
    disk_bytes=100 * GIB,
    clock_s=0.2,
    clock_error_s=0.01,
)
HEAD = replace(
    WORKER,
    name="10.0.0.1",
    versions=VERSIONS | {"torch": "2.13.0+cpu"},
    driver="",
    ray_gpus=0,
    torch_gpus=0,
)
OTHER = replace(WORKER, name="10.0.0.3")


def problems(*reports: NodeReport, **silent: str) -> dict[str, str]:
    """Names of the checks that found a problem, and what they found."""
    found = cluster_checks(reports, silent)
    assert all(check.remedy for check in found if check.remedy is not None)
    return {check.name: check.finding for check in found if check.remedy is not None}


def test_a_cluster_of_cluster_yaml_is_well():
    """A head without GPUs and with torch for CPUs is no fault."""
    assert problems(HEAD, WORKER, OTHER) == {}


@pytest.mark.parametrize(
    ("fault", "name", "told"),
    [
        ({"versions": VERSIONS | {"torch": "2.12.0+cu130"}}, "versions", "torch 2.13.0 on"),
        ({"versions": VERSIONS | {"kcap": "0.2.0"}}, "versions", "0.2.0 on 10.0.0.3"),
        ({"driver": "550.54.15"}, "versions", "driver 580.95.05 on 10.0.0.2"),
        ({"driver": ""}, "versions", "none on 10.0.0.3"),
        ({"torch_gpus": 7}, "GPUs", "10.0.0.3: torch sees 7 of 8 GPUs"),
        ({"storage": "PermissionError: denied"}, "storage", "10.0.0.3: PermissionError"),
        ({"nofile": 1024}, "open files", "1,024"),
        ({"shm_bytes": GIB // 16}, "object store", "100.0 GiB do not fit into the 0.1 GiB"),
        ({"disk_bytes": GIB}, "disks", "1.0 GiB free"),
        ({"clock_s": -60.0}, "clocks", "60.0 s behind"),
    ],
)
def test_each_fault_of_a_node_is_one_problem(fault, name, told):
    """It is told with the node, and nothing else is a problem."""
    found = problems(HEAD, WORKER, replace(OTHER, **fault))
    assert [*found] == [name] and told in found[name]


def test_limits_that_mean_something_else_are_no_fault():
    """No limit of open files is -1; a clock that was read slowly may be right."""
    slow = replace(OTHER, nofile=-1, clock_s=7.0, clock_error_s=4.0)
    assert problems(HEAD, WORKER, slow) == {}


def test_node_that_does_not_answer_is_a_problem():
    """Its cells would hang."""
    found = problems(HEAD, silent="GetTimeoutError")
    assert "silent: GetTimeoutError" in found["nodes"] and "1 of 2" in found["nodes"]


def test_network_is_judged_by_what_two_nodes_send():
    """One node has none; what does not get through is told with the variable that helps."""
    pair = Pair(nodes=("a", "b"), backend="nccl", bytes_per_s=10e9)
    assert network_check(None).remedy is network_check(pair).remedy is None
    assert network_check(replace(pair, bytes_per_s=1e7)).remedy
    assert "NCCL_SOCKET_IFNAME" in (network_check(replace(pair, problem="timed out")).remedy or "")


def test_kinds_of_which_no_node_is_up_are_named():
    """Those that can never be started are not; a head that is up is up."""
    kinds = [
        SimpleNamespace(name="head", resources={"head": 1}, max_count=1),
        SimpleNamespace(name="spot", resources={"CPU": 96, "GPU": 8}, max_count=4),
        SimpleNamespace(name="never", resources={"CPU": 1}, max_count=0),
    ]
    nodes = [{"Labels": {"ray.io/node-group": "head"}}, {}]
    missing = kinds_not_up(kinds, nodes)
    assert missing == {"spot": {"CPU": 96, "GPU": 8}}
    assert "spot" in kinds_check(missing).finding and kinds_check(missing).remedy is None


def test_storage_is_tried_by_writing(tmp_path):
    """A directory that is not the one of the asking machine, or cannot be written, is told."""
    assert "is not the directory" in storage_problem(str(tmp_path), "witness")
    (tmp_path / "witness").touch()
    assert storage_problem(str(tmp_path), "witness") == ""
    assert [path.name for path in tmp_path.iterdir()] == ["witness"]
    assert storage_problem(f"file://{tmp_path}", "witness") == ""
    # What fsspec knows, and `kcap sweep` takes.
    assert "is not the directory" in storage_problem("memory://doctor/run", "witness")
    Store("memory://doctor/run").put("witness", b"")
    assert storage_problem("memory://doctor/run", "witness") == ""
    assert [*Store("memory://doctor/run").list()] == ["witness"]
    assert "nosuch" in storage_problem("nosuch://bucket/run", "witness")

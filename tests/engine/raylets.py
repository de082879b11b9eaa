"""Clusters of raylets on this machine, which share nothing with another one that is up."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

STORE_BYTES = 100 * 2**20


@contextlib.contextmanager
def raylets(**head: Any) -> Iterator[Any]:
    """A Ray `Cluster` with a head that trains nothing, or one that is as `head` says; it has a
    directory and ports of its own.
    """
    from ray.cluster_utils import Cluster

    # Sockets lie in this directory, so its name must be short.
    with (
        tempfile.TemporaryDirectory(prefix="kcap-ray-test-", ignore_cleanup_errors=True) as own,
        pytest.MonkeyPatch.context() as patch,
    ):
        # The cluster writes its address to where a default Ray has its files.
        patch.setenv("RAY_TMPDIR", own)
        (Path(own) / "ray").mkdir()
        cluster = Cluster()
        try:
            # Without a port its dashboard takes one that is free.
            options = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "dashboard_port": None}
            cluster.add_node(**(options | head), temp_dir=own)
            yield cluster
        finally:
            cluster.shutdown()


def add_node(cluster: Any, **options: Any) -> Any:
    """A node of one CPU, or as `options` say."""
    return cluster.add_node(**({"num_cpus": 1, "object_store_memory": STORE_BYTES} | options))


def raylet_of(node: Any) -> int:
    """The process that a node is."""
    return node.all_processes["raylet"][0].process.pid


LOSES_NODES_SOON = {
    "_system_config": {"health_check_period_ms": 500, "health_check_failure_threshold": 4}
}
"""A head that gives up a node that does not answer in seconds."""

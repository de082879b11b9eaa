"""Nodes of kinds of which none is up, started by the autoscaler."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

START_TIMEOUT_S = 30 * 60.0
"""Time for a node from its request to joining: twice what cluster.yaml says it takes."""
_KIND = "ray.io/node-group"
"""Label of the kind of a node, that of cluster.yaml."""


def kinds_not_up(kinds: Iterable[Any], nodes: Iterable[Mapping[str, Any]]) -> dict[str, dict]:
    """Resources of a node, by kind, of the kinds of cluster.yaml of which none is up; `kinds` and
    `nodes` as Ray has them.
    """
    up = {node.get("Labels", {}).get(_KIND) for node in nodes}
    return {
        kind.name: dict(kind.resources)
        for kind in kinds
        if kind.max_count != 0 and kind.resources and kind.name not in up
    }


def kinds_to_start() -> dict[str, dict]:
    """`kinds_not_up` of this cluster; empty where no autoscaler is."""
    import ray
    from ray._private.state import state

    config = state.get_cluster_config()
    nodes = [node for node in ray.nodes() if node["Alive"]]
    return {} if config is None else kinds_not_up(config.node_group_configs, nodes)


def start_nodes(wanted: Mapping[str, Mapping[str, float]], patience_s: float) -> None:
    """Have the autoscaler start nodes with these resources, and wait for them to join for so long.
    Kinds with the same resources are one: the autoscaler chooses.
    """
    import ray
    from ray.autoscaler.sdk import request_resources

    shapes = dict.fromkeys(tuple(resources.items()) for resources in wanted.values())
    bundles = [dict(shape) for shape in shapes]
    request_resources(bundles=bundles)
    try:
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            up = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            if all(any(_fits(bundle, node) for node in up) for bundle in bundles):
                return
            time.sleep(2)
    finally:
        request_resources(bundles=[])


def _fits(bundle: Mapping[str, float], node: Mapping[str, float]) -> bool:
    return all(node.get(name, 0) >= amount for name, amount in bundle.items())

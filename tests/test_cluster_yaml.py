"""cluster.yaml: Ray accepts it, and the properties that keep a long spot run alive hold."""

import copy
import re
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from ray._private.authentication import authentication_token_setup
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.providers import _get_node_provider_cls
from ray.autoscaler._private.util import prepare_config, validate_config

from kcap_ray.engine.aws import AwsNodeProvider

PATH = Path(__file__).parent.parent / "cluster.yaml"
TEXT = PATH.read_text()


@pytest.fixture(scope="module")
def cluster() -> dict:
    """The file after Ray has filled in its defaults."""
    return prepare_config(yaml.safe_load(TEXT))


def test_ray_accepts_the_cluster_file(cluster):
    """`ray up` starts with these two calls; an unknown key or a wrong type raises here."""
    validate_config(copy.deepcopy(cluster))


def test_spot_and_on_demand_nodes_can_do_the_same_work(cluster):
    """Work that waits for spot capacity must fit the on-demand node: same machine and resources."""
    spot, on_demand = (
        cluster["available_node_types"][name] for name in ("a100_spot", "a100_ondemand")
    )
    assert spot["resources"] == on_demand["resources"] == {"CPU": 96, "GPU": 8}
    is_spot = {"InstanceMarketOptions": {"MarketType": "spot"}}
    assert spot["node_config"] == on_demand["node_config"] | is_spot
    assert spot["min_workers"] == on_demand["min_workers"] == 0
    assert spot["priority"] > on_demand["priority"]


def test_no_task_lands_on_the_head_and_the_head_is_on_demand(cluster):
    """The driver must not share its node with trials, nor be taken away with a spot node."""
    head = cluster["available_node_types"][cluster["head_node_type"]]
    assert head["resources"] == {"CPU": 0, "head": 1}
    assert "InstanceMarketOptions" not in head["node_config"]


def test_images_have_the_ray_version_that_is_tested():
    """Nodes of another Ray version are refused by the head, and the pin says what was tested."""
    images = re.findall(r"rayproject/ray:(\S+)", TEXT)
    pins = (PATH.parent / "constraints.txt").read_text().split()
    assert len(images) == 2
    assert f"ray=={version('ray')}" in pins
    assert all(tag.startswith(f"{version('ray')}-py311-") for tag in images)


def test_who_gets_through_to_a_port_needs_the_token(cluster):
    """Ray takes any task from whoever reaches it, unless each process is told to ask for a token;
    the file that has it travels to every node, to where Ray looks for it.
    """
    assert "--env RAY_AUTH_MODE=token" in cluster["docker"]["run_options"]
    token = authentication_token_setup._get_default_token_path().relative_to(Path.home())
    assert cluster["file_mounts"][f"/home/ray/{token}"] == f"~/{token}"
    commands = str([cluster[f"{role}_start_ray_commands"] for role in ("head", "worker")])
    assert "RAY_AUTH_MODE" not in commands, "a command would overrule what the container is told"


def test_object_store_fits_into_shared_memory(cluster):
    """A store larger than /dev/shm silently moves to the disk."""
    for role in ("head", "worker"):
        (shm,) = re.findall(r"--shm-size=(\d+)g", str(cluster["docker"][f"{role}_run_options"]))
        (store,) = re.findall(
            r"--object-store-memory=(\d+)", str(cluster[f"{role}_start_ray_commands"])
        )
        assert int(store) < int(shm) * 2**30


def test_nothing_is_left_to_fill_in(cluster):
    """`ray up cluster.yaml` takes the file as it is committed; what it then asks of AWS is shown by
    tests/engine/test_aws.py.
    """
    assert "FILL_IN" not in TEXT
    assert not cluster["auth"].get("ssh_private_key")


def test_the_provider_is_found_by_name_and_is_rays_own_beneath(cluster):
    """Ray loads it so, here and on the head."""
    assert _get_node_provider_cls(cluster["provider"]) is AwsNodeProvider
    assert issubclass(AwsNodeProvider, AWSNodeProvider)

"""`ray up cluster.yaml` against a simulated AWS: what is asked of it, and what the head may do."""

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.engine import aws_account
from tests.engine.aws_account import Account, simulated_account
from tests.engine.aws_requests import COMMITTED, shown

pytest.importorskip("moto", reason="a development tool: pip install -e '.[dev]'")

pytestmark = [
    pytest.mark.slow,
    # Ray leaves files open.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

WORKERS = {"a100_spot": 2, "a100_ondemand": 1}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home directory of the user."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def account(home: Path) -> Iterator[Account]:
    """An account in which the cluster was started and has three workers."""
    with simulated_account(home) as account:
        account.ray_up()
        with account.as_head(home / "head"):
            assert account.launch(WORKERS) == []
        yield account


def test_the_requests_are_those_of_the_committed_list(account: Account) -> None:
    """docs/cluster.md rests on the list; this test and the list are made by the same code."""
    assert shown(account.requests) == json.loads(COMMITTED.read_text())


def test_head_and_workers_start_with_image_role_disk_and_market(account: Account) -> None:
    """No FILL_IN is left: the image is the one AWS's parameter names, each has its role."""
    head, spot, on_demand = account.calls("ec2:RunInstances")
    for one in (head, spot, on_demand):
        assert one["ImageId"] == aws_account.IMAGE
        assert one["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] == 200
        assert one["KeyName"] == "ray-autoscaler_us-west-2"
        profile = one["IamInstanceProfile"]["Arn"].rpartition("/")[-1]
        assert profile == ("ray-autoscaler-v1" if one is head else "kcap-worker-v1")
    assert spot["InstanceMarketOptions"] == {"MarketType": "spot"} and spot["MaxCount"] == 2
    assert "InstanceMarketOptions" not in head | on_demand
    assert on_demand["MaxCount"] == 1
    assert {one["InstanceType"] for one in account.instances()} == {*aws_account.MACHINES}


def test_only_ssh_comes_in_from_outside(account: Account) -> None:
    """Every other port is for members of the group."""
    (rules,) = account.calls("ec2:AuthorizeSecurityGroupIngress")
    group = rules["GroupId"]
    from_outside = [rule for rule in rules["IpPermissions"] if rule.get("IpRanges")]
    assert [(rule["FromPort"], rule["ToPort"]) for rule in from_outside] == [(22, 22)]
    inside = [rule for rule in rules["IpPermissions"] if rule not in from_outside]
    assert [rule["UserIdGroupPairs"] for rule in inside] == [[{"GroupId": group}]]
    for run in account.calls("ec2:RunInstances"):
        assert run["SecurityGroupIds"] == [group]


def test_the_head_may_hand_on_the_workers_role_and_no_other(account: Account) -> None:
    """Without that right AWS refuses to start a worker with a role, and with more of it the head
    could give itself any.
    """
    role = "arn:aws:iam::123456789012:role/"
    assert account.may_head_pass(role + "kcap-worker-v1")
    assert not account.may_head_pass(role + "administrator")


def test_the_head_could_not_look_the_image_up_itself(account: Account, home: Path) -> None:
    """So `resolve:ssm:` may not reach it: its role has no right to read parameters."""
    import boto3
    from botocore.exceptions import ClientError

    with account.as_head(home / "head"), pytest.raises(ClientError, match="not authorized"):
        boto3.client("ssm", aws_account.REGION).get_parameter(Name=aws_account.PARAMETER)
    assert b"resolve:ssm" not in account.sent["ray_bootstrap_config.yaml"]


def test_the_token_is_made_and_sent_to_where_ray_looks_for_it(account: Account, home: Path) -> None:
    """Nobody else on the user's machine can read it."""
    token = home / ".ray" / "auth_token"
    assert token.stat().st_mode & 0o077 == 0
    assert account.sent[".ray/auth_token"] == token.read_bytes() != b""


def test_containers_look_for_buckets_in_the_region_of_the_cluster(account: Account) -> None:
    """A bucket is named once, in `--out`; its region nowhere."""
    sent = json.loads(account.sent["ray_bootstrap_config.yaml"])
    assert "--env AWS_DEFAULT_REGION=us-west-2" in sent["docker"]["run_options"]


def test_a_second_start_keeps_the_head_when_the_image_has_a_successor(account: Account) -> None:
    """AWS has a new one every few weeks; a sweep of that length must not lose its head to it."""
    n_before, n_requests = len(account.instances()), len(account.requests)
    account.set_image(aws_account.NEWER_IMAGE)
    account.ray_up()
    changing = [one["call"] for one in account.requests[n_requests:] if one["arguments"]]
    assert changing == []
    assert len(account.instances()) == n_before


def test_image_that_cannot_be_looked_up_is_told_in_one_line(account: Account, home: Path) -> None:
    """It says what to write instead."""
    other = home / "other.yaml"
    text = aws_account.CLUSTER_FILE.read_text().replace("cluster_name: kcap", "cluster_name: other")
    other.write_text(text.replace("/latest/ami-id", "/latest/no-such-id"))
    with pytest.raises(click.ClickException, match="write the id of one"):
        account.ray_up(other)


def test_roles_of_the_users_own_are_left_alone(account: Account, home: Path) -> None:
    """Where each type of node names a role, none is made and none is changed."""
    own = home / "own.yaml"
    text = aws_account.CLUSTER_FILE.read_text().replace("cluster_name: kcap", "cluster_name: own")
    profile = "      IamInstanceProfile: {Name: mine}\n"
    text = text.replace("      BlockDeviceMappings:", profile + "      BlockDeviceMappings:")
    own.write_text(text)
    account.make_profile("mine")
    n_requests = len(account.requests)
    account.ray_up(own)
    new = account.requests[n_requests:]
    assert not [one for one in new if one["call"].startswith("iam:")]
    (head,) = [one["arguments"] for one in new if one["call"] == "ec2:RunInstances"]
    assert head["IamInstanceProfile"] == {"Name": "mine"}


def test_teardown_leaves_no_instance(account: Account) -> None:
    """`ray down` ends head and workers for good, and touches no other cluster's."""
    account.ray_down()
    running = [one for one in account.instances() if one["State"]["Name"] in ("pending", "running")]
    names = {aws_account.tag(one, "ray-cluster-name") for one in running}
    assert "kcap" not in names

"""A simulated AWS account, and Ray's own `ray up` against it, up to where it would log in to a
machine: what is asked of AWS, call by call.
"""

import contextlib
import json
import os
import tempfile
import time
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).parents[2]
CLUSTER_FILE = ROOT / "cluster.yaml"
IMAGE, NEWER_IMAGE = "ami-0123456789abcdef0", "ami-0fedcba9876543210"
REGION = "us-west-2"
OWNER = "testing"
"""Key of the account's owner, and of the user who runs `ray up`."""
MACHINES = ("m5.2xlarge", "p4d.24xlarge")
PARAMETER = (
    "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id"
)

READS = ("Describe", "Get", "List")
"""Calls that change nothing begin so; they are listed without their arguments."""


@dataclass
class Account:
    """The account, and what was asked of it."""

    requests: list[dict[str, Any]] = field(default_factory=list)
    who: str | None = "ray up"
    sent: dict[str, bytes] = field(default_factory=dict)
    """The files that `ray up` copies to the head's home directory."""

    def calls(self, name: str, *, who: str | None = None) -> list[dict[str, Any]]:
        """Arguments of the calls of that name, of one who asked or of all."""
        return [
            one["arguments"]
            for one in self.requests
            if one["call"] == name and who in (None, one["who"])
        ]

    def set_image(self, image: str) -> None:
        """What AWS's public parameter names from now on. Only AWS can write it, so it is entered
        into the simulator's books.
        """
        from moto.core.models import DEFAULT_ACCOUNT_ID
        from moto.ssm.models import Parameter, ssm_backends

        parameter = Parameter(
            account_id=DEFAULT_ACCOUNT_ID,
            name=PARAMETER,
            value=image,
            parameter_type="String",
            description="",
            allowed_pattern=None,
            keyid=None,
            last_modified_date=time.time(),
            version=1,
            data_type="aws:ec2:image",
        )
        parameters: Any = ssm_backends[DEFAULT_ACCOUNT_ID][REGION]._parameters
        parameters[PARAMETER] = [parameter]

    def make_profile(self, name: str) -> None:
        """An instance profile that somebody else made."""
        with self._as_owner() as client:
            client("iam").create_instance_profile(InstanceProfileName=name)

    def ray_up(self, cluster_file: Path = CLUSTER_FILE) -> None:
        """`ray up FILE -y`; the login to the head is left out."""
        from ray.autoscaler._private import commands

        with self._without_login():
            commands.create_or_update_cluster(
                str(cluster_file), None, None, False, False, True, no_config_cache=True
            )

    def ray_down(self, cluster_file: Path = CLUSTER_FILE) -> None:
        """`ray down FILE -y`; the logins to the nodes are left out."""
        from ray.autoscaler._private import commands

        with self._without_login():
            commands.teardown_cluster(str(cluster_file), True, False, None, False)

    @contextlib.contextmanager
    def _without_login(self) -> Iterator[None]:
        from ray.autoscaler._private import commands

        _forget_clients()
        account = self

        class NoLogin:
            exitcode = 0

            def __init__(self, **arguments: Any) -> None:
                self._mounts = arguments["file_mounts"]

            def start(self) -> None:
                account.sent = {
                    there.removeprefix("~/").removeprefix("/home/ray/"): path.read_bytes()
                    for there, here in self._mounts.items()
                    if (path := Path(here).expanduser()).is_file()
                }

            def join(self) -> None:
                pass

        with (
            mock.patch.object(commands, "NodeUpdaterThread", NoLogin),
            mock.patch.object(commands, "exec_cluster"),
            mock.patch.object(commands, "_exec"),
            mock.patch.object(commands, "POLL_INTERVAL", 0),
        ):
            yield

    def instances(self) -> list[dict[str, Any]]:
        """What runs in the account, by the account's own books."""
        with self._as_owner() as client:
            found = client("ec2").describe_instances()["Reservations"]
        return [one for reservation in found for one in reservation["Instances"]]

    @contextlib.contextmanager
    def as_head(self, home: Path) -> Iterator[None]:
        """With no more than the rights that the head's role has, and the files that were copied to
        its home directory.
        """
        from moto.core.authorization import enable_iam_authentication

        with self._as_owner() as client:
            (head,) = [one for one in self.instances() if tag(one, "ray-node-type") == "head"]
            profile = head["IamInstanceProfile"]["Arn"].rpartition("/")[-1]
            found = client("iam").get_instance_profile(InstanceProfileName=profile)
            role = found["InstanceProfile"]["Roles"][0]["Arn"]
            given = client("sts").assume_role(RoleArn=role, RoleSessionName="head")
        credentials = given["Credentials"]
        keys = {
            "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
            "AWS_SESSION_TOKEN": credentials["SessionToken"],
            "HOME": str(home),
        }
        for name, content in self.sent.items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_bytes(content)
        before, self.who = self.who, "the head's autoscaler"
        _forget_clients()
        try:
            with mock.patch.dict(os.environ, keys), enable_iam_authentication():
                yield
        finally:
            self.who = before
            _forget_clients()

    def launch(self, shape: Mapping[str, int]) -> list[str]:
        """Start workers as the autoscaler on the head does, by the configuration that it was sent;
        what went wrong.
        """
        from ray.autoscaler._private.providers import _get_node_provider
        from ray.autoscaler.v2.instance_manager.config import FileConfigReader
        from ray.autoscaler.v2.instance_manager.node_provider import NodeProviderAdapter

        reader = FileConfigReader(str(Path.home() / "ray_bootstrap_config.yaml"))
        config = reader.get_cached_autoscaling_config()
        provider = _get_node_provider(
            config.get_provider_config(), config.get_config("cluster_name")
        )
        errors = []
        for node_type, count in shape.items():
            adapter = NodeProviderAdapter(v1_provider=provider, config_reader=reader)
            adapter.launch({node_type: count}, "a-request")
            adapter._main_executor.shutdown()
            adapter._node_launcher_executors.shutdown()
            errors += [str(error.__cause__) for error in adapter.poll_errors()]
        return errors

    def may_head_pass(self, role: str) -> bool:
        """Whether the policies of the head's role let it hand on that role (its ARN), which the
        simulator does not check when an instance is started.
        """
        from moto.iam.access_control import IAMPolicy, PermissionResult

        with self._as_owner() as client:
            iam = client("iam")
            name = "ray-autoscaler-v1"
            documents = [
                iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
                for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]
            ]
            for policy in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
                arn = policy["PolicyArn"]
                version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
                found = iam.get_policy_version(PolicyArn=arn, VersionId=version)
                documents.append(found["PolicyVersion"]["Document"])
        results = [
            IAMPolicy(json.dumps(one)).is_action_permitted("iam:PassRole", role)
            for one in documents
        ]
        return PermissionResult.PERMITTED in results

    @contextlib.contextmanager
    def _as_owner(self) -> Iterator[Callable[[str], Any]]:
        """Clients with which everything may be done, and nothing is entered into the list."""
        import boto3
        from moto.core.authorization import disable_iam_authentication

        session = boto3.Session(OWNER, OWNER, region_name=REGION)
        who, self.who = self.who, None
        with disable_iam_authentication():
            yield session.client
        self.who = who


@contextlib.contextmanager
def simulated_account(home: Path) -> Iterator[Account]:
    """An account of AWS as it is when it is opened, at a server of this process; `home` is the
    user's home directory meanwhile.
    """
    from botocore.client import BaseClient
    from moto.ec2.models.instance_types import InstanceTypeBackend
    from moto.server import ThreadedMotoServer
    from ray.autoscaler._private.aws import config

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    environment = {
        "AWS_ACCESS_KEY_ID": OWNER,
        "AWS_SECRET_ACCESS_KEY": OWNER,
        # All of Amazon's own policies, which the roles are made of.
        "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
        "HOME": str(home),
        "AWS_DEFAULT_REGION": REGION,
        "RAY_UP_enable_autoscaler_v2": "1",
    }
    account = Account()
    call = BaseClient._make_api_call  # pyright: ignore[reportAttributeAccessIssue]

    def seen(client: Any, name: str, arguments: dict[str, Any]) -> Any:
        service = client.meta.service_model.service_name
        if account.who is None:
            return call(client, name, arguments)
        shown = {} if name.startswith(READS) else json.loads(json.dumps(arguments))
        request = {"who": account.who, "call": f"{service}:{name}", "arguments": shown}
        account.requests.append(request)
        return call(client, name, arguments)

    no_waiting = types.SimpleNamespace(sleep=lambda seconds: None)
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, environment))
        # Ray keeps what it has found out about a cluster among the temporary files.
        stack.enter_context(mock.patch.object(tempfile, "tempdir", str(home)))
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            if name not in environment:
                del os.environ[name]
        server.start()
        stack.callback(server.stop)
        host, port = server.get_host_and_port()
        os.environ["AWS_ENDPOINT_URL"] = f"http://{host}:{port}"
        import requests

        requests.post(f"http://{host}:{port}/moto-api/reset")
        # Of a thousand types of machine those of the file: the list takes seconds to read.
        offered = [one for one in InstanceTypeBackend.instance_types if one.name in MACHINES]
        stack.enter_context(mock.patch.object(InstanceTypeBackend, "instance_types", offered))
        # Waits for roles to be known everywhere.
        stack.enter_context(mock.patch.object(config, "time", no_waiting))
        stack.enter_context(mock.patch.object(BaseClient, "_make_api_call", seen))
        account.set_image(IMAGE)
        stack.callback(_forget_clients)
        yield account


def _forget_clients() -> None:
    """Ray keeps its clients, with their keys and addresses, for as long as the process lives."""
    import boto3
    from ray.autoscaler._private import providers
    from ray.autoscaler._private.aws import config, utils

    utils.resource_cache.cache_clear()
    utils.client_cache.cache_clear()
    config._get_subnets_or_die.cache_clear()
    providers._clear_provider_cache()
    boto3.DEFAULT_SESSION = None


def tag(instance: dict[str, Any], name: str) -> str | None:
    return next((tag["Value"] for tag in instance["Tags"] if tag["Key"] == name), None)

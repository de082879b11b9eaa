"""`ray up cluster.yaml` on AWS as the file stands: what Ray's own provider asks to be told is
looked up, or made, when the cluster is started.

`provider: {type: external, module: kcap_ray.engine.aws.AwsNodeProvider}` names the class below,
which Ray loads where `ray up` runs and, for its autoscaler, on the head.
"""

import copy
import json
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from ray._private.authentication.authentication_token_setup import generate_and_save_token
from ray.autoscaler._private.aws.config import bootstrap_aws, log_to_cli
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.aws.utils import client_cache
from ray.autoscaler._private.cli_logger import cli_logger
from ray.autoscaler.tags import NODE_KIND_HEAD, TAG_RAY_CLUSTER_NAME, TAG_RAY_NODE_KIND

FROM_PARAMETER = "resolve:ssm:"
"""How RunInstances, too, is told to take the image from a parameter. The caller must be allowed to
read it, and the head, which starts the workers, is not: so it is read here.
"""

WORKER_ROLE = "kcap-worker-v1"
"""Role, and instance profile, of nodes for which `cluster.yaml` names none."""
WORKER_POLICY = "arn:aws:iam::aws:policy/AmazonS3FullAccess"
"""What a worker may do: read and write buckets, as Ray's own role of the head may."""
PASS_POLICY = "kcap-pass-worker-role"
"""Inline policy of the head's role: it may start instances with the role of the workers."""

_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "ec2.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}


class AwsNodeProvider(AWSNodeProvider):
    """Ray's provider for AWS, with nothing left to fill in.

    Image: `ImageId: resolve:ssm:NAME` is the one that this public parameter names, or that of the
    cluster's head where one runs, since a newer one would have `ray up` replace it. Roles: the head
    has Ray's own; the workers get one that may use S3, and the head may hand it to them. Token:
    made if this machine has none. All else (key pair, security group, subnets) is Ray's own way.
    """

    @staticmethod
    def bootstrap_config(cluster_config: dict[str, Any]) -> dict[str, Any]:
        """The cluster's file with all that was left open; called by `ray up` and its like, not on
        the head.
        """
        config = copy.deepcopy(cluster_config)
        make_token()
        _name_images(config)
        config = bootstrap_aws(config)
        _name_worker_role(config)
        _name_region(config)
        log_to_cli(config)
        return config


def make_token() -> Path:
    """The file of the token that Ray's processes ask each other for; made if there is none."""
    path = Path.home() / ".ray" / "auth_token"
    if not path.exists():
        generate_and_save_token()
        path.chmod(0o600)
    return path


def _client(service: str, config: dict[str, Any]) -> Any:
    provider = config["provider"]
    return client_cache(service, provider["region"], **provider.get("aws_credentials", {}))


def _name_images(config: dict[str, Any]) -> None:
    open_nodes = [
        node["node_config"]
        for node in config["available_node_types"].values()
        if str(node["node_config"].get("ImageId")).startswith(FROM_PARAMETER)
    ]
    if not open_nodes:
        return
    running = _image_of_head(config)
    for node in open_nodes:
        name = node["ImageId"].removeprefix(FROM_PARAMETER)
        node["ImageId"] = running or _image_of_parameter(config, name)


def _image_of_head(config: dict[str, Any]) -> str | None:
    tags = {TAG_RAY_CLUSTER_NAME: config["cluster_name"], TAG_RAY_NODE_KIND: NODE_KIND_HEAD}
    filters = [{"Name": f"tag:{name}", "Values": [value]} for name, value in tags.items()]
    filters.append({"Name": "instance-state-name", "Values": ["pending", "running"]})
    found = _client("ec2", config).describe_instances(Filters=filters)["Reservations"]
    return found[0]["Instances"][0]["ImageId"] if found else None


def _image_of_parameter(config: dict[str, Any], name: str) -> str:
    try:
        return _client("ssm", config).get_parameter(Name=name)["Parameter"]["Value"]
    except (ClientError, BotoCoreError) as error:
        cli_logger.abort(
            "The image of the nodes cannot be looked up in {} ({}); write the id of one with an "
            "NVIDIA driver and Docker as ImageId of each node type",
            name,
            error,
        )
        raise


def _name_worker_role(config: dict[str, Any]) -> None:
    head = config["head_node_type"]
    open_nodes = [
        node["node_config"]
        for name, node in config["available_node_types"].items()
        if name != head and "IamInstanceProfile" not in node["node_config"]
    ]
    if not open_nodes:
        return
    try:
        profile, role = _worker_profile(config)
        _let_head_pass(config, role)
    except ClientError as error:
        cli_logger.abort(
            "The workers need a role with access to S3, and it cannot be made ({}); have one made, "
            "let the head's role pass it, and write IamInstanceProfile in each type of worker",
            error,
        )
        raise
    for node in open_nodes:
        node["IamInstanceProfile"] = {"Arn": profile}


def _worker_profile(config: dict[str, Any]) -> tuple[str, str]:
    """ARNs of the workers' instance profile and of its role, which are made if there are none."""
    iam = _client("iam", config)
    profile = _found(iam.get_instance_profile, InstanceProfileName=WORKER_ROLE)
    if profile is None:
        profile = iam.create_instance_profile(InstanceProfileName=WORKER_ROLE)
    roles = profile["InstanceProfile"]["Roles"]
    if roles:
        return profile["InstanceProfile"]["Arn"], roles[0]["Arn"]
    role = _found(iam.get_role, RoleName=WORKER_ROLE)
    if role is None:
        role = iam.create_role(RoleName=WORKER_ROLE, AssumeRolePolicyDocument=json.dumps(_TRUST))
    iam.attach_role_policy(RoleName=WORKER_ROLE, PolicyArn=WORKER_POLICY)
    # Last: a profile with a role is complete, and one that is not is mended by the next `ray up`.
    iam.add_role_to_instance_profile(InstanceProfileName=WORKER_ROLE, RoleName=WORKER_ROLE)
    return profile["InstanceProfile"]["Arn"], role["Role"]["Arn"]


def _let_head_pass(config: dict[str, Any], worker_role: str) -> None:
    """Where the head has Ray's own role. One that is named in the file is the user's to change."""
    profile = config["head_node"].get("IamInstanceProfile")
    if profile is None:
        return
    iam = _client("iam", config)
    name = profile["Arn"].rpartition("/")[-1]
    roles = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Roles"]
    head_role = roles[0]["RoleName"]
    if _found(iam.get_role_policy, RoleName=head_role, PolicyName=PASS_POLICY) is None:
        statement = {"Effect": "Allow", "Action": "iam:PassRole", "Resource": worker_role}
        document = {"Version": "2012-10-17", "Statement": [statement]}
        iam.put_role_policy(
            RoleName=head_role, PolicyName=PASS_POLICY, PolicyDocument=json.dumps(document)
        )


def _found(get: Any, **arguments: str) -> Any:
    """What the call returns; None where there is no such thing."""
    try:
        return get(**arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchEntity":
            return None
        raise


def _name_region(config: dict[str, Any]) -> None:
    """Processes in the containers look for buckets in the cluster's region."""
    options = config.get("docker", {}).get("run_options")
    if options is not None and "AWS_DEFAULT_REGION" not in str(options):
        options.append(f"--env AWS_DEFAULT_REGION={config['provider']['region']}")

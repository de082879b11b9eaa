"""The files of deploy/ have the form that their programs take, and the versions that are tested."""

import copy
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from kcap_ray.cli.main import app

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
README = (DEPLOY / "README.md").read_text()
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file() and path.name != "README.md")
PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if "==" in line and not line.startswith("#")
)
CLUSTERS = ("gcp.yaml", "onprem.yaml")


def content(name: str) -> Any:
    """A YAML file of the folder."""
    return yaml.safe_load((DEPLOY / name).read_text())


def test_every_file_has_its_one_command() -> None:
    """In the table, and the file itself says its command too."""
    rows = [line for line in README.splitlines() if line.startswith("|")]
    for path in FILES:
        name = path.relative_to(DEPLOY).as_posix()
        (row,) = [row for row in rows if f"({name})" in row]
        assert f"deploy/{name}" in row and "quickstart" in row
        top = path.read_text().split("\n\n")[0]
        assert f"deploy/{name}" in top, name


def test_options_of_kcap_that_the_files_name_exist() -> None:
    """A command that kcap refuses is found here and not on a cluster."""
    import typer

    known = typer.main.get_command(app)
    for path in (*FILES, DEPLOY / "README.md", ROOT / "docs" / "cluster.md"):
        for verb, rest in re.findall(
            r"kcap (sweep|submit|doctor|status)\b([^`\n;|]*)", path.read_text()
        ):
            command = known.commands[verb]  # pyright: ignore[reportAttributeAccessIssue]
            options = {name for one in command.params for name in one.opts}
            assert set(re.findall(r"(?<!\S)--[a-z-]+", rest)) <= options, f"{path}: {verb} {rest}"


@pytest.mark.parametrize("name", CLUSTERS)
def test_ray_accepts_the_cluster_files(name: str) -> None:
    """What `ray up` does first; an unknown key or a wrong type raises here."""
    cluster = prepare_config(content(name))
    validate_config(copy.deepcopy(cluster))
    assert "--env RAY_AUTH_MODE=token" in cluster["docker"]["run_options"]
    assert cluster["file_mounts"]["/home/ray/.ray/auth_token"] == "~/.ray/auth_token"


def test_no_trial_lands_on_a_head_that_could_be_the_drivers_alone() -> None:
    """Google Cloud and Kubernetes, as AWS."""
    gcp = content("gcp.yaml")
    assert gcp["available_node_types"][gcp["head_node_type"]]["resources"]["CPU"] == 0
    for cluster in (content("kuberay/raycluster.yaml")["spec"], _cluster_of_job()):
        assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def _cluster_of_job() -> dict[str, Any]:
    return content("kuberay/rayjob.yaml")["spec"]["rayClusterSpec"]


def test_versions_are_those_of_the_constraints() -> None:
    """Ray refuses nodes of another version, and what is tested is what is pinned."""
    assert PINS["ray"] == version("ray")
    text = "\n".join(path.read_text() for path in FILES)
    tags = re.findall(r"rayproject/ray:([\d.]+)-(py\d+)-(?:cpu|gpu)", text)
    assert len(tags) == 3 and set(tags) == {(PINS["ray"], "py311")}
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert f"ARG RAY={PINS['ray']}\n" in dockerfile and "ARG PYTHON=py311\n" in dockerfile
    for cluster in (content("kuberay/raycluster.yaml")["spec"], _cluster_of_job()):
        assert cluster["rayVersion"] == PINS["ray"]


def test_objects_of_kuberay_have_their_fields() -> None:
    """The part of the schema of ray.io/v1 that they use, an unknown field being a mistake; images
    are those of the Dockerfile, and requests are limits, as Ray counts on.
    """
    job, cluster = (content(f"kuberay/{name}.yaml") for name in ("rayjob", "raycluster"))
    for one, kind in ((job, "RayJob"), (cluster, "RayCluster")):
        assert (one["apiVersion"], one["kind"]) == ("ray.io/v1", kind)
        assert one.keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert job["spec"].keys() <= {
        "entrypoint",
        "shutdownAfterJobFinishes",
        "ttlSecondsAfterFinished",
        "rayClusterSpec",
    }
    for spec in (_cluster_of_job(), cluster["spec"]):
        assert spec.keys() <= {
            "rayVersion",
            "enableInTreeAutoscaling",
            "autoscalerOptions",
            "headGroupSpec",
            "workerGroupSpecs",
        }
        assert spec["headGroupSpec"].keys() == {"rayStartParams", "template"}
        for group in spec["workerGroupSpecs"]:
            counts = {"replicas", "minReplicas", "maxReplicas"}
            assert group.keys() == {"groupName", "rayStartParams", "template", *counts}
            assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
            pod = group["template"]["spec"]
            (container,) = pod["containers"]
            resources = container["resources"]
            assert resources["requests"] == resources["limits"]
            is_gpu = "nvidia.com/gpu" in resources["limits"]
            assert container["image"] == ("kcap:gpu" if is_gpu else "kcap:cpu")
            mounts = {one["name"] for one in container["volumeMounts"]}
            assert mounts == {one["name"] for one in pod["volumes"]} == {"shm"}


def test_the_dockerfile_is_one_and_copies_what_is_there() -> None:
    """Instructions that Docker knows; the choice of device stands before FROM and is repeated."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and line[0] != "#"]
    words = [line[0] for line in lines]
    assert set(words) <= {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "ENV"}
    before = [line[1].split("=")[0] for line in lines[: words.index("FROM")]]
    base = lines[words.index("FROM")][1]
    assert set(re.findall(r"\$\{(\w+)\}", base)) == set(before) == {"RAY", "PYTHON", "DEVICE"}
    assert ["ARG", "DEVICE"] in lines[words.index("FROM") :]
    ignored = (ROOT / ".dockerignore").read_text().split()
    for word, rest in lines:
        if word == "COPY":
            *sources, _ = [part for part in rest.split() if not part.startswith("--")]
            assert all((ROOT / one).exists() and one not in ignored for one in sources), rest


def test_the_slurm_script_is_shell() -> None:
    """`bash -n`, and ShellCheck where that is installed."""
    script = DEPLOY / "slurm.sh"
    subprocess.run(["bash", "-n", script], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", script], check=True)
    assert script.read_text().count("#SBATCH") == 5


def test_the_task_of_skypilot_has_its_fields() -> None:
    """Those of its documentation, and shell that can be read."""
    task = content("skypilot.yaml")
    fields = {"name", "resources", "num_nodes", "workdir", "envs", "setup", "run"}
    assert task.keys() == fields and task["resources"].keys() <= {"accelerators", "disk_size"}
    for part in ("setup", "run"):
        subprocess.run(["bash", "-n", "-c", task[part]], check=True)
    assert set(task["envs"]) <= set(re.findall(r"\$(\w+)", task["run"]))
